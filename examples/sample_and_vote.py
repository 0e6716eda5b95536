"""Ask five times and let the answers vote: `n` samples per row, `gather` brings them back together, Python counts.

A sample that is no valid answer is left out of the vote (`missing="skip"`). Runs on the demo model: on reviews of the
kind it knows the samples agree, on others not always, and the count says so.

    chainette run examples.sample_and_vote:chain -i examples/sample_and_vote.jsonl
"""

from __future__ import annotations

from collections import Counter

from pydantic import BaseModel

from chainette import Chain, SamplingParams, apply, gather
from examples.reviews import Extract, extract

sample = extract.with_(
    id="sample", name="Extract five times", n=5, sampling=SamplingParams(temperature=1.0, seed=7, max_tokens=192)
)


class Ballot(BaseModel):
    """A review and what the samples say of it."""

    text: str
    samples: list[Extract]


class Elected(BaseModel):
    text: str
    sentiment: str
    votes: int
    of: int


def vote(ballot: Ballot) -> Elected:
    ((sentiment, votes),) = Counter(found.sentiment for found in ballot.samples).most_common(1)
    return Elected(text=ballot.text, sentiment=sentiment, votes=votes, of=len(ballot.samples))


chain = Chain(name="Sample and vote", steps=[sample, gather("samples", missing="skip"), apply(vote)])
