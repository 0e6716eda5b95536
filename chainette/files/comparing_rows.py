"""One node's rows and failures in two runs, brought together by input row. Knows ids and JSON, not what they mean."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Any

from chainette.files.comparing_inputs import Pairing, RunInput, temporary_database
from chainette.files.json_text import encode
from chainette.files.names import INPUT_NODE
from chainette.files.views import failure_record

Record = dict[str, Any]


@dataclass(slots=True)
class Below:
    """What a node has of one input row: rows and failures by their path below it, `""` for the row itself.

    The turns of a row in a loop are told apart: `#1`, `2.0#[1,3]`.
    """

    rows: dict[str, Record] = field(default_factory=dict)
    failures: dict[str, Record] = field(default_factory=dict)

    def last(self, path: str) -> Record | None:
        """The row of that path, in a loop that of its last turn."""
        return next((row for name, row in reversed(self.rows.items()) if path_of(name) == path), None)


def path_of(name: str) -> str:
    """The path without the turn."""
    return name.partition("#")[0]


def _turn_by_turn(ours: Below, theirs: Below) -> None:
    """Where both have one row of a path, these belong together, whichever turn was the last: a loop that keeps only
    that has no other to compare it with."""
    if not any("#" in name for side in (ours, theirs) for name in side.rows):
        return
    names = [Counter(map(path_of, side.rows)) for side in (ours, theirs)]
    for side in (ours, theirs):
        single = (name for name in list(side.rows) if "#" in name and all(n[path_of(name)] == 1 for n in names))
        for name in single:
            side.rows[path_of(name)] = side.rows.pop(name)


def side_by_side(pairing: Pairing, before_id: str | None, after_id: str | None) -> Iterator[tuple[Below, Below]]:
    """What a node has of each input row, before and after. A node that is None has nothing.

    Input rows without a partner, and those of which neither run has anything, come with nothing on the other side or
    do not come.
    """
    for ours, theirs in _sides(pairing, before_id, after_id):
        _turn_by_turn(ours, theirs)
        yield ours, theirs


def _sides(pairing: Pairing, before_id: str | None, after_id: str | None) -> Iterator[tuple[Below, Below]]:
    before = _belows(pairing.before, before_id)
    after = _belows(pairing.after, after_id)
    if pairing.aligned:
        yield from _joined(before, after)
        return
    with _Spool() as spool:
        paired = _partnered(pairing, after)
        if pairing.moved:
            for place, below in paired:
                if place is None:
                    yield Below(), below
                else:
                    spool.put(place, below)
            paired = spool.sorted()
        yield from _joined(before, paired)


def _belows(source: RunInput, node_id: str | None) -> Iterator[tuple[int, Below]]:
    """(place of the input row, what the node has of it) in input order."""
    if node_id is None:
        return
    reader = source.reader
    rows = reader.inputs() if node_id == INPUT_NODE else reader.rows(node_id)
    read = map(_plain, rows) if source.format == "parquet" else rows
    made = ((str(row["_id"]), ("rows", row)) for row in read)
    failed = ((f.row_id, ("failures", failure_record(f))) for f in reader.failures(node_id))
    streams = (source.places(iter(stream)) for stream in (made, failed))
    for place, found in groupby(merge(*streams, key=itemgetter(0)), itemgetter(0)):
        below = Below()
        for _, path, (kind, record) in found:
            records: dict[str, Record] = getattr(below, kind)
            turn = f"#{encode(record['_turn']).decode()}" if kind == "rows" and "_turn" in record else ""
            number, name = 1, path + turn
            while name in records:
                number += 1
                name = f"{path}{turn}#{number}"
            records[name] = record
        yield place, below


def _partnered(pairing: Pairing, after: Iterator[tuple[int, Below]]) -> Iterator[tuple[int | None, Below]]:
    """The rows after with the place that their input row had before, None for a new one."""
    partners = pairing.partners()
    at, partner = next(partners, (None, None))
    for place, below in after:
        while at is not None and at < place:
            at, partner = next(partners, (None, None))
        if at == place:
            yield partner, below


def _joined(
    before: Iterator[tuple[int, Below]], after: Iterator[tuple[int, Below]] | Iterator[tuple[int | None, Below]]
) -> Iterator[tuple[Below, Below]]:
    ours, theirs = next(before, None), next(after, None)
    while ours is not None or theirs is not None:
        if theirs is not None and (theirs[0] is None or ours is None or theirs[0] < ours[0]):
            yield Below(), theirs[1]
            theirs = next(after, None)
        elif ours is not None and (theirs is None or (theirs[0] is not None and ours[0] < theirs[0])):
            yield ours[1], Below()
            ours = next(before, None)
        elif ours is not None and theirs is not None:
            yield ours[1], theirs[1]
            ours, theirs = next(before, None), next(after, None)


class _Spool:
    """Sorts what does not fit into memory by place, in a temporary file."""

    def __init__(self) -> None:
        self._db = temporary_database()
        self._db.execute("CREATE TABLE spool (place INTEGER PRIMARY KEY, below BLOB)")

    def __enter__(self) -> _Spool:
        return self

    def __exit__(self, *error: object) -> None:
        self._db.close()

    def put(self, place: int, below: Below) -> None:
        self._db.execute("INSERT INTO spool VALUES (?, ?)", (place, encode([below.rows, below.failures])))

    def sorted(self) -> Iterator[tuple[int, Below]]:
        for place, text in self._db.execute("SELECT place, below FROM spool ORDER BY place"):
            yield place, Below(*json.loads(text))


def _plain(value: Any) -> Any:
    """Times as they stand in JSONL."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, (date, time, timedelta)):
        return str(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return {name: _plain(item) for name, item in value.items()} if isinstance(value, dict) else value


def differing_fields(before: Mapping[str, Any], after: Mapping[str, Any], *, formats: bool) -> list[str]:
    """The fields that differ, those of the row before first. `formats` when the files are of two formats."""
    names = [name for name in {**before, **after} if name != "_id"]
    return [name for name in names if not _same(before.get(name), after.get(name), formats)]


def _same(one: Any, other: Any, formats: bool) -> bool:
    if encode(one) == encode(other):
        return True
    if isinstance(one, bool) or isinstance(other, bool) or one is None or other is None:
        return False
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one == other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key], formats) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other, [formats] * len(one)))
    return formats and _same_in_two_formats(one, other)


def _same_in_two_formats(one: Any, other: Any) -> bool:
    """CSV holds nested values as JSON text, and Parquet its times in UTC."""
    if isinstance(one, str) and isinstance(other, str):
        moments = _moment(one), _moment(other)
        return moments[0] is not None and moments[0] == moments[1]
    text, value = (one, other) if isinstance(one, str) else (other, one)
    if not isinstance(text, str) or not isinstance(value, (dict, list)):
        return False
    try:
        return _same(json.loads(text), value, formats=False)
    except ValueError:
        return False


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
