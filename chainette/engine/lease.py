"""A counted hold on an engine, for `with` and `async with`. Knows the broker, and nothing of processes."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING

from chainette.engine.held import Held
from chainette.engine.protocol import Engine
from chainette.specs import EngineSpec

if TYPE_CHECKING:
    from chainette.engine.broker import Broker


class Lease:
    """A counted hold on an engine, for `with` or `async with`. The engine is started when the block is entered.

    Raises:
        ChainError: there is no engine of that name.
        EngineStartError: it did not come up; the message ends with the last lines of its log.
    """

    def __init__(self, broker: Broker, spec: EngineSpec) -> None:
        self._broker = broker
        self._spec = spec
        self._held: list[Held] = []

    def __enter__(self) -> Engine:
        held = self._broker.hold(self._spec)
        try:
            engine = self._broker.live(held)
        except BaseException:
            self._broker.release(held)
            raise
        self._held.append(held)
        return engine

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._broker.release(self._held.pop())

    async def __aenter__(self) -> Engine:
        import anyio

        held = self._broker.hold(self._spec)
        try:
            if self._broker.starts_at_once(held):
                engine = self._broker.live(held)
            else:
                # Not one of the shared worker threads: a start may take minutes. Cancelled, it is given up.
                engine = await anyio.to_thread.run_sync(
                    self._broker.live, held, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
                )
        except BaseException:
            self._broker.release(held)
            raise
        held.loops[_loop_id()] += 1
        self._held.append(held)
        return engine

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import anyio

        held = self._held.pop()
        loop = _loop_id()
        held.loops[loop] -= 1
        try:
            if not held.loops[loop]:
                del held.loops[loop]
                if held.engine is not None:
                    with anyio.CancelScope(shield=True):
                        await held.engine.aclose()
        finally:
            self._broker.release(held)


def _loop_id() -> int:
    return id(asyncio.get_running_loop())
