"""Answer each review in the language of its market: a typed key, a way for each of its values, and a default.

The key is a function of the row and of its context, through which it sees the country that came in. French and Spanish
have a step each, the rest gets plain English and needs no model. Runs on the demo model.

    chainette run examples.route_by_language:chain -i examples/route_by_language.jsonl
"""

from __future__ import annotations

from typing import Literal

from chainette import Chain, Context, apply, switch
from examples.reviews import Extract, Review, Verdict, extract, verdict_es, verdict_fr

Language = Literal["fr", "es", "en"]
LANGUAGES: dict[str, Language] = {"FR": "fr", "BE": "fr", "ES": "es", "MX": "es"}


class MarketReview(Review):
    country: str


def language(found: Extract, context: Context) -> Language:
    return LANGUAGES.get(context.chain_input.country, "en")


def plain_english(found: Extract) -> Verdict:
    return Verdict(verdict=f"Customers say of the {found.product}: {found.sentiment}, {found.rating} of 5.")


chain = Chain(
    name="Route by language",
    steps=[extract, switch(language, {"fr": [verdict_fr], "es": [verdict_es]}, default=[apply(plain_english)])],
    input_model=MarketReview,
)
