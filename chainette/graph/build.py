"""Walks a chain once and makes its graph, collecting every problem on the way. Control flow is in `controls`."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Sequence
from typing import Any

from chainette.chain import Apply, Branch, Chain, Control, Step, Taking
from chainette.errors import Problem
from chainette.graph import controls
from chainette.graph.intake import choose_intake, gathered_shape, said_intake
from chainette.graph.nodes import CONTROL, INPUT_ID, Edge, Graph, Intake, JoinedBranch, Kind, Node, Reference
from chainette.graph.run_scope import lost_names, run_scope_problems
from chainette.graph.scope import Scope, identifier, spelling
from chainette.graph.signature import digest, signature_of
from chainette.graph.taken import input_type

RESERVED = {INPUT_ID, "row_id", "input"}


def build(chain: Chain) -> tuple[Graph, list[Problem]]:
    """The graph of `chain` and all that is wrong with it. With errors among the problems it is only for show."""
    walk = Walk(chain)
    last = walk.line(chain.steps, 0, Scope(), walk.outline, f'chain "{chain.name}"')
    if not any(node.decl for node in walk.nodes):
        walk.say(f'chain "{chain.name}"', "has no steps")
    _mark_results(walk.nodes, last)
    graph = Graph(
        chain=chain,
        nodes=tuple(walk.nodes),
        edges=tuple(tuple(edges) for edges in walk.edges),
        last=last,
        outline=walk.outline,
        signature=digest(*(node.signature for node in walk.nodes)),
        chains=tuple(walk.chains),
    )
    return graph, walk.problems


def _mark_results(nodes: list[Node], last: int) -> None:
    """Which control flow is written: what makes rows of its own, and what gives the chain's result."""
    result = nodes[last].head if nodes[last].kind == "merge" else last
    for node in nodes:
        if node.kind == "scan" or (node.index == result and node.kind in CONTROL):
            nodes[node.index] = dataclasses.replace(node, result=True)


class Walk:
    def __init__(self, chain: Chain) -> None:
        self.problems: list[Problem] = []
        self.outline: list[Any] = []
        self.inside: list[Any] = [chain]
        self.chains: list[Chain] = [chain]
        self.ids: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
        type_ = input_type(chain)
        self.nodes: list[Node] = [
            Node(0, INPUT_ID, "input", -1, None, type_, type_, Intake(), {}, {}, signature=digest("input"))
        ]
        self.edges: list[list[Edge]] = [[]]

    def say(self, where: str, message: str, hint: str = "", severity: str = "error") -> None:
        self.problems.append(Problem(where, message, hint, severity))

    def line(self, items: Sequence[Any], upstream: int, scope: Scope, outline: list[Any], where: str) -> int:
        """Adds `items` after `upstream`; returns the node whose rows come out at the end."""
        if not items:
            if where.startswith("branch") or len(self.inside) > 1:
                self.say(where, "has no steps")
            return upstream
        for item in items:
            upstream = self.item(item, upstream, scope, outline, where)
        return upstream

    def item(self, item: Any, upstream: int, scope: Scope, outline: list[Any], where: str) -> int:
        """Adds one of what `steps` may hold."""
        if isinstance(item, Taking):
            if isinstance(item.node, Step | Apply):
                upstream = self.node(item.node, upstream, scope, item.source)
                outline.append(self.nodes[upstream].id)
                return upstream
            return self.item(item.node, self.rebase(item, upstream, scope, where), scope, outline, where)
        if isinstance(item, Step | Apply):
            upstream = self.node(item, upstream, scope)
            outline.append(self.nodes[upstream].id)
            return upstream
        if isinstance(item, Control):
            return controls.add(self, item, upstream, scope, outline)
        if isinstance(item, Chain):
            return self.inner_chain(item, upstream, scope, outline)
        if isinstance(item, Branch):
            return self.group([item], upstream, scope, outline, where)
        if isinstance(item, Sequence) and not isinstance(item, str):
            return self.group(item, upstream, scope, outline, where)
        known = "steps hold Step, apply(…), [Branch…], Chain, cond(…) and the like"
        hint = f"apply({getattr(item, '__name__', 'fn')})" if callable(item) else known
        self.say(where, f"{short(item)} is not a step", hint)
        return upstream

    def inner_chain(self, chain: Chain, upstream: int, scope: Scope, outline: list[Any]) -> int:
        if any(chain is other for other in self.inside):
            names = " -> ".join(str(c.name) for c in [*self.inside, chain])
            self.say(f'chain "{chain.name}"', f"contains itself: {names}", "a chain cannot be a cycle")
            return upstream
        self.inside.append(chain)
        self.chains.append(chain)
        chains = (*scope.chains, len(self.chains) - 1)
        inner = scope.inner(prefix=f"{scope.prefix}{chain.name}/", chains=chains)
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

    def node(self, decl: Step | Apply, upstream: int, scope: Scope, source: Any = None) -> int:
        """`source` says what the node takes, where that is not found by type."""
        kind: Kind = "step" if isinstance(decl, Step) else "apply"
        id = self.take_id(decl, scope)
        where = f'{kind} "{id}"'
        before = self.nodes[upstream]
        if isinstance(decl, Apply):
            decl = gathered_shape(decl, before.output_type)
        wanted = decl.input_model if isinstance(decl, Step) else decl.shape.input_type
        intake, problems = choose_intake(self.nodes, upstream, wanted, where)
        upstream_signature: tuple[str, ...] = (before.signature,)
        if source is not None:
            said, problems = said_intake(self.nodes, upstream, wanted, source, where)
            if said != intake:
                upstream_signature = (before.signature, digest(source))
            intake = said
        self.problems += problems
        output = decl.output_model if isinstance(decl, Step) else decl.shape.output_type
        if isinstance(decl, Apply) and not decl.shape.declared and output is Any:
            output = intake.source_type
        index = self.append(
            Node(
                index=len(self.nodes),
                id=id,
                kind=kind,
                parent=upstream,
                decl=decl,
                input_type=wanted,
                output_type=output,
                intake=intake,
                visible=dict(scope.names),
                hidden=dict(scope.hidden),
                depth=before.depth + 1,
                main=scope.main,
                signature=signature_of(decl, upstream_signature),
                loops=scope.loops,
                chains=scope.chains,
            ),
            upstream,
        )
        if isinstance(decl, Apply) and decl.scope == "run":
            self.problems += run_scope_problems(self.nodes, self.nodes[index])
            scope.expands.clear()
            scope.hidden.update(lost_names(self.nodes[index], scope.names))
            scope.names = {name: known for name, known in scope.names.items() if name not in scope.hidden}
        self.see(self.nodes[index], scope)
        return index

    def rebase(self, item: Taking, upstream: int, scope: Scope, where: str) -> int:
        """A node whose rows are what `item` takes, for control flow and chains, which take rows as they come."""
        wanted = Any if isinstance(item.source, str) else input_type(item.node)
        intake, problems = said_intake(self.nodes, upstream, wanted, item.source, where)
        self.problems += problems
        index = self.entry(f"{scope.prefix}take", upstream, scope)
        type_ = wanted if intake.how == "fields" else intake.source_type
        self.nodes[index] = dataclasses.replace(
            self.nodes[index], kind="take", intake=intake, input_type=wanted, output_type=type_,
            signature=digest("take", self.nodes[upstream].signature, item.source),
        )  # fmt: skip
        return index

    def append(self, node: Node, *sources: int) -> int:
        """Adds a node to which the rows of `sources` go."""
        self.nodes.append(node)
        self.edges.append([])
        for source in sources:
            self.edges[source].append(Edge(node.index))
        return node.index

    def see(self, node: Node, scope: Scope) -> None:
        """What a node's result and reasoning are called from here on."""
        decl, name = node.decl, identifier(node.id)
        source = f'{node.kind} "{node.id}"'
        scope.names[name] = Reference("value", node.output_type, node.index, source=source)
        scope.hidden.pop(name, None)
        if isinstance(decl, Step):
            scope.names[f"{name}_reasoning"] = Reference("reasoning", str | None, node.index, source=source)
        if makes_several(node):
            scope.many = True
            scope.expands.append(node.index)

    def take_id(self, decl: Step | Apply | Control, scope: Scope) -> str:
        id = scope.prefix + decl.id
        kind = decl.kind if isinstance(decl, Control) else "step" if isinstance(decl, Step) else "apply"
        where = f'{kind} "{id}"'
        if not isinstance(decl, Step) and not decl.named:
            id = self.free_id(id)
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

    def free_id(self, id: str) -> str:
        """`id`, or where that is taken `id_2`, `id_3`, …"""
        number, plain = 2, id
        while spelling(id) in self.ids:
            id, number = f"{plain}_{number}", number + 1
        return id

    def group(self, branches: Sequence[Any], upstream: int, scope: Scope, outline: list[Any], where: str) -> int:
        """Branches side by side, and the join after them when any is joined."""
        if not branches:
            self.say(where, "an empty list of branches")
            return upstream
        drawn: list[Any] = []
        joined: list[JoinedBranch] = []
        entries: list[tuple[int, int]] = []
        inners: list[tuple[Branch, Scope]] = []
        for branch in branches:
            if not isinstance(branch, Branch):
                hint = 'Branch(name="…", steps=[…])'
                self.say(where, f"a list inside steps holds branches, not {short(branch)}", hint)
                continue
            if any(spelling(branch.name) == spelling(other.name) for other, _ in inners):
                self.say(where, f'two branches side by side are called "{branch.name}"')
            items: list[Any] = []
            drawn.append({"name": branch.name, "alias": branch.alias, "items": items})
            entry = self.entry(f"{scope.prefix}{branch.name}", upstream, scope, linked=False, main=False)
            inner = scope.aside()
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

    def entry(
        self,
        name: str,
        upstream: int,
        scope: Scope,
        *,
        linked: bool = True,
        main: bool | None = None,
    ) -> int:
        """The node by which rows enter a branch, a way or a body, so that what hangs on its rows is its own."""
        id = f"{name}//{len(self.nodes)}"  # no user can type it
        node = self.between("branch", id, upstream, scope, main=scope.main if main is None else main)
        return self.append(node, *([upstream] if linked else []))

    def joined(self, branch: Branch, entry: int, last: int, inner: Scope, joined: list[JoinedBranch]) -> None:
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

    def between(self, kind: Kind, id: str, parent: int, scope: Scope, **more: Any) -> Node:
        """A node after `parent` that lets its rows through as they are, but for what `more` says."""
        before = self.nodes[parent]
        node = Node(
            index=len(self.nodes),
            id=id,
            kind=kind,
            parent=parent,
            decl=None,
            input_type=before.output_type,
            output_type=before.output_type,
            intake=Intake(),
            visible={},
            hidden={},
            depth=before.depth,
            main=scope.main,
            signature=before.signature,
            loops=scope.loops,
            chains=scope.chains,
        )
        return dataclasses.replace(node, **more)

    def join_node(self, upstream: int, joined: list[JoinedBranch], scope: Scope, inners: dict[str, Scope]) -> int:
        id = self.free_id(scope.prefix + "join_" + "_".join(branch.alias for branch in joined))
        self.ids[spelling(id)] = id
        lasts = [self.nodes[branch.last] for branch in joined]
        signature = signature_of(None, (self.nodes[upstream].signature, *(last.signature for last in lasts)))
        depth = max(last.depth for last in lasts) + 1
        index = self.append(
            self.between("join", id, upstream, scope, branches=tuple(joined), depth=depth, signature=signature)
        )
        for branch in joined:
            self.see_branch(branch, index, scope, inners[branch.alias])
        return index

    def see_branch(self, branch: JoinedBranch, join: int, scope: Scope, inner: Scope) -> None:
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

    def hide(self, inners: list[tuple[Branch, Scope]], scope: Scope) -> None:
        """Names that only exist inside a branch, with the reason they are out of reach after it."""
        for branch, inner in inners:
            why = "is not joined" if branch.alias is None else "makes several rows of one"
            for name in inner.names.keys() - scope.names.keys():
                scope.hidden[name] = f'it is in branch "{branch.name}", which {why}'
            if branch.alias is None:
                scope.hidden.setdefault(
                    branch.name, f'branch "{branch.name}" is not joined: .join("{identifier(branch.name)}")'
                )


def makes_several(node: Node) -> bool:
    """Whether the node makes several rows of one, which a `gather` may undo."""
    if isinstance(node.decl, Step):
        return node.decl.samples > 1
    return isinstance(node.decl, Apply) and node.decl.shape.makes == "many" and node.decl.scope == "chunk"


def short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
