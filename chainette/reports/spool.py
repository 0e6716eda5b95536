"""The rows of a run by id, on disk and not in memory, for who needs many of them in another order than they lie in.

Knows ids and nodes; what is in a row it does not look at.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from chainette.files.json_text import encode
from chainette.files.row_lookup import ancestors

MANY = 1_000
"""Children of a row that are looked at."""


class Spool:
    """Rows that were put in, by node and id. Gone when it is closed."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="chainette-")
        self._db = sqlite3.connect(Path(self._folder.name) / "rows", isolation_level=None)
        for said in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE", "cache_size = -65536"):
            self._db.execute(f"PRAGMA {said}")
        self._db.execute("CREATE TABLE rows (node INTEGER, id TEXT, row BLOB)")
        self._db.execute("CREATE TABLE marks (id TEXT PRIMARY KEY, place TEXT, said BLOB) WITHOUT ROWID")
        self._nodes: dict[str, int] = {}

    def __enter__(self) -> Spool:
        self._db.execute("BEGIN")
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()
        self._folder.cleanup()

    def put(self, node: str, rows: Iterable[dict[str, Any]]) -> None:
        number = self._nodes.setdefault(node, len(self._nodes))
        self._db.executemany(
            "INSERT INTO rows VALUES (?, ?, ?)", ((number, _text(row.get("_id")), encode(row)) for row in rows)
        )

    def index(self) -> None:
        """After the last row, before the first question."""
        self._db.execute("CREATE INDEX by_id ON rows (node, id)")

    def of(self, node: str, row_id: str) -> list[dict[str, Any]]:
        """The rows of that id at a node, in order."""
        found = self._db.execute(
            "SELECT row FROM rows WHERE node = ? AND id = ? ORDER BY rowid", (self._nodes.get(node, -1), _text(row_id))
        )
        return [orjson.loads(row) for (row,) in found]

    def place(self, node: str, row_id: str) -> int | None:
        """Which of all rows that were put in it was."""
        number = self._nodes.get(node, -1)
        found = self._db.execute("SELECT rowid FROM rows WHERE node = ? AND id = ?", (number, _text(row_id))).fetchone()
        return None if found is None else int(found[0])

    def related(self, node: str, row_id: str) -> list[dict[str, Any]]:
        """The row at a node, else the one it was made from, else those that were made from it."""
        for id in ancestors(row_id):
            if found := self.of(node, id):
                return found
        # `/` is the character after the point.
        below = self._db.execute(
            "SELECT row FROM rows WHERE node = ? AND id > ? AND id < ? ORDER BY rowid LIMIT ?",
            (self._nodes.get(node, -1), _text(f"{row_id}."), _text(f"{row_id}/"), MANY),
        )
        return [orjson.loads(row) for (row,) in below]

    def mark(self, id: str, place: str, said: Any) -> None:
        """Something said of an id, over what was said before; `place` is for the order in which it is told."""
        self._db.execute("INSERT OR REPLACE INTO marks VALUES (?, ?, ?)", (_text(id), _text(place), encode(said)))

    def marked(self, id: str) -> Any:
        """What was said of it last; None for nothing."""
        found = self._db.execute("SELECT said FROM marks WHERE id = ?", (_text(id),)).fetchone()
        return None if found is None else orjson.loads(found[0])

    def marks(self) -> Iterator[tuple[str, Any]]:
        """All that was said, by place."""
        for id, said in self._db.execute("SELECT id, said FROM marks ORDER BY place"):
            yield id, orjson.loads(said)


def _text(id: object) -> str:
    return str(id).encode("utf-8", "replace").decode()
