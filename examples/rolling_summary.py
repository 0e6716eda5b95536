"""A document longer than any prompt, summed up page by page: the summary so far is carried from page to page.

`scan` gives its step the carry and the next page (`ScanItem`); what the step gives is the next carry. Within a document
the pages wait for one another, the documents do not.

Summing up is more than the demo model can do, so a script answers in its place and the example runs anywhere. With a
real model only the engine changes: the block of `reader` in scripted.yml or in your engines.yml.

    chainette run examples.rolling_summary:chain -i examples/rolling_summary.jsonl -f examples/scripted.yml
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from chainette import Chain, ScanItem, Scanned, Step, apply, scan


class Document(BaseModel):
    title: str
    pages: list[str]


class Summary(BaseModel):
    summary: str = Field(max_length=600)


class Digest(BaseModel):
    """The whole document in a few sentences, and how the summary grew."""

    summary: str
    pages: int
    letters_after_each_page: list[int]


read = Step(
    id="read",
    name="Read a page",
    input_model=ScanItem[Summary, str],
    output_model=Summary,
    engine_name="reader",
    system_prompt="You keep a summary of at most three sentences of a document that you read page by page.",
    user_prompt="{{ chain_input.title }}\nSo far: {{ carry.summary }}\nNext page: {{ item }}",
)


def digest(scanned: Scanned[Summary, Summary]) -> Digest:
    grown = [len(summary.summary) for summary in scanned.outputs]
    return Digest(summary=scanned.carry.summary, pages=len(grown), letters_after_each_page=grown)


chain = Chain(
    name="Rolling summary",
    steps=[scan([read], over="pages", init=Summary(summary="nothing yet"), id="book"), apply(digest)],
    input_model=Document,
)
