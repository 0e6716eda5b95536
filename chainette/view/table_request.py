"""What an address asks of a table, and back: columns, conditions, search, order, place. Knows no HTML.

/run/qa/rows/answer?q=Paris&field=confidence&op=>&value=0.9&sort=confidence&desc=1&col=answer&at=50
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from chainette.errors import RunFolderError, nearest
from chainette.files.tables.query import OPS, Condition, Query

if TYPE_CHECKING:
    from chainette.files.tables import Tables

SIZES = (25, 50, 100, 200)
_COLUMNS = 10
"""Columns that are shown before somebody chooses."""
_TURN = ("_turn",)
"""Stands beside the id."""
_NOT_FIRST = ("key", "turn", "started_s", "sent")
"""Of calls."""
_OF = " › "
"""Between a table and its field, where the field is another table's."""
_NO_VALUE = ("is null", "is not null")


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition as it stands in an address."""

    field: str
    """`confidence`, of another table `qa › confidence`."""
    op: str
    value: str


@dataclass(frozen=True, slots=True)
class TableRequest:
    """One view of a table."""

    table: str
    filters: tuple[Filter, ...] = ()
    search: str = ""
    order: str = ""
    descending: bool = False
    columns: tuple[str, ...] = ()
    at: int = 0
    """Which row of the answer is the first."""
    size: int = 50

    @classmethod
    def of(cls, table: str, query: Any) -> TableRequest:
        """From the query of an address; what makes no sense there is left out."""
        filters = tuple(
            Filter(field, op or "=", value)
            for field, op, value in _triples(query)
            if field and (value or op in _NO_VALUE)
        )
        size = _whole(query.get("n"), 50)
        return cls(
            table,
            filters,
            query.get("q", ""),
            query.get("sort", ""),
            query.get("desc") == "1",
            tuple(dict.fromkeys(query.getall("col", []))),
            max(_whole(query.get("at"), 0), 0),
            size if size in SIZES else 50,
        )

    @property
    def is_plain(self) -> bool:
        return not (self.filters or self.search or self.order)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """The query of an address, without the place."""
        yield from [("q", self.search)] if self.search else []
        for one in self.filters:
            yield from (("field", one.field), ("op", one.op), ("value", one.value))
        yield from [("sort", self.order)] if self.order else []
        yield from [("desc", "1")] if self.order and self.descending else []
        yield from (("col", name) for name in self.columns)
        yield from [("n", str(self.size))] if self.size != 50 else []

    def query(self, **more: object) -> str:
        """With `?`, or nothing; `at` and others come in `more`."""
        told = [*self.pairs(), *((name, str(value)) for name, value in more.items() if value not in (None, ""))]
        return f"?{urlencode(told, errors='replace')}" if told else ""

    def sorted_by(self, field: str) -> TableRequest:
        """What a click on a column's head asks for: ascending, descending, as in the files."""
        if self.order != field:
            return replace(self, order=field, descending=False, at=0)
        if not self.descending:
            return replace(self, descending=True, at=0)
        return replace(self, order="", descending=False, at=0)

    def shown(self, known: list[str]) -> list[str]:
        """The columns to show, `_id` apart: the chosen ones, else the first of those that tell something."""
        fields = [name for name in known if name != "_id"]
        chosen = [name for name in self.columns if name in fields]
        telling = [name for name in fields if name not in (_NOT_FIRST if self.table.startswith("calls/") else _TURN)]
        return chosen or telling[:_COLUMNS] or fields[:_COLUMNS]

    def asked(self, tables: Tables) -> Query:
        """
        Raises:
            RunFolderError: no such field or operator, or a value that it does not take; with the nearest name.
        """
        conditions = tuple(self._condition(tables, one) for one in self.filters)
        if self.order:
            names = [column.name for column in tables.columns(self.table)]
            if self.order.split(".")[0] not in {name.split(".")[0] for name in names}:
                raise RunFolderError(f'{self.table} has no field "{self.order}" ({nearest(self.order, names)})')
        return Query(conditions, self.search, self.order, self.descending)

    def _condition(self, tables: Tables, one: Filter) -> Condition:
        own = {column.name for column in tables.columns(self.table)}
        if one.field in own or _OF not in one.field:
            return tables.condition(self.table, one.field, one.op, one.value)
        table, _, field = one.field.partition(_OF)
        return tables.condition(self.table, field, one.op, one.value, table)


def fields_to_filter(tables: Tables, table: str) -> list[tuple[str, list[str]]]:
    """(table, fields) of every table whose rows tell something of this one's, its own first."""
    others = [i.name for i in tables.names() if i.name != table and i.kind in ("input", "step", "calls", "failed")]
    own = [(table, [column.name for column in tables.columns(table)])]
    return own + [(other, [f"{other}{_OF}{column.name}" for column in tables.columns(other)]) for other in others]


def _triples(query: Any) -> Iterator[tuple[str, str, str]]:
    fields, ops, values = (query.getall(name, []) for name in ("field", "op", "value"))
    for number, field in enumerate(fields):
        op = ops[number] if number < len(ops) else "="
        yield field, op, values[number] if number < len(values) else ""


def _whole(text: str | None, other: int) -> int:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 16 else other


def as_multi(query: Mapping[str, str]) -> Any:
    """A query that can be asked for all values of a name."""
    from multidict import MultiDict

    return query if hasattr(query, "getall") else MultiDict(query)


__all__ = ["OPS", "SIZES", "Filter", "TableRequest", "as_multi", "fields_to_filter"]
