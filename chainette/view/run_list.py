"""Which runs the list shows: filtered, in order, a page of them. Knows summaries, no files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chainette.files.reading import RunSummary
from chainette.view.urls import with_query

PAGE = 200

_ORDERS: Mapping[str, Callable[[RunSummary], Any]] = {
    "name": lambda run: run.name,
    "state": lambda run: run.state,
    "rows": lambda run: run.rows_done,
    "failed": lambda run: run.rows_failed,
    "tokens": lambda run: run.prompt_tokens + run.completion_tokens,
    "cost": lambda run: -1.0 if run.cost is None else run.cost,
    "took": lambda run: run.seconds,
    "started": lambda run: run.started.timestamp() if run.started else 0.0,
}
NEWEST = "-started"


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for; an order that begins with `-` is from high to low."""

    text: str = ""
    state: str = ""
    tag: str = ""
    sort: str = NEWEST
    page: int = 1

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Wish:
        sort = query.get("sort", NEWEST)
        page = query.get("page", "1")
        return cls(
            query.get("q", "").strip(),
            query.get("state", ""),
            query.get("tag", ""),
            sort if sort.removeprefix("-") in _ORDERS else NEWEST,
            max(int(page), 1) if page.isdecimal() and len(page) < 9 else 1,
        )

    def url(self, **changed: object) -> str:
        told = {"q": self.text, "state": self.state, "tag": self.tag, "sort": self.sort, "page": self.page, **changed}
        told["sort"] = "" if told["sort"] == NEWEST else told["sort"]
        told["page"] = "" if told["page"] == 1 else told["page"]
        return with_query("/", **told)

    def sorted_by(self, column: str) -> str:
        """As `aria-sort` has it; empty where another column decides."""
        if self.sort.removeprefix("-") != column:
            return ""
        return "descending" if self.sort.startswith("-") else "ascending"

    def turned(self, column: str) -> str:
        """The address with this column deciding, the other way round where it does so now. Figures begin with the
        highest."""
        downward = column not in ("name", "state")
        if self.sort.removeprefix("-") == column:
            downward = not self.sort.startswith("-")
        return self.url(sort=f"-{column}" if downward else column, page=1)


@dataclass(frozen=True, slots=True)
class Listed:
    runs: Sequence[RunSummary]
    """Of this page."""
    found: int
    total: int
    pages: int
    page: int
    states: Sequence[tuple[str, int]]
    """(state, how many) of all runs."""
    tags: Sequence[str]
    live: bool
    """Whether any run is under way."""


def listed(runs: Sequence[RunSummary], wish: Wish) -> Listed:
    """`runs` come the newest first."""
    needle = wish.text.casefold()
    found = [run for run in runs if _fits(run, wish, needle)]
    if wish.sort != NEWEST:
        found.sort(key=_ORDERS[wish.sort.removeprefix("-")], reverse=wish.sort.startswith("-"))
    pages = max(-(-len(found) // PAGE), 1)
    page = min(wish.page, pages)
    return Listed(
        runs=found[(page - 1) * PAGE : page * PAGE],
        found=len(found),
        total=len(runs),
        pages=pages,
        page=page,
        states=sorted(Counter(run.state for run in runs).items()),
        tags=sorted({tag for run in runs for tag in run.tags}),
        live=any(run.state == "running" for run in runs),
    )


def _fits(run: RunSummary, wish: Wish, needle: str) -> bool:
    if wish.state and run.state != wish.state:
        return False
    if wish.tag and wish.tag not in run.tags:
        return False
    return not needle or any(needle in text.casefold() for text in (run.name, run.chain, run.message, *run.tags))
