"""Times of calls as columns of numbers, and what is typical of them. Opens no file; knows no run folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from chainette.observe.timeline import Jump

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Column = npt.NDArray[Any]
    Flags = npt.NDArray[np.bool_]

LIMIT = 1_000_000
"""Calls that are all looked at; of more, about so many."""


@dataclass(frozen=True, slots=True)
class Sample:
    """How many of the calls were looked at."""

    looked_at: int
    about: int
    """There are about so many; reckoned from the bytes."""


@dataclass(frozen=True, slots=True)
class Spread:
    """What is typical of some times, in seconds. A percentile is a time that was measured: the least of which it is
    true that so many percent took no longer."""

    count: int
    mean: float
    p50: float
    p95: float
    p99: float
    most: float

    @classmethod
    def of(cls, times: Floats) -> Spread | None:
        """None where there is no time; those that are NaN are no times."""
        import numpy as np

        times = times[~np.isnan(times)]
        if not len(times):
            return None
        p50, p95, p99, most = np.percentile(times, [50, 95, 99, 100], method="inverted_cdf")
        return cls(len(times), float(times.mean()), float(p50), float(p95), float(p99), float(most))


_COLUMNS = {
    "started_s": "f8",
    "seconds": "f8",
    "queue_s": "f4",
    "first_token_s": "f4",
    "prompt_tokens": "i4",
    "completion_tokens": "i4",
    "cached_tokens": "i4",
    "step": "i2",
    "replica": "i2",
    "attempt": "i2",
    "error": "?",
    "reused": "?",
    "row": "i8",
    "parent": "i8",
    "root": "i8",
}


@dataclass(slots=True)
class Calls:
    """Calls of a run, those of one step in the order in which they ended."""

    steps: tuple[str, ...]
    columns: dict[str, Column]
    """`started_s` (since 1970, as the machine's clock said), `seconds`, `queue_s`, `first_token_s`; tokens; `step`
    (place in `steps`), `replica`, `attempt`; `error` (not answered), `reused` (of another run, its times too); `row`,
    `parent` and `root`: hashes of the row's id, of it without its last part, and of its first part. Times that were
    not told are NaN, a replica -1."""
    sample: Sample | None = None
    """None: all calls are here."""
    damaged: int = 0
    """Lines that are no record."""

    def __len__(self) -> int:
        return len(self.columns["step"])

    def __getitem__(self, name: str) -> Column:
        return self.columns[name]

    @property
    def made(self) -> Flags:
        """Which of them were made here and tell when."""
        import numpy as np

        found: Flags = ~self["reused"] & ~np.isnan(self["started_s"]) & ~np.isnan(self["seconds"])
        return found

    def of_steps(self, steps: Iterable[str]) -> Flags:
        import numpy as np

        wanted = [position for position, step in enumerate(self.steps) if step in set(steps)]
        found: Flags = np.isin(self["step"], wanted)
        return found

    def steady(self, jumps: Sequence[Jump]) -> Calls:
        """The same on the timeline's clock, which does not jump."""
        import numpy as np

        if not jumps or not len(self):
            return self
        started = self["started_s"].copy()
        for step in range(len(self.steps)):
            mine = np.flatnonzero((self["step"] == step) & self.made)
            started[mine] += _offsets(started[mine], started[mine] + self["seconds"][mine], jumps)
        return Calls(self.steps, {**self.columns, "started_s": started}, self.sample, self.damaged)


def _offsets(starts: Floats, ends: Floats, jumps: Sequence[Jump]) -> Floats:
    """What to add to the times of one step's calls, which stand in the order in which they ended."""
    import numpy as np

    offsets = np.zeros(len(starts))
    first = 0
    for jump in jumps:
        if jump.by_s > 0:
            offsets[starts > jump.at_s - jump.by_s / 2] -= jump.by_s
            continue
        # The clock says an hour twice; which of the two it was, only the order tells.
        latest = np.maximum.accumulate(ends[first:]) if first < len(ends) else ends[:0]
        drops = np.flatnonzero(latest - ends[first:] > -jump.by_s / 2)
        if len(drops):
            first += int(drops[0])
            offsets[first:] -= jump.by_s
        elif len(ends) and starts[0] + offsets[0] < jump.at_s and _all_after(starts, jump):
            offsets -= jump.by_s
    return offsets


def _all_after(starts: Floats, jump: Jump) -> bool:
    return bool((starts >= jump.at_s).all())


class CallReader:
    """Lines of `calls/` on their way into columns."""

    def __init__(self, steps: Sequence[str]) -> None:
        self._steps = tuple(steps)
        self._blocks: dict[str, list[Column]] = {name: [] for name in _COLUMNS}
        self.damaged = 0
        self.lines = 0
        """Calls that were taken in."""

    def add(self, step: str, lines: Iterable[bytes]) -> None:
        """Records of one step, in their order. What a Python step keeps in its place is passed over."""
        import numpy as np

        records = [
            record
            for record in self._parsed([_short(line) for line in lines])
            if type(record) is dict and ("usage" in record or "error" in record)
        ]
        if not records:
            return
        self.lines += len(records)
        number = self._steps.index(step)
        columns = _columns(records)
        columns["step"] = np.full(len(records), number, "i2")
        for name, kind in _COLUMNS.items():
            self._blocks[name].append(np.asarray(columns[name]).astype(kind, copy=False))

    def _parsed(self, lines: list[bytes]) -> list[Any]:
        try:
            records: list[Any] = orjson.loads(b"[" + b",".join(lines) + b"]")
            if len(records) == len(lines):
                return records
        except ValueError:
            pass
        records = []
        for line in lines:
            try:
                records.append(orjson.loads(line))
            except ValueError:
                self.damaged += 1
        return records

    def calls(self, sample: Sample | None = None) -> Calls:
        import numpy as np

        columns = {
            name: np.concatenate(blocks) if (blocks := self._blocks.pop(name)) else np.empty(0, kind)
            for name, kind in _COLUMNS.items()
        }
        return Calls(self._steps, columns, sample, self.damaged)


_TEXT, _USAGE = b',"text":', b',"usage":{'


def _short(line: bytes) -> bytes:
    """Without the answer, which no figure needs and which may be long. In a text, quotes are escaped, so what is looked
    for is not found in one."""
    text = line.find(_TEXT)
    usage = line.rfind(_USAGE)
    return line[:text] + line[usage:] if 0 < text < usage else line


_NAN = float("nan")
_NO_USAGE: dict[str, Any] = {}


def _columns(records: list[dict[str, Any]]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name in ("started_s", "seconds", "queue_s", "first_token_s"):
        columns[name] = _numbers([record.get(name, _NAN) for record in records], _NAN)
    usages = [record.get("usage") or _NO_USAGE for record in records]
    for name in ("prompt_tokens", "completion_tokens", "cached_tokens"):
        columns[name] = _numbers([usage.get(name, 0) if type(usage) is dict else 0 for usage in usages], 0)
    columns["replica"] = _numbers([record.get("replica", -1) for record in records], -1)
    columns["attempt"] = _numbers([record.get("attempt", 1) for record in records], 1)
    columns["error"] = [record.get("error") is not None for record in records]
    columns["reused"] = ["reused" in record for record in records]
    ids = [record.get("_id", "") for record in records]
    columns["row"] = [hash(id) for id in ids] if all(type(id) is str for id in ids) else [hash(str(id)) for id in ids]
    columns["parent"], columns["root"] = columns["row"], columns["row"]
    if any("." in id for id in map(str, ids)):
        columns["parent"] = [hash(str(id).rpartition(".")[0] or str(id)) for id in ids]
        columns["root"] = [hash(str(id).partition(".")[0]) for id in ids]
    return columns


def _numbers(values: list[Any], otherwise: float) -> Any:
    """Files are changed by hand, and an endpoint may say what it likes."""
    import numpy as np

    try:
        column = np.array(values)
    except (ValueError, OverflowError):
        column = np.empty(0, object)
    if column.dtype.kind not in "if":
        column = np.array([value if type(value) in (int, float) else otherwise for value in values], np.float64)
    fits = (column > -_MOST) & (column < _MOST) | (column != column)
    return column if fits.all() else np.where(fits, column, otherwise)


_MOST = 2**31


@dataclass(frozen=True, slots=True)
class Latencies:
    """Times of the calls of one step or engine, each None where none of them tells it."""

    queue: Spread | None
    """Waited in the engine before it was taken up."""
    first_token: Spread | None
    """From its arrival in the engine."""
    total: Spread | None
    """From sending the request that was answered to its whole answer."""
    unanswered: int = 0
    """Calls that got no answer: their times are not among these."""
    untimed: int = 0
    """Calls that do not say when they were made."""

    @classmethod
    def of(cls, calls: Calls, which: Flags) -> Latencies:
        here = which & ~calls["reused"]
        timed = here & calls.made & ~calls["error"]
        return cls(
            Spread.of(calls["queue_s"][timed]),
            Spread.of(calls["first_token_s"][timed]),
            Spread.of(calls["seconds"][timed]),
            int((here & calls["error"]).sum()),
            int((here & ~calls.made).sum()),
        )
