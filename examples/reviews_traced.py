"""The reviews demo as a plain function: the same graph as examples/reviews.py and examples/reviews.yml.

The function is called once, on a row that is not there yet, to see which step gets what. On a real review it runs:
`reviews(Review(text="..."))`.

    chainette run examples.reviews_traced:reviews -i examples/reviews.jsonl
"""

from __future__ import annotations

from chainette import chain
from examples.reviews import Review, Summary, extract, summarise, verdict_es, verdict_fr


@chain(name="Reviews")
def reviews(review: Review) -> Summary:
    facts = extract(review)
    return summarise(fr=verdict_fr(facts), es=verdict_es(facts))
