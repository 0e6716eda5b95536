"""The checked graph as data. Knows the declaration it came from, nothing of engines or rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from chainette.chain import Apply, Chain, Delay, Gather, Loop, Scan, Step, Switch

INPUT_ID = "chain_input"
"""Id of the node that stands for the rows as they came in."""

Kind = Literal[
    "input",
    "step",
    "apply",
    "join",
    "gather",
    "delay",
    "cond",
    "switch",
    "while_loop",
    "scan",
    "branch",  # where rows enter a branch, a way of a gate or a body; it does nothing to them
    "take",  # where rows go on with another value that is in reach, for what takes rows as they come
    "turn",  # the end of a body: hands its rows back to the head
    "merge",  # where the ways of a gate, or what a head lets go, come out
]
SHOWN = ("step", "apply", "join", "gather", "delay", "cond", "switch", "while_loop", "scan")
"""The kinds of nodes that people hear of."""
GATES = ("cond", "switch")
HEADS = ("while_loop", "scan")
CONTROL = (*GATES, *HEADS, "delay", "gather")

Decl = Step | Apply | Switch | Loop | Scan | Delay | Gather


@dataclass(frozen=True, slots=True)
class Reference:
    """What a name in a template stands for, seen from one node."""

    what: Literal["value", "alias", "reasoning", "row_id", "turn", "turns"]
    type: Any
    node: int = -1
    """The node whose value (or reasoning) is meant; of an alias the join that made it; of turns the entry of a body."""
    alias: str = ""
    source: str = ""
    """In words, for messages: `step "qa"`."""


Drawn = tuple[Literal["alias", "row", "main"], str]
"""Where a field comes from: an alias, a field of the row, or the row itself; and its name there."""


@dataclass(frozen=True, slots=True)
class Intake:
    """How the value a node works on is made of the row that arrives."""

    how: Literal["value", "alias", "fields", "wrap"] = "value"
    alias: str = ""
    """With `alias`: whose value. With `wrap`: the field that a gathered list fills."""
    fields: Mapping[str, Drawn] = field(default_factory=dict)
    """With `fields`: field of the model -> where it is drawn from."""
    cast: bool = False
    source_type: Any = Any


@dataclass(frozen=True, slots=True)
class JoinedBranch:
    """One branch at its join."""

    alias: str
    name: str
    last: int
    missing: Literal["fail", "none"]
    many: bool
    """The branch makes several rows of one: its alias is a list."""
    nodes: frozenset[int]
    type: Any


@dataclass(frozen=True, slots=True)
class Way:
    """One way out of a gate or head: a case, or a body."""

    name: str
    """`then`, `otherwise`, the case, `default`; `body` of a loop or scan."""
    case: Any
    entry: int
    last: int
    """The node whose rows come out of it; the entry itself where there are no steps."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Where the rows of a node go next. With a join, the row takes a ticket for that branch along."""

    target: int
    join: int | None = None
    branch: int = 0
    """Position of the branch in its join."""


@dataclass(frozen=True, eq=False)
class Node:
    """One place in the graph."""

    index: int
    """Position in order; parents come first."""
    id: str
    kind: Kind
    parent: int
    """The node whose rows come in; for a join, the main line's. -1 for the input."""
    decl: Decl | None
    input_type: Any
    output_type: Any
    intake: Intake
    visible: Mapping[str, Reference]
    """Names in reach of a template, the row's own fields left out."""
    hidden: Mapping[str, str]
    """Names that exist but are out of reach, and why."""
    branches: tuple[JoinedBranch, ...] = ()
    depth: int = 0
    """How many nodes lie before it; a deeper step goes first."""
    main: bool = True
    """Whether it lies on the main line of the outermost chain."""
    signature: str = ""
    ways: tuple[Way, ...] = ()
    """Of a gate or head."""
    out: int = -1
    """Of a gate or head: its merge node."""
    head: int = -1
    """Of a turn: the node it hands its rows back to. Of a merge: whose it is."""
    loops: tuple[int, ...] = ()
    """The heads in whose bodies it lies, the outermost first."""
    gather: int = -1
    """Of a node that expands: where its children are gathered. Of a gather: the node that expands."""
    result: bool = False
    """Control flow whose rows are written under its own id: they are the chain's result, or are made nowhere else."""
    carried: Any = None
    """Of a scan: `chainette.graph.scans.Carried`."""
    chains: tuple[int, ...] = ()
    """Positions in `Graph.chains` of the chains it lies in, the outermost first."""

    @property
    def label(self) -> str:
        return (self.decl.name if self.decl is not None else "") or self.id

    @property
    def emoji(self) -> str:
        return self.decl.emoji if self.decl is not None else ""

    @property
    def written(self) -> bool:
        """Whether it has a folder under `steps/`."""
        return self.result or (isinstance(self.decl, Step | Apply) and self.decl.yield_output)

    @property
    def rows_at(self) -> int:
        """The node at which its rows come out: for a compound its merge."""
        return self.out if self.out >= 0 else self.index

    @property
    def step(self) -> Step:
        assert isinstance(self.decl, Step)
        return self.decl

    @property
    def apply(self) -> Apply:
        assert isinstance(self.decl, Apply)
        return self.decl


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in order, with their edges. `last` is the node whose rows are the chain's result."""

    chain: Chain
    nodes: tuple[Node, ...]
    edges: tuple[tuple[Edge, ...], ...]
    """Per node, where its rows go."""
    last: int
    outline: list[Any]
    """For drawing: node ids, and groups as `{"branches": [{"name", "alias", "items"}], "join": id}`."""
    signature: str
    chains: tuple[Chain, ...] = ()
    """The chain itself and those inside it, each before those in it."""

    @property
    def input_type(self) -> Any:
        return self.nodes[0].output_type

    @property
    def result(self) -> Node:
        """The node that the result is known by: the compound, where the last node is its merge."""
        last = self.nodes[self.last]
        return self.nodes[last.head] if last.kind == "merge" else last

    @property
    def steps(self) -> list[Node]:
        return [node for node in self.nodes if node.kind == "step"]

    @property
    def shown(self) -> list[Node]:
        """The nodes people hear of: without the input, entries, turns and merges."""
        return [node for node in self.nodes if node.kind in SHOWN]

    def arrows(self) -> list[tuple[str, str]]:
        """(from id, to id), entries, turns and merges left out; the way back of a loop is not among them."""
        into: list[list[int]] = [[] for _ in self.nodes]
        for source, edges in enumerate(self.edges):
            for edge in edges:
                into[edge.target].append(source)
        found: dict[tuple[str, str], None] = {}
        for node in self.shown:
            main = [node.parent] if node.kind == "join" else []
            for source in (*main, *into[node.index]):
                found.update({(self.nodes[shown].id, node.id): None for shown in self._shown_before(source, into)})
        return list(found)

    def _shown_before(self, index: int, into: list[list[int]]) -> list[int]:
        node = self.nodes[index]
        if node.kind in SHOWN or node.kind == "input":
            return [index]
        return [shown for source in into[index] for shown in self._shown_before(source, into)]

    def by_id(self, id: str) -> Node | None:
        return next((node for node in self.nodes if node.id == id), None)
