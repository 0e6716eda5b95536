"""A chunk as flat records and back: rows by number instead of by reference, so that a long line of parents is not deep.

Knows every field of a flow; where the records lie in the meantime is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from chainette.executor.flow import Flow, JoinState, Parked, Ticket
from chainette.executor.step import Asking
from chainette.rows import JoinedRow, Row

_AS_THEY_ARE = (
    *("begun", "closed", "counts", "dropped", "drops", "failures", "index", "inputs"),
    *("open", "origins", "settled_s", "sources"),
)
Numbers = list[int]
Record = tuple[Any, ...]


def flatten(flow: Flow) -> Record:
    """Everything of the chunk, to be pickled as one. The flow must be at rest."""
    numbers = _Numbers()
    rows = [numbers.rows(made) for made in flow.rows]
    pending = {node: numbers.rows(waiting) for node, waiting in flow.pending.items()}
    parked = {node: [_parked_record(numbers, entry) for entry in waiting] for node, waiting in flow.parked.items()}
    fields = {name: getattr(flow, name) for name in _AS_THEY_ARE}
    return fields, rows, pending, parked, *numbers.records()


def restored(record: Record) -> Flow:
    """The chunk again: new objects, tied together as they were."""
    fields, rows, pending, parked, row_records, ticket_records, state_records = record
    things = _Things(row_records, ticket_records, state_records)
    flow = Flow.__new__(Flow)
    for name, value in fields.items():
        setattr(flow, name, value)
    flow.rows = [things.several(made) for made in rows]
    flow.pending = {node: things.several(waiting) for node, waiting in pending.items()}
    flow.parked = {node: [_parked(things, entry) for entry in waiting] for node, waiting in parked.items()}
    return flow


def flatten_rows(rows: Sequence[Row]) -> Record:
    """Rows with all that they were made from, to be pickled as one; no ticket is taken along."""
    numbers = _Numbers(with_tickets=False)
    return numbers.rows(rows), numbers.records()[0]


def restored_rows(record: Record) -> list[Row]:
    """The rows again: new objects, tied together as they were."""
    numbers, row_records = record
    return _Things(row_records, (), ()).several(numbers)


class _Numbers:
    """Gives each row, ticket and join a number, and finds what lies behind them without recursion."""

    def __init__(self, *, with_tickets: bool = True) -> None:
        self._with_tickets = with_tickets
        self._known: dict[int, int] = {}
        self._rows: list[Row] = []
        self._tickets: list[Ticket] = []
        self._states: list[JoinState] = []

    def row(self, row: Row | None) -> int:
        return self._number(row, self._rows)

    def rows(self, rows: Iterable[Row]) -> Numbers:
        return [self._number(row, self._rows) for row in rows]

    def records(self) -> tuple[list[Record], list[Record], list[Record]]:
        """Of everything that was numbered and all that is reached from there."""
        rows: list[Record] = []
        tickets: list[Record] = []
        states: list[Record] = []
        while len(rows) < len(self._rows) or len(tickets) < len(self._tickets) or len(states) < len(self._states):
            rows += [self._row_record(row) for row in self._rows[len(rows) :]]
            tickets += [self._ticket_record(ticket) for ticket in self._tickets[len(tickets) :]]
            states += [self._state_record(state) for state in self._states[len(states) :]]
        return rows, tickets, states

    def _number(self, thing: Any, among: list[Any]) -> int:
        if thing is None:
            return -1
        number = self._known.get(id(thing))
        if number is None:
            number = self._known[id(thing)] = len(among)
            among.append(thing)
        return number

    def _row_record(self, row: Row) -> Record:
        parent = self._number(row.parent, self._rows)
        ticket = self._number(row.ticket, self._tickets) if self._with_tickets else -1
        plain = (type(row), row.id, row.order, row.value, row.node, parent, ticket)
        if type(row) is Row:
            return plain
        if isinstance(row, JoinedRow):
            return *plain, {alias: self._alias(found) for alias, found in row.aliases.items()}
        return *plain, [(name, getattr(row, name)) for name in type(row).__slots__]

    def _alias(self, found: Row | list[Row] | None) -> int | Numbers:
        return self.rows(found) if isinstance(found, list) else self.row(found)

    def _ticket_record(self, ticket: Ticket) -> Record:
        state, arrived = self._number(ticket.state, self._states), self.rows(ticket.arrived)
        return state, ticket.position, ticket.live, arrived, ticket.failure, ticket.failure_order

    def _state_record(self, state: JoinState) -> Record:
        tickets = [self._number(ticket, self._tickets) for ticket in state.tickets]
        return self.row(state.main), state.node, state.waiting, tickets


class _Things:
    """Rows, tickets and joins from their records: first all of them, then what each knows of the others."""

    def __init__(
        self, row_records: Sequence[Record], ticket_records: Sequence[Record], state_records: Sequence[Record]
    ) -> None:
        self._rows: list[Row] = [record[0].__new__(record[0]) for record in row_records]
        tickets = [Ticket.__new__(Ticket) for _ in ticket_records]
        states = [JoinState.__new__(JoinState) for _ in state_records]
        for row, row_record in zip(self._rows, row_records, strict=True):
            _, row.id, row.order, row.value, row.node, parent, held, *more = row_record
            row.parent = self.row(parent)
            row.ticket = tickets[held] if held >= 0 else None
            if isinstance(row, JoinedRow):
                row.aliases = {alias: self._alias(found) for alias, found in more[0].items()}
            elif more:
                for name, value in more[0]:
                    setattr(row, name, value)
        for ticket, ticket_record in zip(tickets, ticket_records, strict=True):
            state, ticket.position, ticket.live, arrived, ticket.failure, ticket.failure_order = ticket_record
            ticket.state = states[state]
            ticket.arrived = self.several(arrived)
        for join, state_record in zip(states, state_records, strict=True):
            main, join.node, join.waiting, entries = state_record
            join.main = self._rows[main]
            join.tickets = [tickets[number] for number in entries]

    def row(self, number: int) -> Row | None:
        return self._rows[number] if number >= 0 else None

    def several(self, numbers: Numbers) -> list[Row]:
        return [self._rows[number] for number in numbers]

    def _alias(self, found: int | Numbers) -> Row | list[Row] | None:
        return self.several(found) if isinstance(found, list) else self.row(found)


def _parked_record(numbers: _Numbers, entry: Parked) -> Record:
    asking = entry.asking
    if asking is None:
        return numbers.row(entry.row), entry.since_s
    taken = [numbers.row(row) for row in asking.taken]
    fields = {name: getattr(asking, name) for name in Asking.__slots__ if name not in ("row", "taken")}
    return numbers.row(entry.row), entry.since_s, taken, fields


def _parked(things: _Things, record: Record) -> Parked:
    number, since_s, *more = record
    row = things.several([number])[0]
    if not more:
        return Parked(row, None, since_s)
    taken, fields = more
    asking = Asking.__new__(Asking)
    asking.row = row
    asking.taken = [things.row(made) for made in taken]  # type: ignore[misc]
    for name, value in fields.items():
        setattr(asking, name, value)
    return Parked(row, asking, since_s)
