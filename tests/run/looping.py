"""A chain with every kind of control flow in it, and rows for it."""

from __future__ import annotations

from pydantic import BaseModel

from chainette import Branch, Chain, ScanItem, apply, cond, delay, gather, scan, switch, while_loop
from tests.models import step


class Task(BaseModel):
    text: str
    kind: str = "short"
    turns: int = 1
    pages: list[str] = []


class Draft(BaseModel):
    text: str
    rounds: int = 0
    wanted: int = 1


class Sum(BaseModel):
    summary: str


class Vote(BaseModel):
    vote: int


class Final(BaseModel):
    text: str


PLAIN = {"output_format_instruction": "", "retries": 1}


def start(task: Task) -> Draft:
    return Draft(text=task.text, wanted=task.turns)


def is_done(draft: Draft) -> bool:
    return draft.rounds >= draft.wanted


def is_long(task: Task) -> bool:
    return task.kind == "long"


def revise(draft: Draft) -> Draft:
    if "refuses" in draft.text and draft.rounds == 1:
        raise ValueError("will not be revised")
    return draft.model_copy(update={"rounds": draft.rounds + 1})


def split(draft: Draft) -> list[Draft]:
    return [draft.model_copy(update={"text": f"{draft.text} part {n}"}) for n in range(2)]


def fewest(drafts: list[Draft]) -> Draft:
    return drafts[0] if drafts else Draft(text="none")


def kept(task: Task) -> Task | None:
    return None if "drop" in task.text else task


def count_vote(votes: list[Vote]) -> Vote:
    return Vote(vote=sum(vote.vote for vote in votes))


def every_construct(**fields: object) -> Chain:
    """Filter; pages scanned by a step; a switch whose sides loop, expand and gather; samples and a vote; a branch."""
    read = step("read", ScanItem[Sum, str], Sum, "so far {{ carry.summary }} now {{ item }}", **PLAIN)
    note = step(
        "note",
        Draft,
        Sum,
        "note {{ text }} in turn {{ turn }}{% if note %} after {{ note.summary }}{% endif %}",
        **PLAIN,
    )
    vote = step("vote", Task, Vote, "vote on {{ text }}", n=3, **PLAIN)
    final = step(
        "final", Task, Final, "final {{ text }} {{ votes | length }} {{ work_turns }} {{ book.carry.summary }}", **PLAIN
    )
    return Chain(
        "every construct",
        [
            apply(kept),
            [
                Branch("pages", [scan([read], over="pages", init=Sum(summary="nothing"), id="book")]).join("book"),
                Branch(
                    "work",
                    [
                        switch(
                            "kind",
                            {
                                "short": [
                                    apply(start),
                                    while_loop(
                                        [[Branch("aside", [note]).join(missing="none")], apply(revise)],
                                        until=is_done,
                                        max_iterations=4,
                                        id="work",
                                    ),
                                ],
                                "long": [apply(start, id="start_long"), apply(split), gather(), apply(fewest)],
                            },
                            id="way",
                        )
                    ],
                ).join("draft"),
                Branch(
                    "side",
                    [delay(0.001), cond(is_long, [vote, gather(missing="skip"), apply(count_vote)], [apply(blank)])],
                ),
            ],
            vote.with_(id="second_vote", n=2),
            gather("votes", missing="skip"),
            final,
        ],
        input_model=Task,
        **fields,
    )


def blank(task: Task) -> Vote:
    return Vote(vote=0)


def tasks(count: int) -> list[dict[str, object]]:
    words = ("plain", "drop", "refuses", "é plain")
    return [
        {
            "text": f"task {n} {words[n % 4]}.",
            "kind": ("short", "short", "long", "odd")[n % 7 % 4],
            "turns": n % 6,
            "pages": [f"page {n}.{p}" for p in range(n % 4)],
        }
        for n in range(count)
    ]
