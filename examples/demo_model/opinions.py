"""What reviewers say, by how good it is: 5 and 4 praise, 2 and 1 complain. Singular and plural things.

`{It}`, `{it}`, `{is}`, `{was}`, `{has}`, `{does}` and `{s}` bend with the number of the product. It knows no products.
"""

from __future__ import annotations


def _words(text: str) -> list[str]:
    return text.split()


SAID = {
    5: """
{It} work{s} perfectly|I love {it}|Best purchase of the year|Absolutely fantastic|{It} {is} simply perfect
I could not be happier|Worth every cent|{It} exceeded all my expectations|Outstanding quality
I would buy {it} again tomorrow
My whole family loves {it}|An absolute joy to use|Ten out of ten for design|Superb in every way|{It} {is} amazing
I am thrilled|Wonderful from the first day|Flawless|{It} {has} changed my mornings|The best I have ever owned""",
    4: """
{It} work{s} well|{It} {does} the job nicely|Good value for money|I am quite happy with {it}|{It} {is} pretty good
Solid and practical|A good choice overall|I would recommend {it}|{It} look{s} nice|Easy to use
Good quality for the price|I am satisfied|Does what it should|A sensible buy|Nicely made
Comfortable and handy|No regrets so far|{It} feel{s} well made|Quite pleasant|Happy enough with {it}""",
    2: """
{It} {is} a bit disappointing|I expected more|Not great|{It} feel{s} cheap|Not worth the price
Rather flimsy|I would not buy {it} again|{It} only half work{s}|Poor value for money|{It} {was} scratched on arrival
A little too noisy for me|It could be much better|The quality is below average|I am not impressed
Somewhat awkward to use
Rather slow|{It} look{s} worse than in the pictures|Not what I hoped for|A weak effort|I am a little let down""",
    1: """
{It} broke after two days|Complete waste of money|Terrible quality|I hate {it}|The worst purchase I ever made
{It} never worked|Total rubbish|Absolutely useless|Avoid at all costs|I want my money back
{It} fell apart within a week|Awful from start to finish|{It} {is} a disaster|I threw {it} away|Horrible
Dangerous and badly made|{It} stopped working at once|A scam|I regret every cent|Utterly broken""",
}
ASPECTS = _words(
    "battery handle sound colour design packaging delivery manual finish fit weight smell material cable button "
    "lid base size noise warranty texture surface price shape"
)
ASPECT_WORDS = {
    5: ["perfect", "superb", "fantastic", "outstanding", "brilliant", "gorgeous"],
    4: ["good", "fine", "nice", "pleasant", "decent", "handy"],
    2: ["mediocre", "weak", "disappointing", "so-so", "underwhelming", "poor"],
    1: ["terrible", "awful", "horrible", "dreadful", "atrocious", "useless"],
}
OPENINGS = """
I bought the {p} last month.|I ordered this {p} for my sister.|My {p} arrived on Monday.|We use the {p} every day.
I got the {p} as a gift.|Bought a {p} two weeks ago.|After {n} weeks with the {p}:|My review of the {p}.
Just received my {p}.|Our new {p} came yesterday.|I have had the {p} for {n} months.|Finally a review of the {p}:
The {p} cost me {n}0 euros.|This is my second {p}.|I picked the {p} for our kitchen.|{p}, used for {n} weeks.
Got my hands on the {p}.|We tried the {p} on holiday.|The {p} {was} delivered in {n} days.|Update on my {p}:
I had high hopes for the {p}.|My husband chose the {p}.|I needed a new one and took the {p}.|{p}:
I have been testing the {p} for {n} days.|So I bought the {p}.|I purchased the {p} online.|About the {p}:"""
COMPARED = """
It replaces my old {q}.|Before that I had a {q}.|Until now I used a {q}.|I also looked at the {q}.
My neighbour prefers the {q}."""
STATED = """
{r} out of 5.|{r}/5.|{r} stars.|Rating: {r}.|I give it {r} out of 5.|{r} of 5 stars.|{w} stars from me.|{w} stars.
I rate it {r}/5.|{w} out of five.|Score: {r}/5.|My rating: {r} of 5."""
BUT = ["but", "although", "yet", "still,", "however,", "on the other hand,"]
NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}

SINGULAR = {"It": "It", "it": "it", "is": "is", "was": "was", "has": "has", "does": "does", "s": "s"}
PLURAL = {"It": "They", "it": "them", "is": "are", "was": "were", "has": "have", "does": "do", "s": ""}


def _split(text: str) -> list[str]:
    return [part.strip() for line in text.strip().splitlines() for part in line.split("|")]


PHRASES = {level: _split(text) for level, text in SAID.items()}
OPENING_LINES, COMPARED_LINES, STATED_LINES = _split(OPENINGS), _split(COMPARED), _split(STATED)
