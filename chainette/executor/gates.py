"""Gates (`cond`, `switch`) at work, and the small nodes around control flow. Each row goes on alone and at once."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from chainette.chain import Delay, Switch
from chainette.executor.asker import Asker
from chainette.executor.flow import Flow, JoinState, Ticket
from chainette.executor.wording import error_words
from chainette.graph import Node
from chainette.graph.reach import taker
from chainette.rows import Failure, JoinedRow, Row

if TYPE_CHECKING:
    from chainette.executor.executor import Executor
    from chainette.executor.router import Router


class GateOperator:
    """A `cond` or `switch`: asks the key and sends each row into its way."""

    def __init__(self, node: Node, executor: Executor) -> None:
        assert isinstance(node.decl, Switch)
        self.node = node
        self._router = executor.router
        self._is_cond = node.decl.is_cond
        self._asker = Asker(node, executor, node.decl.key, "pred" if self._is_cond else "key")
        cases = node.decl.cases
        listed = [way.entry for way in node.ways]
        self._ways: dict[Any, int] = dict(zip(cases, listed, strict=False))
        for case, entry in list(self._ways.items()):
            if isinstance(case, enum.Enum):
                self._ways.setdefault(case.value, entry)
        self._default = listed[-1] if len(listed) > len(cases) else None
        self._names = ", ".join(repr(case) for case in cases)

    def accept(self, flow: Flow, rows: Sequence[Row]) -> None:
        flow.counts[self.node.index].waiting += len(rows)
        flow.rows[self.node.index] += rows
        self._asker.ask(flow, rows, self._send)

    def drained(self, flow: Flow) -> None:
        self._router.close_if_empty(flow, self.node.index)

    def _send(self, flow: Flow, rows: Sequence[Row], answers: list[Any]) -> None:
        flow.counts[self.node.index].waiting -= len(rows)
        parts: dict[int, list[Row]] = {}
        failed: list[tuple[Row, Failure]] = []
        for row, answer in zip(rows, answers, strict=True):
            entry = answer if isinstance(answer, Failure) else self._way(row, answer)
            if isinstance(entry, Failure):
                failed.append((row, entry))
            else:
                parts.setdefault(entry, []).append(Row(row.id, row.order, row.value, entry, row, row.ticket))
        for row, failure in failed:
            self._router.fail(flow, self.node, row, failure)
        if parts:
            self._router.send(flow, self.node, parts)

    def _way(self, row: Row, answer: Any) -> int | Failure:
        try:
            found: int | None = self._ways.get(bool(answer) if self._is_cond else answer)
            if found is None and isinstance(answer, enum.Enum):
                found = self._ways.get(answer.value)
        except Exception as error:  # what has no truth, or cannot be a key
            if self._is_cond or self._default is None:
                return Failure(row.id, self.node.id, "route", error_words(error))
            found = None
        if found is not None:
            return found
        if self._default is not None:
            return self._default
        return Failure(row.id, self.node.id, "route", f"no case for {_short(answer)}; the cases are {self._names}")


class MergeOperator:
    """Where the ways of a gate, or what a head lets go, come out."""

    def __init__(self, node: Node, router: Router) -> None:
        self.node = node
        self._router = router

    def accept(self, flow: Flow, rows: Sequence[Row]) -> None:
        index = self.node.index
        made = [row if row.node == index else Row(row.id, row.order, row.value, index, row, row.ticket) for row in rows]
        self._router.leave(flow, self.node, rows, made)

    def drained(self, flow: Flow) -> None:
        self._router.close_if_empty(flow, self.node.index)


class TakeOperator:
    """Lets rows go on with another value that is in their reach."""

    def __init__(self, node: Node, router: Router) -> None:
        self.node = node
        self._router = router
        self._take = taker(node)

    def accept(self, flow: Flow, rows: Sequence[Row]) -> None:
        made: list[Row] = []
        failures: list[tuple[tuple[int, ...], Failure]] = []
        for row in rows:
            try:
                made.append(Row(row.id, row.order, self._take(row), self.node.index, row, row.ticket))
            except Exception as error:  # what a validator of the user's may raise
                failures.append((row.order, Failure(row.id, self.node.id, "input", error_words(error))))
        self._router.leave(flow, self.node, rows, made, failures)

    def drained(self, flow: Flow) -> None:
        self._router.close_if_empty(flow, self.node.index)


class DelayOperator:
    """Keeps rows for a while; one timer for rows that come together."""

    def __init__(self, node: Node, executor: Executor) -> None:
        assert isinstance(node.decl, Delay)
        self.node = node
        self._seconds = node.decl.seconds
        self._executor = executor

    def accept(self, flow: Flow, rows: Sequence[Row]) -> None:
        flow.counts[self.node.index].waiting += len(rows)
        asyncio.get_running_loop().call_later(self._seconds, self._over, flow, rows)

    def drained(self, flow: Flow) -> None:
        self._executor.router.close_if_empty(flow, self.node.index)

    def _over(self, flow: Flow, rows: Sequence[Row]) -> None:
        if self._executor.stopping:
            return  # they wait anew when the run goes on
        flow.counts[self.node.index].waiting -= len(rows)
        self._executor.router.leave(flow, self.node, rows, rows)


class GatherOperator:
    """Makes one row of the children of a row, once the last of them has come or ended."""

    def __init__(self, node: Node, router: Router, decl: Any) -> None:
        self.node = node
        self._router = router
        self._alias: str | None = decl.alias
        self._fails = decl.missing == "fail"

    def hold(self, flow: Flow, parents: Sequence[Row], children: Mapping[int, Sequence[Row]]) -> list[Ticket]:
        """`parents` wait here from now on; each one's children, found by its identity, hold its ticket."""
        count, index = flow.counts[self.node.index], self.node.index
        count.entered += len(parents)
        count.waiting += len(parents)
        flow.open[index] += len(parents)
        tickets = []
        for parent in parents:
            ticket = JoinState(parent, index, 1).tickets[0]
            own = children[id(parent)]
            ticket.live = len(own)
            for child in own:
                child.ticket = ticket
            tickets.append(ticket)
        return tickets

    def accept(self, flow: Flow, rows: Sequence[Row]) -> None:
        whole: list[Ticket] = []
        for row in rows:
            ticket: Ticket = row.ticket
            ticket.arrived.append(row)
            ticket.live -= 1
            if not ticket.live:
                whole.append(ticket)
        if whole:
            self.gather(flow, whole)

    def release(self, flow: Flow, ticket: Ticket) -> None:
        """One descendant less under way."""
        ticket.live -= 1
        if not ticket.live:
            self.gather(flow, [ticket])

    def gather(self, flow: Flow, tickets: Sequence[Ticket]) -> None:
        """All children of these are here, or none will come."""
        flow.counts[self.node.index].waiting -= len(tickets)
        mains: list[Row] = []
        made: list[Row] = []
        for ticket in tickets:
            main = ticket.state.main
            ticket.state.tickets = ()  # tickets know their state: without this the collector had to find every row
            arrived, ticket.arrived = ticket.arrived, []
            if len(arrived) > 1:
                arrived.sort(key=_BY_ORDER)
            if ticket.failure is not None and self._fails:
                self._router.fail(flow, self.node, main, self._failure(main, ticket.failure))
                continue
            mains.append(main)
            made.append(self._gathered(main, arrived))
        if mains:
            self._router.leave(flow, self.node, mains, made)

    def _gathered(self, main: Row, children: list[Row]) -> Row:
        if self._alias is None:
            values = [row.value for row in children]
            return Row(main.id, main.order, values, self.node.index, main, main.ticket)
        joined = JoinedRow(main.id, main.order, main.value, self.node.index, main, main.ticket)
        joined.aliases = {self._alias: children}
        return joined

    def drained(self, flow: Flow) -> None:
        self._router.close_if_empty(flow, self.node.index)

    def _failure(self, main: Row, cause: Failure) -> Failure:
        words = f'{cause.kind} at "{cause.node_id}": {cause.message}'
        message = f"its child {cause.row_id} failed: {words}"
        return Failure(main.id, self.node.id, "upstream", message, cause=(f"{cause.kind}: {cause.message}",))


_BY_ORDER = attrgetter("order")


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # what its own code raises
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "…"
