"""The chain that is killed in the midst of every construct: sides, nested loops, scans, a delay, expands and gathers,
samples and votes, a durable function, a class in a worker process, functions over the whole run. Run as a file.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, Field

from chainette import (
    Branch,
    Chain,
    Drop,
    ScanItem,
    Step,
    apply,
    cond,
    delay,
    gather,
    scan,
    switch,
    while_loop,
)


class Report(BaseModel):
    number: int
    text: str


class Task(BaseModel):
    number: int
    text: str
    kind: str
    pages: list[str]


class Draft(BaseModel):
    line: str = Field(max_length=24)
    stars: int = Field(ge=1, le=5)


class Review(BaseModel):
    approved: bool


class Note(BaseModel):
    note: str = Field(max_length=16)


class Part(BaseModel):
    line: str
    part: int


class Vote(BaseModel):
    stars: int = Field(ge=1, le=5)


class Tally(BaseModel):
    total: int = 0
    seen: int = 0


class Line(BaseModel):
    line: str = Field(max_length=24)


class Measured(BaseModel):
    line: str
    letters: int


def take_up(report: Report) -> Task | Drop:
    words = report.text.split()
    if len(words) < 5:
        return Drop("too short")
    pages = [" ".join(words[at : at + 8]) for at in range(0, len(words), 8)]
    kind = ("refined", "refined", "parted", "asked", "odd", "unheard of")[report.number // 2 % 6]
    return Task(number=report.number, text=report.text, kind=kind, pages=pages)


def is_even(task: Task) -> bool:
    return task.number % 2 == 0


def liked(draft: Draft) -> bool:
    return draft.stars > 2


def take_apart(task: Task) -> list[Part]:
    return [Part(line=page, part=number) for number, page in enumerate(task.pages[1:])]


def not_the_second(part: Part) -> Part | Drop:
    return part if part.part != 1 else Drop("the second")


def put_together(drafts: list[Line]) -> Review:
    return Review(approved=len(drafts) > 1)


def elect(votes: list[Vote]) -> Tally:
    return Tally(total=sum(vote.stars for vote in votes), seen=len(votes))


def none_asked(task: Task) -> Tally:
    return Tally()


def unlike(task: Task) -> Review:
    if task.number % 5 == 0:
        raise ValueError(f"number {task.number} is too odd")
    return Review(approved=False)


def distinct(rows: Iterator[Task]) -> Iterator[Task]:
    """Those of which there is no other with the same number of words and the same last one."""
    seen: set[tuple[int, str]] = set()
    for row in rows:
        words = row.text.split()
        if (len(words), words[-1]) not in seen:
            seen.add((len(words), words[-1]))
            yield row


def mixed(rows: list[Task]) -> list[Task]:
    """Mixed in the same way each time."""
    return sorted(rows, key=lambda row: row.number * 7919 % 1009)


def shuffled(rows: list[Task]) -> list[Task]:
    """In another order each time."""
    random.SystemRandom().shuffle(rows)
    return rows


def run_on(carry: Tally, item: Task) -> tuple[Tally, Task]:
    if item.number % 31 == 0:
        raise ValueError(f"number {item.number} is not counted")
    carry = Tally(total=carry.total + item.number, seen=carry.seen + 1)
    return carry, item.model_copy(update={"text": f"{item.text} ({carry.seen}: {carry.total})"})


def every_third(task: Task) -> Task | None:
    return task if task.number % 3 == 0 else None


def echo(task: Task) -> Task:
    return task.model_copy(update={"text": f"{task.text} {len(task.text)}"})


class Letters:
    """Built once in each worker process."""

    def setup(self) -> None:
        self._letters = frozenset("abcdefghijklmnopqrstuvwxyz")

    def __call__(self, line: Line) -> Measured:
        return Measured(line=line.line, letters=sum(letter in self._letters for letter in line.line))


def ask(id: str, takes: Any, makes: type[BaseModel], prompt: str, **fields: Any) -> Step:
    given: dict[str, Any] = {"retries": 0, "output_format_instruction": "", **fields}
    return Step(id=id, input_model=takes, output_model=makes, engine_name="server", user_prompt=prompt, **given)


def _refined() -> list[Any]:
    note = ask("note", Draft, Note, "Note on {{ line }} in {{ chain_input.number }}", retries=1)
    aside = ask("aside", Draft, Note, "Aside on {{ line }} in {{ chain_input.number }}")
    write = ask(
        "write",
        Task,
        Draft,
        "Write {{ number }} in turn {{ turn }}{% if review %} after {{ write.line }}: {{ review.approved }}{% endif %}",
    )
    tighten = ask("tighten", Draft, Draft, "Tighten {{ line }} of {{ chain_input.number }}, {{ turn }}", retries=1)
    review = ask("review", Draft, Review, "Review {{ line }} of {{ chain_input.number }}: {{ (hint or {}).note }}")
    return [
        while_loop(
            [
                write,
                while_loop([tighten], until=liked, max_iterations=3, keep="all", id="inner"),
                [Branch("hinted", [note]).join("hint", missing="none"), Branch("aside", [aside])],
                review,
            ],
            until="approved",
            max_iterations=4,
            feed="input",
            at_least_once=True,
            id="refine",
        )
    ]


def _parted() -> list[Any]:
    label = ask("label", Part, Line, "Label {{ line }} of {{ chain_input.number }}")
    return [apply(take_apart), apply(not_the_second), label, gather(missing="skip"), apply(put_together)]


def _asked() -> list[Any]:
    opinion = ask("opinion", Task, Review, "Opinion on {{ number }}")
    return [cond(is_even, [delay(0.02), opinion], [apply(unlike)], id="parity")]


def _chain(name: str, *all_rows: Any) -> Chain:
    """`all_rows` comes after what is done row by row."""
    read = ask("read", ScanItem[Note, str], Note, "So far {{ carry.note }}, now {{ item }}", retries=1)
    digest = ask("digest", ScanItem[Note, Task], Note, "After {{ carry.note }} comes {{ item.number }}")
    vote = ask("vote", Task, Vote, "Vote on {{ number }} of {{ text }}", n=3)
    last = ask(
        "last",
        Task,
        Line,
        "Last {{ number }}: {{ votes | length }} {{ book.carry.note if book else 'no book' }} {{ way.approved }} "
        "{{ refine_turns }} {{ text }}",
        retries=1,
    )
    ways = {"refined": _refined(), "parted": _parted(), "asked": _asked(), "odd": [apply(unlike, id="odd")]}
    book = scan([read], over="pages", init=Note(note="nothing"), id="book")
    steps = [
        apply(take_up),
        [
            Branch("pages", [book]).join("book", missing="none"),
            Branch("work", [switch("kind", ways, id="way")]).join("work"),
            Branch("side", [cond(is_even, [vote, gather(missing="skip"), apply(elect)], [apply(none_asked)])]),
            Branch("story", [apply(every_third), scan([digest], over=None, init=Note(note="once"), id="story")]),
        ],
        vote.with_(id="second_vote", n=2),
        gather("votes", missing="skip"),
        apply(echo, durable=True),
        *all_rows,
        last,
        apply(Letters),
    ]
    return Chain(name=name, steps=steps)


chain = _chain(
    "Constructs",
    apply(distinct, scope="run"),
    apply(mixed, scope="run"),
    scan(run_on, over=None, init=Tally(), id="running"),
)
shuffling = _chain("Shuffling", apply(shuffled, scope="run"))
