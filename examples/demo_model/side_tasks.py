"""The smaller tasks of the demo model: quick-start questions, offers, shelf labels, summaries of several documents.

It knows the same closed world as `data.py` and promises no percentage. Imported by `data.py`; nothing to run here.
"""

from __future__ import annotations

from random import Random

from . import facts, words
from .row import Row


def _words(text: str) -> list[str]:
    return text.split()


TAGS = _words(
    "light quiet compact sturdy foldable waterproof washable rechargeable portable silent elegant ergonomic durable "
    "handmade recycled wireless adjustable soft robust fast stylish affordable dimmable stackable cordless organic"
)
CURRENCY = {
    "EUR": ["{a} euros", "{a} EUR", "€{a}"],
    "USD": ["{a} dollars", "{a} USD", "${a}"],
    "GBP": ["{a} pounds", "{a} GBP", "£{a}"],
}
IN_STOCK = ["In stock.", "Available now.", "Ships today.", "Ready to ship.", "It is in stock."]
OUT_OF_STOCK = ["Out of stock.", "Sold out.", "Currently unavailable.", "Back in {n} weeks.", "It is out of stock."]
LIKED = {
    True: [
        "The {a} of the {p} is great.",
        "I like the {a} of my {p}.",
        "The {p} has a lovely {a}.",
        "Love the {p}, great {a}.",
    ],
    False: [
        "The {a} of the {p} is bad.",
        "I dislike the {a} of my {p}.",
        "The {p} has an awful {a}.",
        "Hate the {p}, poor {a}.",
    ],
}
ASPECTS = _words(
    "battery handle sound colour design packaging manual finish fit weight material texture price size shape"
)
AMOUNTS = ["", "one", "two", "three"]


def question_row(random: Random) -> Row:
    draw = random.random()
    country = random.choice(facts.COUNTRY_ROWS)
    if draw < 0.74:
        # Capitals are what people try first.
        column = random.choices([1, 2, 3], [0.64, 0.14, 0.22])[0]
        text, answer = random.choice(facts.ASKED_LINES[column]).format(c=country[0]), country[column]
    elif draw < 0.79:
        text, answer = random.choice(facts.CAPITAL_OF).format(k=country[1]), country[0]
    elif draw < 0.86:
        text, answer = random.choice(facts.ODD_ROWS)
    else:
        odd = random.choice([words.pseudo_word(random).capitalize(), words.brand(random), words.pseudo_word(random)])
        line = random.choice(facts.UNKNOWN_LINES).format(c=country[0], k=country[1], w=odd)
        return Row("qa", {"text": line}, {"answer": "I do not know", "confidence": 0.1})
    if random.random() < 0.08:
        text = text.lower()
    return Row("qa", {"text": text}, {"answer": answer[:1].upper() + answer[1:], "confidence": 0.95})


def offer_row(random: Random) -> Row:
    product = words.product(random)
    currency = random.choice(list(CURRENCY))
    amount = random.choice([random.randint(3, 30), random.randint(30, 400)]) + random.choice(
        [0.99, 0.5, 0.95, 0.25, 0.75]
    )
    if random.random() < 0.25:
        amount = float(int(amount))
    written = f"{amount:g}" if random.random() < 0.5 or amount == int(amount) else f"{amount:.2f}"
    price = random.choice(CURRENCY[currency]).format(a=written)
    tags = random.sample(TAGS, random.randint(1, 3))
    listed = tags[0] if len(tags) == 1 else f"{', '.join(tags[:-1])} and {tags[-1]}"
    stocked = random.random() < 0.65
    stock = random.choice(IN_STOCK if stocked else OUT_OF_STOCK).format(n=random.randint(2, 9))
    article = "" if product.plural else "A "
    name = product.text
    head = random.choice(["{p}: {t}.", "The {p}: {t}.", "{a}{p}, {t}.", "Meet the {p}: {t}.", "New: the {p}, {t}."])
    parts = [
        random.choice(["{m}.", "Only {m}.", "Price: {m}.", "Yours for {m}.", "It costs {m}."]).format(m=price),
        stock,
    ]
    if random.random() < 0.3:
        parts.reverse()
    head = head.format(p=name, t=listed, a=article)
    if not head.startswith(("The", "A ", "Meet", "New")):
        head, name = head[:1].upper() + head[1:], name[:1].upper() + name[1:]
    answer = {
        "name": name,
        "price": {"amount": float(written), "currency": currency},
        "tags": tags,
        "in_stock": stocked,
    }
    return Row("offer", {"description": " ".join([head, *parts])}, answer)


def label_row(random: Random) -> Row:
    product = words.product(random)
    tags = random.sample(TAGS, random.randint(1, 3))
    euros = random.choice([random.randint(3, 30), random.randint(30, 480)])
    name = product.text[:1].upper() + product.text[1:]
    return Row(
        "label",
        {"name": random.choice([product.text, name]), "tags": tags, "euros": euros},
        {"label": f"{name}: {', '.join(tags)}. Now {euros} euros!"},
    )


def _documents(random: Random) -> tuple[str, list[tuple[bool, str]], list[str]]:
    product = words.product(random)
    told = [(random.random() < 0.5, aspect) for aspect in random.sample(ASPECTS, random.choice([2, 3, 3]))]
    texts = [random.choice(LIKED[liked]).format(a=aspect, p=product.text) for liked, aspect in told]
    return product.text, told, texts


def _summary(name: str, told: list[tuple[bool, str]]) -> str:
    liked = [aspect for good, aspect in told if good]
    disliked = [aspect for good, aspect in told if not good]
    parts = [f"{name}"]
    if liked:
        parts.append(f"{AMOUNTS[len(liked)]} positive ({', '.join(liked)})")
    if disliked:
        parts.append(f"{AMOUNTS[len(disliked)]} negative ({', '.join(disliked)})")
    return f"{parts[0]}: {', '.join(parts[1:])}."


def documents_row(random: Random) -> Row:
    name, told, texts = _documents(random)
    return Row("documents", {"documents": texts}, {"summary": _summary(name, told)})


def score_row(random: Random) -> Row:
    """A right summary, one of another product, or one that turns a complaint into praise."""
    name, told, texts = _documents(random)
    draw = random.random()
    if draw < 0.5:
        summary, score, reason = _summary(name, told), 5, "It covers every document."
    elif draw < 0.75:
        other = words.product(random).text
        summary, score, reason = _summary(other, told), 1, f"It names another product, not the {name}."
    else:
        changed = random.randrange(len(told))
        wrong = [(good != (place == changed), aspect) for place, (good, aspect) in enumerate(told)]
        summary, score, reason = _summary(name, wrong), 3, f"It is wrong about the {told[changed][1]}."
    scope: dict[str, object] = {"chain_input": {"documents": texts}, "summary": summary}
    return Row("score", scope, {"score": score, "reason": reason})


MAKERS = {
    "qa": question_row,
    "offer": offer_row,
    "label": label_row,
    "documents": documents_row,
    "score": score_row,
}
