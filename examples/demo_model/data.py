"""The generated world of the demo model: rows of every task with their one right answer. Seeds fixed.

    python -m examples.demo_model.data            # prints two rows of each task
    python -m examples.demo_model.data --ship     # writes heldout/*.jsonl

It knows no tokens and no engines. Held-out rows have their own seed, and none of
the first 600 of a review task is trained on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random

from . import opinions, side_tasks, words
from .nouns import Product, french, spanish
from .prompts import EXAMPLES
from .row import Row

HELD_OUT_SEED = 20_261_120
REVIEW_TASKS = ("extract", "verdict_fr", "verdict_es", "summarise")
OTHER_TASKS = ("qa", "offer", "label", "documents", "score")
# The review tasks carry the promise of 95 %, so they get the larger part of the training.
SHARES = {
    "extract": 0.20, "verdict_fr": 0.13, "verdict_es": 0.13, "summarise": 0.13,
    "qa": 0.15, "offer": 0.08, "label": 0.03, "documents": 0.08, "score": 0.07,
}  # fmt: skip


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _bent(random: Random, lines: list[str], product: Product, **names: object) -> str:
    """One of the lines, bent to the number of the product, with the right indefinite article."""
    if product.plural:
        lines = [line for line in lines if not any(bad in line for bad in (" a {p}", "this", "second", "came", "one"))]
    forms = opinions.PLURAL if product.plural else opinions.SINGULAR
    line = random.choice(lines).format(p=product.text, **forms, **names)
    for vowel in "aeiouAEIOU":
        line = line.replace(f" a {vowel}", f" an {vowel}")
    return line


def _said(random: Random, product: Product, level: int) -> str:
    draw = random.random()
    if draw < 0.3:
        return f"The {random.choice(opinions.ASPECTS)} is {random.choice(opinions.ASPECT_WORDS[level])}"
    if draw < 0.38:
        return _bent(random, [f"The {{p}} {{is}} {random.choice(opinions.ASPECT_WORDS[level])}"], product)
    return _bent(random, opinions.PHRASES[level], product)


def _lower(text: str) -> str:
    return text if text.startswith("I ") else text[:1].lower() + text[1:]


def _judgement(random: Random) -> tuple[str, int]:
    sentiment = random.choice(["positive", "positive", "negative", "negative", "mixed"])
    return sentiment, {"positive": random.choice([4, 5]), "negative": random.choice([1, 2])}.get(
        sentiment, random.choice([2, 3, 3, 3, 4])
    )


def extract_row(random: Random) -> Row:
    """A mixed review is a 3 unless it states another number; any other has phrases of one level only."""
    product = words.product(random)
    sentiment, rating = _judgement(random)
    stated = (sentiment == "mixed" and rating != 3) or random.random() < 0.45
    sentences = []
    named_first = random.random() < 0.85
    if named_first:
        sentences.append(_bent(random, opinions.OPENING_LINES, product, n=random.randint(2, 9)))
        if random.random() < 0.15:
            other = words.product(random)
            sentences.append(_bent(random, opinions.COMPARED_LINES, Product(""), q=other.text))
    if sentiment == "mixed":
        good = _said(random, product, random.choice([4, 5]))
        bad = _said(random, product, random.choice([1, 2]))
        first, second = random.sample([good, bad], 2)
        if random.random() < 0.7:
            sentences.append(f"{first}, {random.choice(opinions.BUT)} {_lower(second)}.")
        else:
            sentences.extend([f"{first}.", f"{random.choice(['But', 'Still,', 'However,'])} {_lower(second)}."])
    else:
        said = [_said(random, product, rating) for _ in range(random.choice([1, 2, 2, 3]))]
        if len(said) > 1 and random.random() < 0.3:
            said[:2] = [f"{said[0]} and {_lower(said[1])}"]
        sentences.extend(phrase + random.choice([".", ".", ".", "!"]) for phrase in said)
    if not named_first:
        sentences.insert(1, _bent(random, opinions.OPENING_LINES, product, n=random.randint(2, 9)))
    if stated:
        line = random.choice(opinions.STATED_LINES).format(r=rating, w=opinions.NUMBERS[rating])
        sentences.insert(0 if random.random() < 0.15 else len(sentences), _upper(line))
    text, name = " ".join(_upper(sentence) for sentence in sentences), product.text
    if f"{_upper(name)}:" in text or f"{_upper(name)}," in text:
        name = _upper(name)
    if random.random() < 0.05:
        text, name = text.lower(), name.lower()
    return Row("extract", {"text": text}, {"product": name, "sentiment": sentiment, "rating": rating})


def verdict_in_french(product: Product, sentiment: str, rating: int) -> str:
    name, ending = french(product)
    plural = ending.endswith("s") or (product.plural)
    feminine = ending.startswith("e")
    adjective, advice = {
        "5": ("excellent", "à acheter sans hésiter"),
        "4": ("très bon", "à recommander"),
        "mixed": ("correct", "à essayer avant d'acheter"),
        "2": ("décevant", "mieux vaut chercher ailleurs"),
        "1": ("très mauvais", "à éviter"),
    }[sentiment if sentiment == "mixed" else str(rating)]
    if adjective.endswith("bon") and feminine:
        adjective += "n"
    adjective += "e" if feminine else ""
    adjective += "s" if plural and not adjective.endswith("s") else ""
    return f"{_upper(name)} {'sont' if plural else 'est'} {adjective} : {rating} sur 5, {advice}."


def verdict_in_spanish(product: Product, sentiment: str, rating: int) -> str:
    name, ending = spanish(product)
    s = "s" if product.plural else ""
    adjective, advice = {
        "5": (f"excelente{s}", "compra segura"),
        "4": (f"muy buen{ending}", "compra recomendada"),
        "mixed": (f"correct{ending}", "mejor probar antes de comprar"),
        "2": (f"decepcionante{s}", "mejor buscar otra opción"),
        "1": (f"muy mal{ending}", "mejor evitar la compra"),
    }[sentiment if sentiment == "mixed" else str(rating)]
    return f"{_upper(name)} {'son' if product.plural else 'es'} {adjective}: {rating} de 5, {advice}."


def summary_in_english(product: Product, sentiment: str, rating: int) -> str:
    adjective, advice = {
        "5": ("excellent", "a safe buy"),
        "4": ("very good", "recommended"),
        "mixed": ("decent", "try before you buy"),
        "2": ("disappointing", "better look elsewhere"),
        "1": ("very poor", "best avoided"),
    }[sentiment if sentiment == "mixed" else str(rating)]
    names = f"The {product.text} ({french(product)[0]}, {spanish(product)[0]})"
    return f"{names} {'are' if product.plural else 'is'} {adjective}: {rating} of 5, {advice}."


def _facts(random: Random) -> tuple[Product, str, int]:
    product = words.product(random)
    if random.random() < 0.05:
        product = Product(product.text.lower(), product.brand.lower(), product.noun)
    elif random.random() < 0.03:
        product = Product(_upper(product.text), product.brand, product.noun)
    return product, *_judgement(random)


def french_row(random: Random) -> Row:
    product, sentiment, rating = _facts(random)
    scope: dict[str, object] = {"product": product.text, "sentiment": sentiment, "rating": rating}
    return Row("verdict_fr", scope, {"verdict": verdict_in_french(product, sentiment, rating)})


def spanish_row(random: Random) -> Row:
    product, sentiment, rating = _facts(random)
    scope: dict[str, object] = {"product": product.text, "sentiment": sentiment, "rating": rating}
    return Row("verdict_es", scope, {"verdict": verdict_in_spanish(product, sentiment, rating)})


def summary_row(random: Random) -> Row:
    product, sentiment, rating = _facts(random)
    scope: dict[str, object] = {
        "product": product.text,
        "sentiment": sentiment,
        "rating": rating,
        "fr": {"verdict": verdict_in_french(product, sentiment, rating)},
        "es": {"verdict": verdict_in_spanish(product, sentiment, rating)},
    }
    return Row("summarise", scope, {"summary": summary_in_english(product, sentiment, rating)})


def echo_row(random: Random) -> Row:
    """Words, names and numbers to repeat: it teaches copying early, and no example uses it."""
    parts = [
        random.choice(
            [words.pseudo_word(random), words.brand(random), words.product(random).text, str(random.randint(0, 999))]
        )
        for _ in range(random.randint(2, 12))
    ]
    text = " ".join(parts)
    return Row("echo", {"text": text}, {"text": text})


MAKERS: dict[str, Callable[[Random], Row]] = {
    "extract": extract_row,
    "verdict_fr": french_row,
    "verdict_es": spanish_row,
    "summarise": summary_row,
    "echo": echo_row,
    **side_tasks.MAKERS,
}


def rows(task: str, seed: int) -> Iterator[Row]:
    """Rows of one task without end, no prompt twice. The same seed gives the same rows."""
    random = Random(f"{task}-{seed}")
    make = MAKERS[task]
    seen: set[tuple[str, str]] = set()
    repeated = 0
    while repeated < 1000:
        row = make(random)
        if row.prompt in seen:
            repeated += 1
            continue
        repeated = 0
        seen.add(row.prompt)
        yield row


def held_out(task: str, count: int) -> list[Row]:
    return [row for row, _ in zip(rows(task, HELD_OUT_SEED), range(count), strict=False)]


@cache
def _forbidden() -> set[tuple[str, str]]:
    return {row.prompt for task in REVIEW_TASKS for row in held_out(task, 600)}


def training(count: int, seed: int, echo: float = 0.0) -> Iterator[Row]:
    """Mixed rows in random order, of which `echo` (a share) are for repeating only."""
    random = Random(seed)
    forbidden = _forbidden()
    tasks, shares = list(SHARES), list(SHARES.values())
    made = 0
    while made < count:
        task = "echo" if random.random() < echo else random.choices(tasks, shares)[0]
        row = MAKERS[task](random)
        if row.prompt not in forbidden:
            made += 1
            yield row


def _write(path: Path, records: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")


def ship() -> None:
    """The files that stand in the repository: 100 held-out rows of each review task."""
    for task in REVIEW_TASKS:
        _write(
            EXAMPLES / "demo_model" / "heldout" / f"{task}.jsonl",
            [{"input": row.scope, "expected": row.answer} for row in held_out(task, 100)],
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ship", action="store_true")
    if parser.parse_args().ship:
        ship()
    for name in MAKERS:
        for shown in held_out(name, 2):
            print(f"[{name}] {shown.prompt} -> {shown.text}")
