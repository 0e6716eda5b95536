"""The client of an engine of ours: which replica gets a row, and what becomes of its rows when one dies.

Knows how to ask for a new server, not how one is started.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import anyio

from chainette.engine.affinity import Heads, blocks_of
from chainette.engine.backends import Running
from chainette.engine.endpoint import EndpointEngine, Prompt
from chainette.engine.protocol import Answer, CallError, Message
from chainette.engine.tended import Tended
from chainette.engine.ward import Ward
from chainette.errors import EngineDiedError, EngineError, EngineStartGivenUp
from chainette.specs import SamplingParams

DEATHS = 3
"""In a row, without an answer between them: then a replica is not started again."""
UNWELL = 10
"""Deaths without a window full of answers between any two of them: then it is no use to go on."""
SILENT_LOOKS = 3
"""In a row, without an answer to anything: then a server is ended and another one started."""
DEATHS_ALONE = 2
"""Of a server that had one row and no other: then it is the row."""

_LAST_S = 1.0


@dataclass(eq=False, slots=True)
class Replica:
    """One server, as its rows see it."""

    index: int
    running: Running
    engine: EndpointEngine
    outstanding: int = 0
    apart: Ward | None = None
    """It takes the rows of the ward and no others."""
    drained: anyio.Event | None = None
    """Set when none of the other rows is left in it."""
    answered: bool = False
    """Since the watch last looked."""
    deaths: int = 0
    """In a row, without an answer between them."""
    unwell: int = 0
    """Deaths since it last answered a window full of rows."""
    since: int = 0
    """Answers since its last death."""
    revival: threading.Thread | None = None
    """Brings it back, while it is dead; stays where it was given up."""
    lost: EngineError | None = None
    """Why it was given up."""


@dataclass(eq=False, slots=True)
class _Loop:
    """What belongs to one event loop."""

    changed: list[Callable[[], None]] = field(default_factory=list)
    ward: Ward = field(default_factory=Ward)
    paused: int = 0
    """Rows that wait until a replica takes others than those of the ward."""
    turned: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, and replaced, when a replica is another than it was."""

    def turn(self) -> None:
        turned, self.turned = self.turned, asyncio.Event()
        turned.set()


class Replicas:
    """An engine made of its replicas. Any thread and any event loop may call."""

    def __init__(self, servers: Tended) -> None:
        self.spec = servers.spec
        self.devices = servers.devices
        self._servers = servers
        self._replicas = [Replica(index, one, servers.connect(one)) for index, one in enumerate(servers.running)]
        self._retired: list[EndpointEngine] = []
        """Clients of servers that are gone, whose connections are still to be closed."""
        self._heads = Heads()
        self._lock = threading.Lock()
        self._loops: dict[asyncio.AbstractEventLoop, _Loop] = {}

    def __repr__(self) -> str:
        return f"<Replicas {self.spec.name} x{len(self._replicas)}>"

    @property
    def window(self) -> int:
        """Of the replicas that live or come back."""
        return max(1, sum(one.engine.window for one in self._replicas if one.lost is None))

    @property
    def held_by(self) -> str:
        return next((held for one in self._replicas if one.lost is None and (held := one.engine.held_by)), "")

    def follow(self, changed: Callable[[], None]) -> None:
        self._here().changed.append(changed)
        for one in self._replicas:
            one.engine.follow(changed)

    async def attend(self) -> None:
        here = self._here()
        scopes: dict[EndpointEngine, anyio.CancelScope] = {}

        async def one(engine: EndpointEngine, scope: anyio.CancelScope) -> None:
            with scope:
                await engine.attend()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch)
            while True:
                live = [replica.engine for replica in self._replicas]
                for engine in [engine for engine in scopes if engine not in live]:
                    scopes.pop(engine).cancel()
                for engine in live:
                    if engine not in scopes:
                        scopes[engine] = scope = anyio.CancelScope()
                        tasks.start_soon(one, engine, scope)
                await here.turned.wait()

    async def _watch(self) -> None:
        """A server that lives and answers nobody is as good as dead; its rows would wait for `request_timeout_s`."""
        silent: dict[EndpointEngine, int] = {}
        limit_s = self.spec.unresponsive_timeout_s
        while True:
            await anyio.sleep(limit_s / SILENT_LOOKS)
            asked = [one for one in self._replicas if one.revival is None and one.outstanding and not one.answered]
            for one in self._replicas:
                one.answered = False
            for replica in asked:
                engine = replica.engine
                looks = 0 if await engine.alive(limit_s / SILENT_LOOKS) else silent.get(engine, 0) + 1
                silent[engine] = looks
                if looks == SILENT_LOOKS:
                    self._mourn(replica, engine, f"it has not answered for {limit_s:g} s")

    def prepare(self, schema: dict[str, Any] | None, sampling: SamplingParams, adapter: str | None = None) -> Any:
        return self._replicas[0].engine.prepare(schema, sampling, adapter)

    async def call(self, prepared: Any, messages: list[Message], timeout_s: float | None = None) -> Answer:
        seen = alone = 0
        while True:
            try:
                if not seen:
                    answer = await self._ask(prepared, messages, timeout_s)
                else:
                    answer = await self._ask_apart(prepared, messages, timeout_s)
            except _Died as death:
                seen += 1
                alone += death.alone
                if death.alone and alone >= DEATHS_ALONE and (death.had_answered or self._nobody_else()):
                    message = f"the engine died {seen} times while it had this row: {death.first_line}"
                    raise CallError("http", message, sent=seen) from None
                continue
            answer.sent += seen
            return answer

    async def _ask(self, prepared: Any, messages: list[Message], timeout_s: float | None) -> Answer:
        """
        Raises:
            _Died: the replica that had the row is gone.
        """
        while (replica := self._choose(messages)) is None:
            await self._one_back()
        return await self._send(replica, prepared, messages, timeout_s)

    async def _ask_apart(self, prepared: Any, messages: list[Message], timeout_s: float | None) -> Answer:
        """The same for a row that saw a death: with no other rows beside it but such.

        Raises:
            _Died: the replica that had the row is gone.
        """
        ward = self._here().ward
        await ward.enter()
        died = False
        try:
            while (replica := await self._reserved(ward)) is None:
                await self._one_back()
            return await self._send(replica, prepared, messages, timeout_s)
        except _Died as death:
            died = True
            death.alone = ward.inside == 1
            raise
        finally:
            ward.leave(died=died)
            if ward.empty:
                self._release(ward)

    async def _reserved(self, ward: Ward) -> Replica | None:
        """The replica that has the ward's rows and no others any more; None while none lives."""
        mine = [one for one in self._replicas if one.apart is ward and one.revival is None]
        if not mine:
            live = [one for one in self._replicas if one.revival is None and one.apart is None]
            if not live:
                return None
            mine = [min(live, key=_load)]
            mine[0].apart = ward
            if mine[0].outstanding:
                mine[0].drained = anyio.Event()
        replica = mine[0]
        if replica.drained is not None:
            await replica.drained.wait()
        return replica if replica.revival is None and replica.apart is ward else None

    def _release(self, ward: Ward) -> None:
        """Its replica takes other rows again."""
        for one in self._replicas:
            if one.apart is ward:
                one.apart = None
        self._here().turn()

    async def _send(self, replica: Replica, prepared: Any, messages: list[Message], timeout_s: float | None) -> Answer:
        engine = replica.engine
        replica.outstanding += 1
        try:
            answer = await engine.call(prepared, messages, timeout_s)
        except EngineDiedError as error:
            had_answered = replica.deaths == 0
            self._mourn(replica, engine, str(error))
            raise _Died(str(error), had_answered=had_answered) from None
        finally:
            replica.outstanding -= 1
            if replica.drained is not None and not replica.outstanding:
                replica.drained.set()
                replica.drained = None
        replica.deaths = 0
        replica.answered = True
        replica.since += 1
        if replica.unwell and replica.since >= engine.window:
            replica.unwell = 0
        answer.replica = replica.index
        return answer

    def _nobody_else(self) -> bool:
        """Whether no other row could tell whether it is the engine that is broken."""
        here = self._here()
        return here.ward.empty and not here.paused and not any(one.outstanding for one in self._replicas)

    def _choose(self, messages: list[Message]) -> Replica | None:
        """The replica for a row: the one that knows its prompt's head, unless it has more to do than the others."""
        if len(self._replicas) == 1:
            only = self._replicas[0]
            return only if only.revival is None and only.apart is None else None
        live = [one for one in self._replicas if one.revival is None and one.apart is None]
        if not live:
            return None
        least = min(live, key=_load)
        blocks = blocks_of(messages)
        if not blocks:
            return least
        known = self._heads.find(blocks)
        chosen = least
        if known is not None:
            owner = self._replicas[known]
            slack = max(2, owner.engine.window // 8)
            if owner in live and owner.outstanding <= least.outstanding + slack:
                chosen = owner
        self._heads.note(blocks, chosen.index)
        return chosen

    async def _one_back(self) -> None:
        """Waits until another replica takes rows.

        Raises:
            EngineDiedError: none will any more.
        """
        if all(one.lost is not None for one in self._replicas):
            raise EngineDiedError(str(self._replicas[0].lost))
        here = self._here()
        here.paused += 1
        try:
            await here.turned.wait()
        finally:
            here.paused -= 1

    def _mourn(self, replica: Replica, engine: EndpointEngine, why: str) -> None:
        """A replica's server is gone. The first to notice has it brought back, in a thread of its own."""
        with self._lock:
            if replica.engine is not engine or replica.revival is not None:
                return
            replica.deaths += 1
            replica.unwell += 1
            replica.since = 0
            replica.revival = threading.Thread(
                target=self._bring_back, args=(replica, why), name=f"chainette-revive-{self.spec.name}", daemon=True
            )
        self._heads.forget(replica.index)
        replica.revival.start()

    def _bring_back(self, replica: Replica, why: str) -> None:
        """A start that fails is one more death: what a dead server had may not be free yet."""
        while replica.deaths < DEATHS and replica.unwell < UNWELL:
            try:
                running = self._servers.revive(replica.index, replica.running, why)
            except EngineStartGivenUp as error:
                replica.lost = error
                break
            except Exception as error:
                replica.deaths, why = replica.deaths + 1, str(error)
                continue
            with self._lock:
                self._retired.append(replica.engine)
                replica.running, replica.engine = running, self._servers.connect(running)
                replica.revival = None
            for loop, its in list(self._loops.items()):
                for changed in its.changed:
                    _soon(loop, replica.engine.follow, changed)
            break
        else:
            times = f"{replica.deaths} times in a row"
            if replica.deaths < DEATHS:
                times = f"{replica.unwell} times, with few answers in between"
            replica.lost = EngineDiedError(f"it died {times}; the last time {_last_words(replica.running) or why}")
            self._servers.given_up(replica.index, str(replica.lost))
        self._say_changed()

    def _here(self) -> _Loop:
        loop = asyncio.get_running_loop()
        here = self._loops.get(loop)
        if here is None:
            with self._lock:
                self._loops = {known: its for known, its in self._loops.items() if not known.is_closed()}
                here = self._loops[loop] = _Loop()
        return here

    def _say_changed(self) -> None:
        for loop, its in list(self._loops.items()):
            for tell in (its.turn, *its.changed):
                _soon(loop, tell)

    def generate(
        self, prompts: list[Prompt], sampling: SamplingParams | None = None, schema: dict[str, Any] | None = None
    ) -> list[str]:
        from chainette.engine.generate import blocking

        return blocking(self.agenerate, prompts, sampling, schema)

    async def agenerate(
        self, prompts: list[Prompt], sampling: SamplingParams | None = None, schema: dict[str, Any] | None = None
    ) -> list[str]:
        from chainette.engine.generate import generate

        # With connections of its own: others may be calling in this loop, and nobody else would close these.
        alone = Replicas(self._servers)
        try:
            return await generate(alone, prompts, sampling, schema)
        finally:
            await alone.aclose()

    async def aclose(self) -> None:
        self._loops.pop(asyncio.get_running_loop(), None)
        for engine in (*self._retired, *(one.engine for one in self._replicas)):
            await engine.aclose()


class _Died(Exception):
    """A row lost its server."""

    alone = False
    """Whether no other row was there."""

    def __init__(self, why: str, *, had_answered: bool) -> None:
        """`had_answered`: since its start, so that the engine works."""
        super().__init__(why)
        self.had_answered = had_answered

    @property
    def first_line(self) -> str:
        return str(self).partition("\n")[0]


def _last_words(running: Running) -> str | None:
    """Why its process is gone, with the end of its log. One that takes no connections any more may take a moment."""
    until = time.monotonic() + _LAST_S
    while (words := running.died()) is None and time.monotonic() < until:
        time.sleep(0.02)
    return words


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *args: object) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody listens any more
        loop.call_soon_threadsafe(call, *args)


def _load(replica: Replica) -> tuple[int, int]:
    return replica.outstanding, replica.index
