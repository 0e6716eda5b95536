"""The run as plain log lines, for a file or a terminal that cannot be drawn over. Knows events only."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import TextIO

from chainette.cli.progress import RunState, cut_back_words
from chainette.cli.summary import money
from chainette.cli.wording import clock, count, counted, died_words, one_line, rate, seconds
from chainette.events import (
    ChunksCutBack,
    EngineAsleep,
    EngineAwake,
    EngineDied,
    EngineStarted,
    EngineStarting,
    EngineStopped,
    EngineThrottled,
    EngineUnthrottled,
    Event,
    Interrupted,
    Progressed,
    RunFinished,
    RunStarted,
    StageStarted,
    Warned,
)

EVERY_S = 5.0
PARTS = 10
"""A progress line at each of so many parts of the input."""


def _time_of_day() -> str:
    return datetime.now().strftime("%H:%M:%S")


class PlainLines:
    """Listens to a run and writes a line for each thing worth one: progress every five seconds or tenth part."""

    def __init__(
        self,
        stream: TextIO | None = None,
        now_s: Callable[[], float] = time.monotonic,
        stamp: Callable[[], str] = _time_of_day,
    ) -> None:
        self.state = RunState()
        self._stream = stream or sys.stderr
        self._now_s = now_s
        self._stamp = stamp
        self._said_s = 0.0
        self._said_part = 0

    def __enter__(self) -> PlainLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def __call__(self, event: Event) -> None:
        if isinstance(event, EngineStarting):
            known = self.state.engine_states.get(event.engine)
            new = "" if known is not None and known.description == event.description else f": {event.description}"
            self._say(f"engine {event.engine}: starting{new}")
        self.state.take(event, self._now_s())
        match event:
            case RunStarted():
                self._start(event)
            case EngineStarted():
                self._say(f"engine {event.engine}: {started_words(event)}")
            case EngineDied(engine, _, why):
                self._say(f"warning: {died_words(engine, why)}")
            case EngineAsleep(engine, reason):
                self._say(f"engine {engine}: asleep, {reason}")
            case EngineAwake(engine, took):
                self._say(f"engine {engine}: awake after {seconds(took)}")
            case EngineStopped(engine, reason):
                self._say(f"engine {engine}: stopped" + (f": {reason}" if reason else ""))
            case EngineThrottled(engine, reason):
                self._say(f"engine {engine}: held back by the {reason}")
            case EngineUnthrottled(engine):
                self._say(f"engine {engine}: no longer held back")
            case StageStarted(stage, stages, _, engines) if stages > 1:
                self._say(f"stage {stage + 1} of {stages}" + (f": {', '.join(engines)}" if engines else ""))
            case ChunksCutBack():
                self._say(f"warning: {cut_back_words(event)}")
            case Warned(message):
                self._say(f"warning: {message}")
            case Interrupted():
                self._say("interrupted: finishing what is in flight; a second Ctrl-C stops at once")
            case Progressed():
                self._progress(event)
            case RunFinished():
                self._say(progress_words(self.state))
            case _:
                pass

    def _start(self, event: RunStarted) -> None:
        rows = counted(event.rows_total, "row") if event.rows_total is not None else "rows as they come"
        self._say(f"{event.chain}: {rows} into {event.folder}")
        for name, description in event.engines:
            self._say(f"engine {name}: {description}")
        for warning in event.warnings:
            self._say(f"warning: {warning}")

    def _progress(self, event: Progressed) -> None:
        total = self.state.rows_total()
        share = event.rows_done / total if total else 0.0
        overdue = event.elapsed_s - self._said_s >= EVERY_S
        part = int(share * PARTS + 1e-9)
        if not (overdue or self._said_part < part < PARTS):
            return
        self._said_s, self._said_part = event.elapsed_s, part
        self._say(progress_words(self.state))

    def _say(self, words: str) -> None:
        # The user's own code may have printed without a line break.
        glued = "\n" if getattr(self._stream, "mid_line", False) else ""
        self._stream.write(f"{glued}{self._stamp()}  {one_line(words)}\n")
        self._stream.flush()


def started_words(event: EngineStarted) -> str:
    """What stands behind the engine's name."""
    if event.warm:
        return "there already"
    again = f"replica {event.replica} again " if event.replica is not None else ""
    return f"{again}ready after {seconds(event.seconds)}"


def progress_words(state: RunState) -> str:
    """Everything the live view shows, on one line."""
    total, over = state.rows_total(), state.finished is not None
    done = state.finished is not None and state.finished.state == "done"
    parts = [f"{count(state.rows_done)} of {counted(total if total is not None else state.rows_read, 'row')}"]
    parts[0] += " committed" if total is not None else " read"
    share = 1.0 if done else state.share_done()
    if share is not None and (done or not over):
        parts.insert(0, f"{int(share * 100)}%")
    if not over:
        parts.append(rate(state.row_rate()))
    for node_id, node in state.nodes.items():
        failed = f", {count(node.failed)} failed" if node.failed else ""
        dropped = f", {count(node.dropped)} dropped" if node.dropped else ""
        parts.append(f"{node_id} {count(node.done)}{failed}{dropped}")
    for name, load in state.engines.items():
        if over:
            cost = "" if load.cost is None else f", cost {money(load.cost)}"
            written = counted(load.completion_tokens, "token")
            parts.append(f"{name} {counted(load.calls, 'call')}, {written} written{cost}")
            continue
        busy = f"{load.running}/{load.window} running, {count(load.waiting)} waiting"
        parts.append(f"{name} {busy}, {count(state.token_rate(name))} tokens/s")
    parts.append(f"{clock(state.elapsed_s)} elapsed")
    left = state.left_s()
    if left is not None and not over:
        parts.append(f"about {clock(left + 1)} left")
    return " | ".join(p for p in parts if p)
