"""A `scan` through the rows themselves, in input order and across chunks: one row at a time is in the body.

What is carried over a chunk's end is in `calls/` before the chunk is closed, so that a resumed run goes on with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import orjson
from pydantic import TypeAdapter

from chainette.chain import Scan
from chainette.errors import RunStoppedError
from chainette.executor.flow import Flow
from chainette.executor.heads import ScanOperator
from chainette.executor.wording import error_words
from chainette.files.writable import is_json, plain_type, unwritable
from chainette.graph import Node
from chainette.graph.signature import digest
from chainette.rows import Failure, Row, TurnRow

if TYPE_CHECKING:
    from chainette.executor.executor import Executor

_CARRY_ID = "carry"
"""Stands in `calls/` where a call has its row's id."""


def scan_operator(node: Node, executor: Executor) -> ScanOperator:
    """The operator for a scan through a list of each row, or through the rows."""
    assert isinstance(node.decl, Scan)
    return ScanOperator(node, executor) if node.decl.over is not None else RowScanOperator(node, executor)


class RowScanOperator(ScanOperator):
    """Chunks take their turn in input order, and so do the rows of each. A row that fails leaves the carry as it is."""

    def __init__(self, node: Node, executor: Executor) -> None:
        super().__init__(node, executor)
        self._executor = executor
        self._first = True
        self._expected: deque[int] = deque()
        """Chunks that are not through, in order."""
        self._here: dict[int, Flow] = {}
        """Those of them that are in memory and have all their rows here."""
        self._resting: set[int] = set()
        """Those that can go no further before a later stage."""
        self._has_turn = False
        """Whether the first that is expected is going through."""
        self._in_body = False
        self._is_sending = False
        self._carry: Any = None
        self._adapter: TypeAdapter[Any] = TypeAdapter(self.carried.carry)
        self._untyped = self.carried.carry is Any
        self._plain = plain_type(self.carried.carry)

    def expect(self, chunk: int) -> None:
        """A chunk was let in, after all those before it."""
        self._expected.append(chunk)

    def accept(self, flow: Flow, rows: Sequence[Row]) -> None:
        flow.counts[self.node.index].waiting += len(rows)
        flow.rows[self.node.index] += rows
        flow.pending.setdefault(self.node.index, []).extend(rows)

    def drained(self, flow: Flow) -> None:
        flow.pending.setdefault(self.node.index, []).sort(key=attrgetter("order"), reverse=True)
        flow.open[self.node.index] += 1  # until what is carried on is on disk
        self._here[flow.index] = flow
        self._next_chunk()  # whether the chunk must rest is asked when all that closes with its source has closed

    def came_back(self, flow: Flow) -> None:
        """A chunk that rested is under way again."""
        self._resting.discard(flow.index)
        if self.node.index in flow.pending and not flow.sources[self.node.index]:
            self._here[flow.index] = flow
            self._next_chunk()

    def rests(self, flow: Flow) -> None:
        """The chunk can go no further before a later stage, and leaves the memory."""
        self._resting.add(flow.index)
        self._here.pop(flow.index, None)

    def blocked(self) -> list[Flow]:
        """The chunks whose turn cannot come before a later stage."""
        return [flow for flow in self._here.values() if self.is_blocked(flow)]

    def is_blocked(self, flow: Flow) -> bool:
        return flow.index in self._here and self._expected[0] in self._resting

    def resting_rows(self, flow: Flow) -> int:
        """How much of what is open here waits for a later stage, if all else of the chunk does."""
        waiting = len(flow.pending.get(self.node.index, ()))
        if flow.index not in self._here:
            return waiting
        is_its_turn = self._has_turn and flow.index == self._expected[0]
        return waiting + 1 if self.is_blocked(flow) or (is_its_turn and self._in_body) else 0

    def body_is_empty(self, flow: Flow) -> None:
        """The row that was in the body has come back or ended."""
        if self._in_body and flow.index == self._expected[0]:
            self._in_body = False
            if not self._is_sending:
                self._next_row(flow)

    def _next_chunk(self) -> None:
        if not self._has_turn and self._expected and self._expected[0] in self._here:
            self._has_turn = True
            self._executor.tasks.start_soon(self._begin_chunk, self._here[self._expected[0]])

    async def _begin_chunk(self, flow: Flow) -> None:
        if self._first:
            self._first = False
            self._carry = await self._executor.threads.run(self._first_carry, flow.index)
        self._next_row(flow)

    def _next_row(self, flow: Flow) -> None:
        rows = flow.pending[self.node.index]  # the next one last
        self._is_sending = True  # a row may be back before it is sent
        while rows and not self._in_body and not self._executor.stopping:
            row = rows.pop()
            flow.counts[self.node.index].waiting -= 1
            self._in_body = True
            self.send(flow, [self.begin_turn(row, self.item(self._carry, row.value), 1)], [], [])
        self._is_sending = False
        if not self._in_body and not self._executor.stopping:
            self._executor.tasks.start_soon(self._end_chunk, flow)

    def split(self, row: Row, began: TurnRow) -> tuple[Any, Any]:
        """
        Raises:
            TypeError: a carry that no file could hold, or would not give back as what it is.
        """
        carry, output = super().split(row, began)
        if self._untyped and not is_json(carry):
            raise TypeError(f"carries {type(carry).__name__} without saying so; annotate the carry with its type")
        reason = None if self._plain else unwritable(carry)
        if reason is not None:
            raise TypeError(f"carries {type(carry).__name__}, which cannot be kept as JSON: {reason}")
        return carry, output

    def back(self, flow: Flow, rows: Sequence[Row]) -> None:
        out: list[Row] = []
        failed: list[tuple[Row, Failure]] = []
        for row in rows:
            try:
                self._carry, output = self.split(row, self.began(row))
                out.append(self.let_out(row, output))
            except Exception as error:  # a carry that does not fit
                failed.append((row, self.failure(row, error)))
        self.send(flow, [], out, failed)

    async def _end_chunk(self, flow: Flow) -> None:
        await anyio.to_thread.run_sync(self._keep_carry, flow.index)
        del flow.pending[self.node.index]
        self._here.pop(self._expected.popleft())
        self._has_turn = False
        self.router.left(flow, self.node.index, 1)
        self._next_chunk()
        self.router.settle_blocked()

    def _key(self, chunk: int) -> str:
        return digest("carry", self.node.signature, chunk)

    def _keep_carry(self, chunk: int) -> None:
        """In a thread."""
        record = {"_id": _CARRY_ID, "key": self._key(chunk), "attempt": 1, "chunk": chunk}
        head = orjson.dumps(record)
        value = self._adapter.dump_json(self._carry)
        folder = self._executor.folder
        folder.log_call(self.node.id, b'%b,"value":%b}' % (head[:-1], value))
        folder.sync_log()

    def _first_carry(self, chunk: int) -> Any:
        """In a thread: what is carried into the first chunk of this process.

        Raises:
            RunStoppedError: the chunk before it is done, and what it carried is not to be found.
        """
        if chunk == 0:
            return self.cast_carry(self.init)
        found = self._executor.past.find(self.node.id, _CARRY_ID, self._key(chunk - 1), 1, None)
        try:
            if found is not None:
                return self._adapter.validate_json(orjson.dumps(found[0]["value"]))
            why = "it is not there"
        except Exception as error:  # it is damaged, or of another type than now
            why = error_words(error)
        raise RunStoppedError(
            f'scan "{self.node.id}" cannot go on at chunk {chunk}: what it carried is read from '
            f"calls/{self.node.id}, and {why}; run the chain again with --reuse"
        )
