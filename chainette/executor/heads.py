"""Heads (`while_loop`, `scan`) at work: rows go into the body, come back by the turn node, leave when they are done.

Nothing waits for other rows, but where a scan goes through the rows themselves: see `row_scan`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from chainette.chain import Loop, Scan
from chainette.chain.asking import is_asked
from chainette.executor.asker import Asker
from chainette.executor.flow import Flow
from chainette.executor.wording import error_words
from chainette.graph import Node
from chainette.graph.reach import field_of, find, turns_around
from chainette.graph.types import cast_to, fit
from chainette.rows import Failure, Row, TurnRow

if TYPE_CHECKING:
    from chainette.executor.executor import Executor


class Head:
    """What a loop and a scan have in common."""

    def __init__(self, node: Node, executor: Executor) -> None:
        self.node = node
        self.router = executor.router
        self.graph = executor.graph
        (way,) = node.ways
        self.entry = way.entry
        self.body = self.graph.nodes[way.entry]
        self.last = self.graph.nodes[way.last]
        self._depth = len(node.loops)

    def begin_turn(self, row: Row, value: Any, number: int, state: Any = None) -> TurnRow:
        """`row` at the beginning of its next turn."""
        made = TurnRow(row.id, row.order, value, self.entry, row, row.ticket)
        made.turns = (*turns_around(row, self._depth), number)
        made.state = state
        return made

    def began(self, row: Row) -> TurnRow:
        """The beginning of the turn that `row` has just ended."""
        found = find(self.graph, row, self.entry)
        assert isinstance(found, TurnRow)
        return found

    def let_out(self, row: Row, value: Any) -> Row:
        return Row(row.id, row.order, value, self.node.out, row, row.ticket)

    def send(self, flow: Flow, into: Sequence[Row], out: Sequence[Row], failed: Sequence[tuple[Row, Failure]]) -> None:
        """Rows into the body, out of the loop, and those that end here."""
        flow.counts[self.node.index].done += len(out)
        flow.counts[self.node.index].made += len(out)
        parts = {target: rows for target, rows in ((self.entry, into), (self.node.out, out)) if rows}
        if parts:
            self.router.send(flow, self.node, parts, count=False)
        for row, failure in failed:
            self.router.fail(flow, self.node, row, failure)

    def drained(self, flow: Flow) -> None:
        self.router.close_if_empty(flow, self.node.index)

    def failure(self, row: Row, error: BaseException) -> Failure:
        return Failure(row.id, self.node.id, "route", error_words(error))


class LoopOperator(Head):
    """A `while_loop`."""

    def __init__(self, node: Node, executor: Executor) -> None:
        super().__init__(node, executor)
        assert isinstance(node.decl, Loop)
        self._decl = node.decl
        self._asker = Asker(node, executor, node.decl.until, "until")
        begins, gives = self.body.output_type, self.last.output_type
        self._again = node.decl.feed == "input"
        self._cast = cast_to(begins) if not self._again and fit(gives, begins)[0] == "cast" else None

    def accept(self, flow: Flow, rows: Sequence[Row]) -> None:
        flow.rows[self.node.index] += rows
        if self._decl.at_least_once:
            self.send(flow, [self._first_turn(row) for row in rows], [], [])
            return
        flow.counts[self.node.index].waiting += len(rows)
        self._asker.ask(flow, rows, self._judge_entering)

    def back(self, flow: Flow, rows: Sequence[Row]) -> None:
        """Rows at the end of a turn."""
        flow.counts[self.node.index].waiting += len(rows)
        self._asker.ask(flow, rows, self._judge_turn)

    def _judge_entering(self, flow: Flow, rows: Sequence[Row], answers: list[Any]) -> None:
        self._judge(flow, rows, answers, self._first_turn)

    def _judge_turn(self, flow: Flow, rows: Sequence[Row], answers: list[Any]) -> None:
        self._judge(flow, rows, answers, self._next_turn)

    def _judge(
        self, flow: Flow, rows: Sequence[Row], answers: list[Any], begin: Callable[[Row], TurnRow | Failure]
    ) -> None:
        flow.counts[self.node.index].waiting -= len(rows)
        into, out, failed = [], [], []
        for row, answer in zip(rows, answers, strict=True):
            done = self._is_done(row, answer)
            if done is True:
                out.append(self.let_out(row, row.value))
                continue
            begun = done if isinstance(done, Failure) else begin(row)
            if isinstance(begun, Failure):
                failed.append((row, begun))
            else:
                into.append(begun)
        self.send(flow, into, out, failed)

    def _is_done(self, row: Row, answer: Any) -> bool | Failure:
        if isinstance(answer, Failure):
            return answer
        try:
            return bool(answer)
        except Exception as error:  # what has no truth
            return self.failure(row, error)

    def _first_turn(self, row: Row) -> TurnRow:
        return self.begin_turn(row, row.value, 1)

    def _next_turn(self, row: Row) -> TurnRow | Failure:
        began = self.began(row)
        turn, most = began.turns[-1], self._decl.max_iterations
        if turn >= most:
            words = f"not done after {turn} turn{'s' if turn > 1 else ''} (max_iterations={most})"
            return Failure(row.id, self.node.id, "max_iterations", words, turns=began.turns[:-1])
        try:
            value = began.value if self._again else row.value if self._cast is None else self._cast(row.value)
        except Exception as error:  # it does not fit what the turn begins with
            return self.failure(row, error)
        return self.begin_turn(row, value, turn + 1)


class TurnOperator:
    """The end of a body: its rows belong to the head again."""

    def __init__(self, node: Node, head: LoopOperator | ScanOperator) -> None:
        self.node = node
        self._head = head

    def accept(self, flow: Flow, rows: Sequence[Row]) -> None:
        head = self._head
        flow.open[head.node.index] += len(rows)
        flow.open[self.node.index] -= len(rows)
        head.back(flow, rows)

    def drained(self, flow: Flow) -> None:
        self._head.router.close_if_empty(flow, self.node.index)


class Scanning:
    """What a scan has of one row so far."""

    __slots__ = ("items", "outputs")

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.outputs: list[Any] = []


class ScanOperator(Head):
    """A `scan` through a list of each row."""

    def __init__(self, node: Node, executor: Executor) -> None:
        super().__init__(node, executor)
        assert isinstance(node.decl, Scan)
        self._over = node.decl.over
        self.init = node.decl.init
        self._asker = Asker(node, executor, self.init, "init") if is_asked(self.init) else None
        self.carried = node.carried
        self.item_model: Any = self.body.output_type
        self._made: Any = node.output_type
        self.cast_carry = cast_to(self.carried.carry)

    def accept(self, flow: Flow, rows: Sequence[Row]) -> None:
        flow.rows[self.node.index] += rows
        if self._asker is None:
            self._begin(flow, rows, [self.init] * len(rows))
            return
        flow.counts[self.node.index].waiting += len(rows)
        self._asker.ask(flow, rows, self._begin_asked)

    def _begin_asked(self, flow: Flow, rows: Sequence[Row], carries: list[Any]) -> None:
        flow.counts[self.node.index].waiting -= len(rows)
        self._begin(flow, rows, carries)

    def _begin(self, flow: Flow, rows: Sequence[Row], carries: list[Any]) -> None:
        into: list[Row] = []
        out: list[Row] = []
        failed: list[tuple[Row, Failure]] = []
        for row, carry in zip(rows, carries, strict=True):
            if isinstance(carry, Failure):
                failed.append((row, carry))
                continue
            try:
                state = Scanning(self._items(row))
                self._go_on(row, self.cast_carry(carry), state, into, out)
            except Exception as error:  # no list, or a carry that does not fit
                failed.append((row, self.failure(row, error)))
        self.send(flow, into, out, failed)

    def back(self, flow: Flow, rows: Sequence[Row]) -> None:
        """Rows at the end of a turn: their value is the new carry."""
        into: list[Row] = []
        out: list[Row] = []
        failed: list[tuple[Row, Failure]] = []
        for row in rows:
            began = self.began(row)
            try:
                carry, output = self.split(row, began)
                began.state.outputs.append(output)
                self._go_on(row, carry, began.state, into, out)
            except Exception as error:  # a carry that does not fit
                failed.append((row, self.failure(row, error)))
        self.send(flow, into, out, failed)

    def split(self, row: Row, began: TurnRow) -> tuple[Any, Any]:
        """(carry, output) of a turn's result.

        Raises:
            ValueError: several rows came back for one.
            pydantic.ValidationError: it does not fit the carry's type.
        """
        if row.order != began.order:
            raise ValueError("its body made several rows of one; a turn ends with one: gather() at its end")
        if self.carried.pairs:
            carry, output = row.value
            return self.cast_carry(carry), output
        try:
            carry = self.cast_carry(row.value)
        except ValidationError:
            if isinstance(row.value, tuple):
                raise TypeError("its body gave a tuple; annotate it -> tuple[carry, output]") from None
            raise
        return carry, carry

    def item(self, carry: Any, item: Any) -> Any:
        """What the body gets; both are of their types already."""
        return self.item_model.model_construct(carry=carry, item=item)

    def _items(self, row: Row) -> list[Any]:
        assert self._over is not None
        items = field_of(row.value, self._over)
        if isinstance(items, str | bytes | dict) or not hasattr(items, "__iter__"):
            raise TypeError(f'field "{self._over}" is {type(items).__name__}, not a list')
        return list(items)

    def _go_on(self, row: Row, carry: Any, state: Scanning, into: list[Row], out: list[Row]) -> None:
        done = len(state.outputs)
        if done < len(state.items):
            into.append(self.begin_turn(row, self.item(carry, state.items[done]), done + 1, state))
        else:
            out.append(self.let_out(row, self._made.model_construct(carry=carry, outputs=state.outputs)))
