"""Each review is paid for once: a function that sees all rows of the run lets only the first of its kind go on.

`scope="run"` is a barrier: the rows wait on disk, and the function gets an iterator over them, so that a million rows
need no more memory than what it remembers (here 16 bytes a row). Runs on the demo model.

    chainette run examples.dedupe:chain -i examples/dedupe.jsonl
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

from chainette import Chain, apply
from examples.reviews import Review, extract


def first_of_each(reviews: Iterator[Review]) -> Iterator[Review]:
    seen: set[bytes] = set()
    for review in reviews:
        words = " ".join(review.text.casefold().split())
        key = blake2b(words.encode(), digest_size=16).digest()
        if key not in seen:
            seen.add(key)
            yield review


chain = Chain(name="Dedupe", steps=[apply(first_of_each, scope="run"), extract])
