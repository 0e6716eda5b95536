"""The checked graph as data. Knows the declaration it came from, nothing of engines or rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from chainette.chain import Apply, Chain, Step

INPUT_ID = "chain_input"
"""Id of the node that stands for the rows as they came in."""

Kind = Literal["input", "step", "apply", "branch", "join"]
"""`branch` is where rows enter a branch; it does nothing to them."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a name in a template stands for, seen from one node."""

    what: Literal["value", "alias", "reasoning", "row_id"]
    type: Any
    node: int = -1
    """The node whose value (or reasoning) is meant; for an alias the join that made it."""
    alias: str = ""
    source: str = ""
    """In words, for messages: `step "qa"`."""


@dataclass(frozen=True, slots=True)
class Intake:
    """How the value a node works on is made of the row that arrives."""

    how: Literal["value", "alias", "fields"] = "value"
    alias: str = ""
    """With `alias`: whose value. """
    fields: Mapping[str, str] = field(default_factory=dict)
    """With `fields`: field of the model -> `alias` or `row`."""
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
    decl: Step | Apply | None
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

    @property
    def label(self) -> str:
        return (self.decl.name if self.decl is not None else "") or self.id

    @property
    def emoji(self) -> str:
        return self.decl.emoji if self.decl is not None else ""

    @property
    def written(self) -> bool:
        """Whether it has a folder under `steps/`."""
        return self.decl is not None and self.decl.yield_output

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

    @property
    def input_type(self) -> Any:
        return self.nodes[0].output_type

    @property
    def steps(self) -> list[Node]:
        return [node for node in self.nodes if node.kind == "step"]

    @property
    def shown(self) -> list[Node]:
        """The nodes people hear of: without the input and the entries of branches."""
        return [node for node in self.nodes if node.kind in ("step", "apply", "join")]

    def arrows(self) -> list[tuple[str, str]]:
        """(from id, to id), entries of branches left out."""
        return [
            (self.nodes[self._before(source)].id, node.id)
            for node in self.shown
            for source in (node.parent, *(branch.last for branch in node.branches))
        ]

    def _before(self, index: int) -> int:
        while self.nodes[index].kind == "branch":
            index = self.nodes[index].parent
        return index

    def by_id(self, id: str) -> Node | None:
        return next((node for node in self.nodes if node.id == id), None)
