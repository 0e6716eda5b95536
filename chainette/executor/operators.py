"""What the nodes do with rows that arrive, but for steps and applies, which have files of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from chainette.executor.flow import Flow, JoinState, Ticket, joined_row
from chainette.graph import Node
from chainette.rows import Failure, Row

if TYPE_CHECKING:
    from chainette.executor.router import Router


class Operator(Protocol):
    """A node at work. All of it runs on the event loop; nothing here waits."""

    node: Node

    def accept(self, flow: Flow, rows: Sequence[Row]) -> None:
        """Takes rows that have been counted as open at this node. Each must later leave it exactly once."""
        ...

    def drained(self, flow: Flow) -> None:
        """Called once per chunk, when no more rows will come. Closes the node, now or when its last row has left."""
        ...


class BranchOperator:
    """Lets rows into a branch as they are."""

    def __init__(self, node: Node, router: Router) -> None:
        self.node = node
        self._router = router

    def accept(self, flow: Flow, rows: Sequence[Row]) -> None:
        self._router.leave(flow, self.node, rows, rows)

    def drained(self, flow: Flow) -> None:
        self._router.close_if_empty(flow, self.node.index)


class JoinOperator:
    """Gives a row what its branches made of it, once every ticket is back."""

    def __init__(self, node: Node, router: Router) -> None:
        self.node = node
        self._router = router

    def split(self, flow: Flow, row: Row) -> Sequence[Ticket]:
        """A row enters the group: it now waits here, and these are its tickets, one per branch in order."""
        count = flow.counts[self.node.index]
        count.entered += 1
        count.waiting += 1
        flow.open[self.node.index] += 1
        return JoinState(row, self.node.index, len(self.node.branches)).tickets

    def accept(self, flow: Flow, rows: Sequence[Row]) -> None:
        """The last rows of a branch: each goes to its ticket."""
        for row in rows:
            ticket: Ticket = row.ticket
            ticket.arrived.append(row)
            self.release(flow, ticket)

    def release(self, flow: Flow, ticket: Ticket) -> None:
        """One descendant less in the branch."""
        ticket.live -= 1
        if ticket.live == 0:
            ticket.state.waiting -= 1
            if ticket.state.waiting == 0:
                self._join(flow, ticket.state)

    def drained(self, flow: Flow) -> None:
        self._router.close_if_empty(flow, self.node.index)

    def _join(self, flow: Flow, state: JoinState) -> None:
        flow.counts[self.node.index].waiting -= 1
        row = joined_row(state, self.node.index)
        main, tickets = state.main, state.tickets
        state.tickets = ()  # tickets know their state: without this the collector would have to find every row
        dropped = False
        for branch, ticket in zip(self.node.branches, tickets, strict=True):
            arrived: list[Row] = sorted(ticket.arrived, key=lambda r: r.order)
            ticket.arrived = []  # each of them knows its ticket: another circle
            if ticket.failure is not None:
                if branch.missing == "fail":
                    self._router.fail(flow, self.node, main, self._failure(main, branch.name, ticket.failure))
                    return
                row.aliases[branch.alias] = arrived if branch.many and arrived else None
            elif branch.many or len(arrived) > 1:
                row.aliases[branch.alias] = arrived
            elif arrived:
                row.aliases[branch.alias] = arrived[0]
            elif branch.missing == "none":
                row.aliases[branch.alias] = None
            else:
                dropped = True
        if dropped:
            self._router.drop(flow, self.node, main)
        else:
            self._router.leave(flow, self.node, [main], [row])

    def _failure(self, main: Row, branch: str, cause: Failure) -> Failure:
        message = f'branch "{branch}" has no value: {cause.kind} at "{cause.node_id}": {cause.message}'
        return Failure(main.id, self.node.id, "join", message, raw=None, cause=(f"{cause.kind}: {cause.message}",))
