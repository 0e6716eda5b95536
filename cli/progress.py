"""What the events of a run add up to: counts, rates, what is still to come. Draws nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from chainette.cli.drawing import TreeLine, tree_lines
from chainette.cli.wording import ICONS, Glyphs, died_words, one_line
from chainette.events import (
    ChunkCommitted,
    ChunksCutBack,
    EngineAsleep,
    EngineAwake,
    EngineCount,
    EngineDied,
    EngineStarted,
    EngineStarting,
    EngineStopped,
    EngineThrottled,
    EngineUnthrottled,
    Event,
    Interrupted,
    NodeCount,
    Progressed,
    RunFinished,
    RunStarted,
    Warned,
)

RATE_WINDOW_S = 8.0
LEFT_AFTER_S = 1.0
LEFT_AFTER_SHARE = 0.01


@dataclass(slots=True)
class EngineState:
    description: str = ""
    state: str = "waiting"
    """`waiting` until first needed, then `starting`, `ready`, `stopped`."""
    since_s: float = 0.0
    reason: str = ""
    held_by: str = ""
    """What its calls wait for besides its window: a rate limit, say."""


@dataclass(frozen=True, slots=True)
class Expected:
    """How many rows will have entered a node when the run is done."""

    rows: float | None
    exact: bool


@dataclass(frozen=True, slots=True)
class Moment:
    """The figures that rates are made of, as they were."""

    elapsed_s: float
    rows: float
    """Input rows done: finished work in rows where it can be weighed, else those that are committed."""
    handled: dict[str, int]
    tokens: dict[str, int]


def cut_back_words(event: ChunksCutBack) -> str:
    return f"what was made of chunk {event.from_chunk} and those behind it is made again: {event.reason}"


def handled(node: NodeCount) -> int:
    return node.done + node.failed + node.dropped


@dataclass(slots=True)
class RunState:
    """The run as its listeners know it, folded from one event after the other."""

    started: RunStarted | None = None
    finished: RunFinished | None = None
    rows_read: int = 0
    rows_done: int = 0
    elapsed_s: float = 0.0
    interrupted: bool = False
    nodes: dict[str, NodeCount] = field(default_factory=dict)
    engines: dict[str, EngineCount] = field(default_factory=dict)
    engine_states: dict[str, EngineState] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    _before: dict[str, TreeLine] = field(default_factory=dict)
    """Each node's line, which says where its rows come from."""
    _within: dict[str, list[str]] = field(default_factory=dict)
    """The nodes inside each piece of control flow."""
    _past: deque[Moment] = field(default_factory=deque)
    """The last seconds, for rates."""
    _idle_s: float = 0.0
    """How long it took until the first row had gone through a node: engines start in that time."""

    def take(self, event: Event, now_s: float = 0.0) -> None:
        """Folds one event in; `now_s` is any steady clock."""
        match event:
            case RunStarted():
                self._start(event)
            case Progressed():
                self._progress(event)
            case RunFinished():
                self.finished = event
                self.elapsed_s = event.elapsed_s
                self.rows_read = event.rows_in
                if event.state == "done":
                    self.rows_done = event.rows_in
                self.nodes, self.engines = event.nodes, event.engines
            case EngineStarting(engine, description):
                self._engine(engine, description, "starting", now_s)
            case EngineStarted(engine, description):
                self._engine(engine, description, "ready", now_s)
            case EngineDied(engine, _, why):
                self._engine(engine, "", "starting", now_s)
                self.warnings.append(died_words(engine, why))
            case EngineAsleep(engine):
                self._engine(engine, "", "asleep", now_s)
            case EngineAwake(engine):
                self._engine(engine, "", "ready", now_s)
            case EngineStopped(engine, reason):
                self._engine(engine, "", "stopped", now_s).reason = reason
            case EngineThrottled(engine, reason):
                self.engine_states.setdefault(engine, EngineState()).held_by = reason
            case EngineUnthrottled(engine):
                self.engine_states.setdefault(engine, EngineState()).held_by = ""
            case ChunksCutBack():
                self.warnings.append(cut_back_words(event))
            case Warned(message):
                self.warnings.append(message)
            case ChunkCommitted(_, rows):
                self.rows_done = max(self.rows_done, rows)
            case Interrupted():
                self.interrupted = True
            case _:
                pass

    def _start(self, event: RunStarted) -> None:
        self.started, self.finished, self.interrupted = event, None, False
        self.nodes = {node_id: NodeCount() for node_id, _, _ in event.nodes}
        for name, description in event.engines:
            self.engine_states[name] = EngineState(description)
        self.warnings += event.warnings
        for drawn in self.tree():
            if drawn.node is not None:
                self._before[drawn.node] = drawn
                for around in drawn.inside:
                    self._within.setdefault(around, []).append(drawn.node)

    def _progress(self, event: Progressed) -> None:
        self.rows_read, self.rows_done, self.elapsed_s = event.rows_read, event.rows_done, event.elapsed_s
        self.nodes, self.engines = event.nodes, event.engines
        if not any(handled(n) for n in event.nodes.values()):
            self._idle_s = event.elapsed_s
        share, total = self.share_done(), self.rows_total()
        self._past.append(
            Moment(
                event.elapsed_s,
                event.rows_done if share is None or total is None else share * total,
                {node_id: handled(node) for node_id, node in event.nodes.items()},
                {name: engine.completion_tokens for name, engine in event.engines.items()},
            )
        )
        while len(self._past) > 2 and event.elapsed_s - self._past[1].elapsed_s > RATE_WINDOW_S:
            self._past.popleft()

    def _engine(self, name: str, description: str, state: str, now_s: float) -> EngineState:
        known = self.engine_states.setdefault(name, EngineState())
        known.description = description or known.description
        known.state, known.since_s = state, now_s
        return known

    def tree(self) -> list[TreeLine]:
        """All nodes and branch heads in order, or the bare list of nodes where the run gives no outline."""
        return self.tree_for(ICONS, None)

    def tree_for(self, glyphs: Glyphs, max_branches: int | None) -> list[TreeLine]:
        """The same as it is drawn, with at most `max_branches` branches of a group."""
        if self.started is None:
            return []
        drawn = tree_lines(self.started.tree, glyphs, max_branches)
        if drawn:
            return drawn
        return [TreeLine("", node_id, one_line(node_id)) for node_id, _, _ in self.started.nodes]

    def rows_total(self) -> int | None:
        return self.started.rows_total if self.started else None

    def expected(self) -> dict[str, Expected]:
        """Per node, what will enter it: exact while nothing above it drops or expands rows, else an estimate."""
        total = self.rows_total()
        entry = Expected(total, True)
        result: dict[str, Expected] = {}
        for node_id in self._before or self.nodes:
            drawn = self._before.get(node_id)
            expected = entry
            if drawn is not None and drawn.before in result:
                expected = self._after(drawn.before, drawn, result[drawn.before])
            entered = self.nodes.get(node_id, NodeCount()).entered
            if expected.rows is not None and entered > expected.rows:
                expected = Expected(entered, False)
            result[node_id] = expected
        return result

    def _after(self, before: str, drawn: TreeLine, entering: Expected) -> Expected:
        """What goes on from a node: into one of its ways, past what happens inside it, or simply on."""
        node = self.nodes.get(before, NodeCount())
        if before in drawn.inside:
            entered = self.nodes.get(drawn.node or "", NodeCount()).entered
            if entering.rows is None or not node.entered:
                return Expected(entering.rows, False)
            return Expected(entering.rows * entered / node.entered, False)
        if before not in self._within:
            return _below(entering, node)
        if entering.rows is None:
            return entering
        inner = [self.nodes.get(id, NodeCount()) for id in (before, *self._within[before])]
        lost = sum(count.failed + count.dropped for count in inner)
        return Expected(max(0.0, entering.rows - lost), False)

    def node_rate(self, node_id: str) -> float:
        """Rows a second through a node, over the last seconds."""
        return self._speed(lambda moment: moment.handled.get(node_id, 0))

    def row_rate(self) -> float:
        """Input rows a second, over the last seconds."""
        return self._speed(lambda moment: moment.rows)

    def token_rate(self, engine: str) -> float:
        """Tokens an engine wrote per second, over the last seconds."""
        return self._speed(lambda moment: moment.tokens.get(engine, 0))

    def _speed(self, counted: Callable[[Moment], float]) -> float:
        if len(self._past) < 2:
            return 0.0
        first, last = self._past[0], self._past[-1]
        spent = last.elapsed_s - first.elapsed_s
        return max(0.0, counted(last) - counted(first)) / spent if spent > 0 else 0.0

    def share_done(self) -> float | None:
        """How much of the work is behind us, 0 to 1, each node weighted by what a row costs there."""
        if self.rows_total() is None:
            return None
        known = {node_id: e.rows for node_id, e in self.expected().items() if e.rows is not None}
        costs = {node_id: n.seconds / handled(n) for node_id, n in self.nodes.items() if n.seconds > 0 and handled(n)}
        usual = sum(costs.values()) / len(costs) if costs else 1.0
        behind = sum(handled(self.nodes.get(node_id, NodeCount())) * costs.get(node_id, usual) for node_id in known)
        whole = sum(rows * costs.get(node_id, usual) for node_id, rows in known.items())
        return min(1.0, behind / whole) if whole > 0 else None

    def left_s(self) -> float | None:
        """Seconds until the last row, or None while that would be a guess."""
        share = self.share_done()
        if share is None or share < LEFT_AFTER_SHARE or self.elapsed_s < LEFT_AFTER_S or self.interrupted:
            return None
        return (self.elapsed_s - self._idle_s) * (1 - share) / share


def _below(above: Expected, node: NodeCount) -> Expected:
    """What comes out of a node for the next one."""
    if above.rows is None:
        return Expected(None, False)
    passed = handled(node)
    if above.exact and passed >= above.rows:
        return Expected(node.made, True)
    survived = passed - node.failed
    if survived <= 0 or (node.made == survived and not node.dropped):
        return Expected(above.rows - node.failed, above.exact)
    left = max(0.0, above.rows - passed)
    return Expected(node.made + left * node.made / passed, False)
