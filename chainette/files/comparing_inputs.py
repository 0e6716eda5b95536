"""Which input row of one run is which of another. Knows rows by id and content, not what was made of them."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import orjson

from chainette.files.json_text import encode
from chainette.files.names import INPUT_NODE
from chainette.files.parts import JsonlPart, find_parts
from chainette.files.reading import RunReader

_AT_ONCE = 2_000
_CACHE_KIB = 32_768


def temporary_database() -> sqlite3.Connection:
    """Gone when it is closed. Without a name SQLite keeps it in a file of its own, and in memory until it grows."""
    database = sqlite3.connect("")
    database.execute("PRAGMA journal_mode = OFF")
    database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return database


class RunInput:
    """The input rows of one run, with the place of each. A row's place is its position in the whole input."""

    def __init__(self, reader: RunReader) -> None:
        self.reader = reader
        options = reader.graph().get("options") or {}
        self.id_field: str | None = options.get("id_field")
        self.format = str(options.get("format") or "jsonl")
        """Of the step files; the input is JSONL in any case."""

    def lines(self) -> Iterator[bytes]:
        """The rows as JSON; half a line at the end is no row."""
        for part in find_parts(self.reader.path, "inputs"):
            if isinstance(part, JsonlPart):
                yield from part.lines(0, len(part))

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(place, row) in order."""
        for number, row in enumerate(self.reader.inputs()):
            yield self._place(str(row.get("_id")), number), row

    def places(self, row_ids: Iterator[tuple[str, Any]]) -> Iterator[tuple[int, str, Any]]:
        """(place, path below the input row, what came with the id) of rows in input order, by their ids.

        Rows that come from no input row, as those of a run that is read while it goes on may, are left out.
        """
        if self.id_field is None:
            for id, item in row_ids:
                head, _, path = id.partition(".")
                if head.isdecimal():
                    yield int(head), path, item
            return
        yield from self._walk(row_ids)

    def _walk(self, row_ids: Iterator[tuple[str, Any]]) -> Iterator[tuple[int, str, Any]]:
        """An id from the data may itself hold dots, so the input's ids are followed beside the rows'."""
        inputs = ((place, str(row["_id"])) for place, row in self.rows())
        current, following = next(inputs, None), next(inputs, None)
        for id, item in row_ids:
            while current is not None:
                begins = id.startswith(current[1] + ".") and (following is None or following[1] != id)
                if id == current[1] or begins:
                    yield current[0], id[len(current[1]) + 1 :], item
                    break
                current, following = following, next(inputs, None)

    def _place(self, row_id: str, number: int) -> int:
        return int(row_id) if self.id_field is None and row_id.isdecimal() else number


def content_key(row: dict[str, Any]) -> bytes:
    """Equal for rows that hold the same, whatever their ids and the order of their fields."""
    fields = {name: value for name, value in row.items() if name != "_id"}
    try:
        text = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # an integer beyond 64 bits
        text = encode(dict(sorted(fields.items())))
    return hashlib.blake2b(text, digest_size=16).digest()


def by_ids(before: RunInput, after: RunInput) -> bool:
    """Whether the data itself says which row is which."""
    return before.id_field is not None and after.id_field is not None


class Pairing:
    """Which input row of the run before is which of the run after; kept in a temporary file where it is not plain.

    With ids from the data in both runs a row is known by its id. Else the k-th row of some content is the k-th of that
    content; of what is left, rows between the same neighbours belong together, then rows of the same place.
    """

    def __init__(self, before: RunInput, after: RunInput) -> None:
        self.before, self.after = before, after
        self.moved = 0
        """Rows that stand before one that they stood behind."""
        self.aligned = before.id_field == after.id_field and _equal(before, after)
        if not self.aligned:
            self._db = temporary_database()
            try:
                self._pair()
                self.moved = self._count_moved()
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        if not self.aligned:
            self._db.close()

    def partners(self) -> Iterator[tuple[int, int | None]]:
        """(place after, place before or None) for every row after, in order."""
        yield from self._db.execute("SELECT place, partner FROM after ORDER BY place")

    def partner(self, place: int) -> int | None:
        """The place after of a row before."""
        if self.aligned:
            return place
        found = self._db.execute("SELECT partner FROM before WHERE place = ?", (place,)).fetchone()
        return None if found is None else found[0]

    def _pair(self) -> None:
        known = by_ids(self.before, self.after)
        for table, source in (("before", self.before), ("after", self.after)):
            self._db.execute(f"CREATE TABLE {table} (place INTEGER PRIMARY KEY, key BLOB, partner INTEGER)")
            rows = ((place, _id_key(row) if known else content_key(row)) for place, row in source.rows())
            self._db.executemany(f"INSERT OR REPLACE INTO {table} (place, key) VALUES (?, ?)", rows)
        numbered = "SELECT place, key, row_number() OVER (PARTITION BY key ORDER BY place) AS k FROM"
        self._db.execute(f"CREATE TABLE counted AS {numbered} before")
        self._db.execute("CREATE UNIQUE INDEX counted_by ON counted (key, k)")
        self._db.execute(
            f"CREATE TABLE pairs AS SELECT n.place AS after, c.place AS before FROM ({numbered} after) n "
            "JOIN counted c ON c.key = n.key AND c.k = n.k"
        )
        self._db.execute("DROP TABLE counted")
        self._tie(self._db.execute("SELECT before, after FROM pairs"))
        self._db.execute("DROP TABLE pairs")
        if not known:
            self._tie(self._neighbours())
            self._tie(
                self._db.execute(
                    "SELECT b.place, a.place FROM before b JOIN after a USING (place) "
                    "WHERE b.partner IS NULL AND a.partner IS NULL"
                )
            )

    def _tie(self, pairs: Iterator[tuple[int, int]]) -> None:
        held: list[tuple[int, int]] = []
        for pair in pairs:
            held.append(pair)
            if len(held) == _AT_ONCE:
                self._tie_now(held)
        self._tie_now(held)

    def _tie_now(self, pairs: list[tuple[int, int]]) -> None:
        self._db.executemany("UPDATE before SET partner = ?2 WHERE place = ?1", pairs)
        self._db.executemany("UPDATE after SET partner = ?1 WHERE place = ?2", pairs)
        pairs.clear()

    def _neighbours(self) -> Iterator[tuple[int, int]]:
        """Rows without a partner that follow, on both sides, the rows of one pair."""
        last: int | None = -1
        free = "SELECT 1 FROM after WHERE place = ? AND partner IS NULL"
        for place, partner in self._db.execute("SELECT place, partner FROM before ORDER BY place"):
            if partner is not None:
                last = partner
            elif last is not None and self._db.execute(free, (last + 1,)).fetchone():
                last += 1
                yield place, last
            else:
                last = None

    def _count_moved(self) -> int:
        moved, farthest = 0, -1
        for _, partner in self.partners():
            if partner is not None and partner < farthest:
                moved += 1
            elif partner is not None:
                farthest = partner
        return moved


def _equal(before: RunInput, after: RunInput) -> bool:
    return all(a == b for a, b in zip_longest(before.lines(), after.lines()))


def _id_key(row: dict[str, Any]) -> bytes:
    return str(row.get("_id")).encode("utf-8", "surrogatepass")


def partner_of(here: RunReader, there: RunReader, row_id: str) -> str | None:
    """The id that an input row of one run has in another, as `Pairing` finds it; None where it is not there."""
    one, other = RunInput(here), RunInput(there)
    row = here.row(INPUT_NODE, row_id)
    if row is None or by_ids(one, other):
        return row_id if there.row(INPUT_NODE, row_id) is not None else None
    key, k = content_key(row), 0
    for _, earlier in one.rows():
        k += content_key(earlier) == key
        if earlier["_id"] == row_id:
            break
    for _, later in other.rows():
        k -= content_key(later) == key
        if k == 0:
            return str(later["_id"])
    return _changed_partner(Pairing(one, other), row_id)


def _changed_partner(pairing: Pairing, row_id: str) -> str | None:
    try:
        place = next(place for place, row in pairing.before.rows() if row["_id"] == row_id)
        partner = pairing.partner(place)
        found = (str(row["_id"]) for at, row in pairing.after.rows() if at == partner)
        return None if partner is None else next(found, None)
    finally:
        pairing.close()
