"""What a run says while it goes. Plain values; who listens (terminal, log, trace) is not known here.

Events are said per chunk and per change of state, never per row. `Progressed` is a snapshot of the counters, said a
few times a second and once at the end, so a listener never has to count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol, runtime_checkable

MAX_REASONS = 20
"""Different reasons to drop a row that are counted per node."""
OTHER_REASONS = "other reasons"


@dataclass(slots=True)
class NodeCount:
    """How far one node is. `entered == done + failed + dropped + running + waiting` for a node that makes one row
    from one; `made` counts the rows that came out, children included."""

    entered: int = 0
    done: int = 0
    made: int = 0
    failed: int = 0
    dropped: int = 0
    running: int = 0
    waiting: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompts', those that the engine had not to read again, where it tells."""
    retried: int = 0
    calls: int = 0
    """Calls that were made, one for every line in `calls/` but for those that were reused."""
    reused: int = 0
    """Calls whose answer was taken from another run."""
    seconds: float = 0.0
    """Time the node's calls or functions took, added up; calls overlap, so it may exceed the run's time."""
    drops: dict[str, int] = field(default_factory=dict)
    """Of the dropped rows, those that say why: reason -> how many, at most `MAX_REASONS` and `OTHER_REASONS`."""

    def add(self, other: NodeCount, times: int = 1) -> None:
        for name in _NODE_COUNTS:
            setattr(self, name, getattr(self, name) + times * getattr(other, name))
        for why, count in other.drops.items():
            self._count_drop(why, times * count)

    def count_drops(self, reasons: Iterable[str]) -> None:
        for why in reasons:
            self._count_drop(why, 1)

    def _count_drop(self, why: str, count: int) -> None:
        drops = self.drops
        if why not in drops and (count < 0 or len(drops) - (OTHER_REASONS in drops) >= MAX_REASONS):
            why = OTHER_REASONS
        left = drops.get(why, 0) + count
        if left > 0:
            drops[why] = left
        else:
            drops.pop(why, None)

    def public(self) -> dict[str, Any]:
        """What is not zero."""
        return {name: value for name, value in asdict(self).items() if value}


_NODE_COUNTS = tuple(f.name for f in fields(NodeCount) if f.name != "drops")


@dataclass(slots=True)
class RunCount:
    """What became of input rows: of those of one chunk, or of all."""

    rows: int = 0
    """Input rows whose whole way is finished."""
    rows_out: int = 0
    rows_failed: int = 0
    """Input rows with a failure anywhere below them."""
    rows_dropped: int = 0
    """Input rows of which nothing came out and nothing failed."""
    nodes: dict[str, NodeCount] = field(default_factory=dict)

    def add(self, other: RunCount, times: int = 1) -> None:
        self.rows += times * other.rows
        self.rows_out += times * other.rows_out
        self.rows_failed += times * other.rows_failed
        self.rows_dropped += times * other.rows_dropped
        for id, count in other.nodes.items():
            self.nodes.setdefault(id, NodeCount()).add(count, times)

    def public(self) -> dict[str, Any]:
        nodes = {id: count.public() for id, count in self.nodes.items()}
        own = {name: getattr(self, name) for name in _RUN_COUNTS}
        return {**own, "nodes": {id: count for id, count in nodes.items() if count}}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> RunCount:
        """From what `public` gave; what it does not name is zero."""
        count = cls(**{name: record.get(name, 0) for name in _RUN_COUNTS})
        for id, node in record.get("nodes", {}).items():
            known = {name: value for name, value in node.items() if name in _NODE_COUNTS}
            drops = node.get("drops")
            count.nodes[id] = NodeCount(**known, drops=dict(drops) if isinstance(drops, Mapping) else {})
        return count


_RUN_COUNTS = ("rows", "rows_out", "rows_failed", "rows_dropped")


@dataclass(slots=True)
class EngineCount:
    """What one engine is doing."""

    window: int = 0
    """Calls that may be in flight."""
    running: int = 0
    waiting: int = 0
    calls: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    busy_s: float = 0.0
    """Time its calls took, added up."""
    devices: int = 0
    """That it has for itself, all replicas together."""
    up_s: float = 0.0
    """How long it was live and leased, in this process."""
    cost: float | None = None
    """Of its calls, where the spec says prices; only when the run is over."""


@dataclass(frozen=True, slots=True)
class RunStarted:
    run_id: str
    folder: str
    chain: str
    rows_total: int | None
    """None when the input does not tell its length."""
    nodes: tuple[tuple[str, str, str], ...]
    """(id, kind, label) in order; kind is `step`, `apply` or `join`."""
    tree: object
    """The graph's outline for drawing: `chainette.graph.Graph.outline`."""
    engines: tuple[tuple[str, str], ...]
    """(name, what it is in words) of every engine the run uses."""
    warnings: tuple[str, ...] = ()
    rows_before: int = 0
    """Input rows that were finished before, in a run that goes on."""


@dataclass(frozen=True, slots=True)
class EngineStarting:
    engine: str
    description: str


@dataclass(frozen=True, slots=True)
class EngineStarted:
    engine: str
    description: str
    seconds: float
    warm: bool = False
    """It was there already and will stay."""
    replica: int | None = None
    """Of a replica that was started again in the place of one that died; None: all of them, at first."""
    replicas: int = 1
    """How many servers it is."""


@dataclass(frozen=True, slots=True)
class EngineDied:
    """A replica is gone; a new one is being started in its place."""

    engine: str
    replica: int
    why: str


@dataclass(frozen=True, slots=True)
class EngineAsleep:
    """It has given its devices' memory back and will be woken."""

    engine: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class EngineAwake:
    engine: str
    seconds: float


@dataclass(frozen=True, slots=True)
class EngineStopped:
    engine: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class EngineThrottled:
    """Its calls wait for more than the window: a rate limit, or an endpoint that wants to be left alone."""

    engine: str
    reason: str


@dataclass(frozen=True, slots=True)
class EngineUnthrottled:
    """Its calls have not waited for a while, nor do they now; or its stage is over."""

    engine: str
    held_s: float = 0.0
    """How long they waited since `EngineThrottled`: less than the time between the two."""


@dataclass(frozen=True, slots=True)
class StageStarted:
    """The nodes and engines of a stage are at work from now on. Stages that nobody needs are left out."""

    stage: int
    stages: int
    nodes: tuple[str, ...]
    engines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StageFinished:
    stage: int


@dataclass(frozen=True, slots=True)
class ChunkRead:
    """Its rows are in `inputs/` and enter the graph."""

    chunk: int
    first: int
    """Place of its first row in the input, from 0."""
    rows: int
    recovered: bool = False
    """It was read by a process that could not say so: long before now."""


@dataclass(frozen=True, slots=True)
class Progressed:
    rows_read: int
    rows_done: int
    """Input rows whose whole way is finished, whatever came of them."""
    elapsed_s: float
    nodes: dict[str, NodeCount]
    engines: dict[str, EngineCount] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChunkCommitted:
    """All files have it: said once for each chunk, in order, after its closing record was written."""

    chunk: int
    rows_committed: int
    """Input rows of this chunk and all before it."""
    recovered: bool = False
    """It was committed by a process that died before it could say so."""


@dataclass(frozen=True, slots=True)
class ChunksCutBack:
    """What was said of this chunk and those behind it does not count any more: they will be read and committed anew."""

    from_chunk: int
    reason: str


@dataclass(frozen=True, slots=True)
class Warned:
    message: str


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The first Ctrl-C or SIGTERM came: no new calls are made, those in flight finish."""


@dataclass(frozen=True, slots=True)
class RunFinished:
    run_id: str
    folder: str
    state: str
    """`done`, `stopped` (an error or too many failed rows) or `interrupted`."""
    rows_in: int
    rows_out: int
    rows_failed: int
    """Input rows with a failure anywhere below them."""
    rows_dropped: int
    elapsed_s: float
    nodes: dict[str, NodeCount]
    engines: dict[str, EngineCount]
    failures: tuple[tuple[str, str, str, int], ...] = ()
    """The commonest failures: (node id, kind, message, how often)."""
    message: str = ""
    rows_before: int = 0
    """Of `rows_in`, those that were finished before this process began."""
    cost: float | None = None
    """Of all calls, those from before included; None where no engine has prices."""


Event = (
    RunStarted
    | EngineStarting
    | EngineStarted
    | EngineDied
    | EngineAsleep
    | EngineAwake
    | EngineStopped
    | EngineThrottled
    | EngineUnthrottled
    | StageStarted
    | StageFinished
    | ChunkRead
    | Progressed
    | ChunkCommitted
    | ChunksCutBack
    | Warned
    | Interrupted
    | RunFinished
)

Listener = Callable[[Event], None]


@runtime_checkable
class LineListener(Protocol):
    """A listener that takes each event with the line of JSON that stands for it in `events.jsonl`, without its line
    break. Of the snapshots it gets more than the file."""

    def take_line(self, event: Event, line: bytes) -> None: ...
