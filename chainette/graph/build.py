"""Walks a chain once and makes its graph, collecting every problem on the way."""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Sequence
from typing import Any

from chainette.chain import Apply, Branch, Chain, Step
from chainette.errors import Problem
from chainette.graph.intake import choose_intake
from chainette.graph.nodes import INPUT_ID, Edge, Graph, Intake, JoinedBranch, Node, Reference
from chainette.graph.signature import digest, signature_of

RESERVED = {INPUT_ID, "row_id", "input"}


def build(chain: Chain) -> tuple[Graph, list[Problem]]:
    """The graph of `chain` and all that is wrong with it. With errors among the problems it is only for show."""
    walk = _Walk(chain)
    last = walk.line(chain.steps, 0, _Scope(), walk.outline, f'chain "{chain.name}"')
    if not any(node.decl for node in walk.nodes):
        walk.say(f'chain "{chain.name}"', "has no steps")
    graph = Graph(
        chain=chain,
        nodes=tuple(walk.nodes),
        edges=tuple(tuple(edges) for edges in walk.edges),
        last=last,
        outline=walk.outline,
        signature=digest(*(node.signature for node in walk.nodes)),
    )
    return graph, walk.problems


@dataclasses.dataclass
class _Scope:
    """What is in reach at one point of the walk."""

    names: dict[str, Reference] = dataclasses.field(default_factory=dict)
    hidden: dict[str, str] = dataclasses.field(default_factory=dict)
    prefix: str = ""
    main: bool = True
    many: bool = False
    """Whether a row has been expanded since the branch began."""

    def inner(self, **changes: Any) -> _Scope:
        return dataclasses.replace(self, names=dict(self.names), hidden=dict(self.hidden), **changes)


def spelling(id: str) -> str:
    """What two ids must differ in: case, `-`, `_`, `.` and blanks do not count."""
    return re.sub(r"[\s\-_.]+", "_", id.strip()).casefold()


def identifier(id: str) -> str:
    """The name by which templates reach a node: `extract-info` is `extract_info`."""
    return re.sub(r"\W", "_", id.rpartition("/")[2])


class _Walk:
    def __init__(self, chain: Chain) -> None:
        self.problems: list[Problem] = []
        self.outline: list[Any] = []
        self.inside: list[Any] = [chain]
        self.ids: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
        input_type = _input_type(chain)
        self.nodes: list[Node] = [
            Node(0, INPUT_ID, "input", -1, None, input_type, input_type, Intake(), {}, {}, signature=digest("input"))
        ]
        self.edges: list[list[Edge]] = [[]]

    def say(self, where: str, message: str, hint: str = "", severity: str = "error") -> None:
        self.problems.append(Problem(where, message, hint, severity))

    def line(self, items: Sequence[Any], upstream: int, scope: _Scope, outline: list[Any], where: str) -> int:
        """Adds `items` after `upstream`; returns the node whose rows come out at the end."""
        if not items:
            if where.startswith("branch") or len(self.inside) > 1:
                self.say(where, "has no steps")
            return upstream
        for item in items:
            if isinstance(item, Step | Apply):
                upstream = self.node(item, upstream, scope)
                outline.append(self.nodes[upstream].id)
            elif isinstance(item, Chain):
                upstream = self.inner_chain(item, upstream, scope, outline)
            elif isinstance(item, Branch):
                upstream = self.group([item], upstream, scope, outline, where)
            elif isinstance(item, Sequence) and not isinstance(item, str):
                upstream = self.group(item, upstream, scope, outline, where)
            else:
                hint = (
                    f"apply({getattr(item, '__name__', 'fn')})"
                    if callable(item)
                    else "steps hold Step, apply(…), [Branch…], Chain"
                )
                self.say(where, f"{_short(item)} is not a step", hint)
        return upstream

    def inner_chain(self, chain: Chain, upstream: int, scope: _Scope, outline: list[Any]) -> int:
        if any(chain is other for other in self.inside):
            names = " -> ".join(str(c.name) for c in [*self.inside, chain])
            self.say(f'chain "{chain.name}"', f"contains itself: {names}", "a chain cannot be a cycle")
            return upstream
        self.inside.append(chain)
        inner = scope.inner(prefix=f"{scope.prefix}{chain.name}/")
        items: list[Any] = []
        last = self.line(chain.steps, upstream, inner, items, f'chain "{chain.name}"')
        self.inside.pop()
        outline.append({"chain": chain.name, "items": items})
        scope.many = scope.many or inner.many
        scope.hidden.update(inner.hidden)
        scope.names.update(inner.names)
        node = self.nodes[last]
        scope.names[identifier(chain.name)] = Reference("value", node.output_type, last, source=f'chain "{chain.name}"')
        return last

    def node(self, decl: Step | Apply, upstream: int, scope: _Scope) -> int:
        kind = "step" if isinstance(decl, Step) else "apply"
        id = self.take_id(decl, scope)
        where = f'{kind} "{id}"'
        before = self.nodes[upstream]
        wanted = decl.input_model if isinstance(decl, Step) else decl.shape.input_type
        intake, problems = choose_intake(self.nodes, upstream, wanted, where)
        self.problems += problems
        output = decl.output_model if isinstance(decl, Step) else decl.shape.output_type
        if isinstance(decl, Apply) and not decl.shape.declared and output is Any:
            output = intake.source_type
        index = len(self.nodes)
        node = Node(
            index=index,
            id=id,
            kind="step" if isinstance(decl, Step) else "apply",
            parent=upstream,
            decl=decl,
            input_type=wanted,
            output_type=output,
            intake=intake,
            visible=dict(scope.names),
            hidden=dict(scope.hidden),
            depth=before.depth + 1,
            main=scope.main,
            signature=signature_of(decl, (before.signature,)),
        )
        self.add(node, Edge(index))
        self.see(node, scope)
        return index

    def add(self, node: Node, edge: Edge) -> None:
        self.nodes.append(node)
        self.edges.append([])
        self.edges[node.parent].append(edge)

    def see(self, node: Node, scope: _Scope) -> None:
        """What a node's result and reasoning are called from here on."""
        decl, name = node.decl, identifier(node.id)
        source = f'{node.kind} "{node.id}"'
        scope.names[name] = Reference("value", node.output_type, node.index, source=source)
        scope.hidden.pop(name, None)
        if isinstance(decl, Step):
            scope.names[f"{name}_reasoning"] = Reference("reasoning", str | None, node.index, source=source)
            scope.many = scope.many or decl.samples > 1
        elif isinstance(decl, Apply):
            scope.many = scope.many or decl.shape.makes == "many"

    def take_id(self, decl: Step | Apply, scope: _Scope) -> str:
        id = scope.prefix + decl.id
        where = f'{"step" if isinstance(decl, Step) else "apply"} "{id}"'
        if isinstance(decl, Apply) and not decl.named:
            number, plain = 2, id
            while spelling(id) in self.ids:
                id, number = f"{plain}_{number}", number + 1
        if any(c in decl.id for c in "/\\") or any(ord(c) < 32 for c in decl.id) or decl.id in (".", ".."):
            self.say(where, "an id cannot contain / or \\ or control characters")
        if len(id.encode()) > 200:
            self.say(where, f"an id has at most 200 bytes, not {len(id.encode())}")
        if spelling(decl.id) in RESERVED:
            self.say(where, f'"{decl.id}" is a name of Chainette\'s own', "another id")
        taken = self.ids.get(spelling(id))
        if taken == id:
            self.say(where, "a second node with this id", 'step.with_(id="…") gives a copy its own')
        elif taken is not None:
            self.say(where, f'differs from "{taken}" only in spelling', "ids must differ in letters")
        self.ids[spelling(id)] = id
        return id

    def group(self, branches: Sequence[Any], upstream: int, scope: _Scope, outline: list[Any], where: str) -> int:
        """Branches side by side, and the join after them when any is joined."""
        if not branches:
            self.say(where, "an empty list of branches")
            return upstream
        drawn: list[Any] = []
        joined: list[JoinedBranch] = []
        entries: list[tuple[int, int]] = []
        inners: list[tuple[Branch, _Scope]] = []
        for branch in branches:
            if not isinstance(branch, Branch):
                hint = 'Branch(name="…", steps=[…])'
                self.say(where, f"a list inside steps holds branches, not {_short(branch)}", hint)
                continue
            if any(spelling(branch.name) == spelling(other.name) for other, _ in inners):
                self.say(where, f'two branches side by side are called "{branch.name}"')
            items: list[Any] = []
            drawn.append({"name": branch.name, "alias": branch.alias, "items": items})
            entry = self.entry(branch, upstream, scope)
            inner = scope.inner(main=False, many=False)
            last = self.line(branch.steps, entry, inner, items, f'branch "{branch.name}"')
            inners.append((branch, inner))
            if branch.alias is not None and last != entry:
                entries.append((entry, last))
                self.joined(branch, entry, last, inner, joined)
            else:
                self.edges[upstream].append(Edge(entry))
        group: dict[str, Any] = {"branches": drawn, "join": None}
        outline.append(group)
        if not joined:
            self.hide(inners, scope)
            return upstream
        join = self.join_node(upstream, joined, scope, {b.alias: i for b, i in inners if b.alias is not None})
        group["join"] = self.nodes[join].id
        for position, (entry, last) in enumerate(entries):
            self.edges[upstream].append(Edge(entry, join=join, branch=position))
            self.edges[last].append(Edge(join, branch=position))
        self.hide(inners, scope)
        return join

    def entry(self, branch: Branch, upstream: int, scope: _Scope) -> int:
        """The node by which rows enter a branch, so that what hangs on its rows is the branch's own."""
        before, index = self.nodes[upstream], len(self.nodes)
        type_ = before.output_type
        id = f"{scope.prefix}{branch.name}//{index}"  # no user can type it
        node = Node(index, id, "branch", upstream, None, type_, type_, Intake(), {}, {}, depth=before.depth, main=False)
        self.nodes.append(dataclasses.replace(node, signature=before.signature))
        self.edges.append([])
        return index

    def joined(self, branch: Branch, entry: int, last: int, inner: _Scope, joined: list[JoinedBranch]) -> None:
        assert branch.alias is not None
        where, alias, type_ = f'branch "{branch.name}"', branch.alias, self.nodes[last].output_type
        if any(other.alias == alias for other in joined):
            self.say(where, f'a second branch joined as "{alias}"')
        if alias in RESERVED:
            self.say(where, f'the alias "{alias}" is a name of Chainette\'s own')
        if inner.many:
            type_ = types.GenericAlias(list, (type_,))
        elif branch.missing == "none" and type_ is not Any:
            type_ = type_ | None
        nodes = frozenset(range(entry, len(self.nodes)))
        joined.append(JoinedBranch(alias, branch.name, last, branch.missing, inner.many, nodes, type_))

    def join_node(self, upstream: int, joined: list[JoinedBranch], scope: _Scope, inners: dict[str, _Scope]) -> int:
        before, index = self.nodes[upstream], len(self.nodes)
        id = scope.prefix + "join_" + "_".join(branch.alias for branch in joined)
        number, plain = 2, id
        while spelling(id) in self.ids:
            id, number = f"{plain}_{number}", number + 1
        self.ids[spelling(id)] = id
        self.nodes.append(
            Node(
                index=index,
                id=id,
                kind="join",
                parent=upstream,
                decl=None,
                input_type=before.output_type,
                output_type=before.output_type,
                intake=Intake(),
                visible={},
                hidden={},
                branches=tuple(joined),
                depth=max(self.nodes[branch.last].depth for branch in joined) + 1,
                main=scope.main,
                signature=signature_of(
                    None, (before.signature, *(self.nodes[branch.last].signature for branch in joined))
                ),
            )
        )
        self.edges.append([])
        for branch in joined:
            self.see_branch(branch, index, scope, inners[branch.alias])
        return index

    def see_branch(self, branch: JoinedBranch, join: int, scope: _Scope, inner: _Scope) -> None:
        where = f'branch "{branch.name}"'
        if not branch.many:
            for name, reference in inner.names.items():
                if reference.node in branch.nodes:
                    scope.names.setdefault(name, reference)
                    scope.hidden.pop(name, None)
        hidden = scope.names.get(branch.alias)
        if hidden is not None and hidden.node not in branch.nodes:
            self.say(where, f'the alias "{branch.alias}" hides {hidden.source}', "another alias", "warning")
        scope.names[branch.alias] = Reference("alias", branch.type, join, branch.alias, source=where)

    def hide(self, inners: list[tuple[Branch, _Scope]], scope: _Scope) -> None:
        """Names that only exist inside a branch, with the reason they are out of reach after it."""
        for branch, inner in inners:
            why = "is not joined" if branch.alias is None else "makes several rows of one"
            for name in inner.names.keys() - scope.names.keys():
                scope.hidden[name] = f'it is in branch "{branch.name}", which {why}'
            if branch.alias is None:
                scope.hidden.setdefault(
                    branch.name, f'branch "{branch.name}" is not joined: .join("{identifier(branch.name)}")'
                )


def _input_type(chain: Chain) -> Any:
    """What the chain takes: what it says, or what its first node takes; branches side by side share the first's."""
    if chain.input_model is not None:
        return chain.input_model
    item: Any = chain
    seen: set[int] = set()
    while id(item) not in seen:
        seen.add(id(item))
        if isinstance(item, Step):
            return item.input_model
        if isinstance(item, Apply):
            return item.shape.input_type
        inner = item.steps if isinstance(item, Chain | Branch) else item
        if not isinstance(inner, Sequence) or isinstance(inner, str) or not inner:
            return Any
        typed = [t for t in (_first_type(i) for i in inner) if t is not Any] if _is_group(inner) else []
        if typed:
            return typed[0]
        item = inner[0]
    return Any


def _is_group(items: Sequence[Any]) -> bool:
    return all(isinstance(item, Branch) for item in items)


def _first_type(branch: Branch) -> Any:
    return _input_type(Chain(name=branch.name, steps=branch.steps))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
