"""Binds steps to engines and groups nodes into stages. Judges what is declared, never what is alive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chainette.chain import Step
from chainette.errors import ChainError, Problem, nearest
from chainette.graph import Graph, Node
from chainette.specs import Capabilities, EngineRegistry, EngineSpec


@dataclass(frozen=True)
class Stage:
    """Nodes whose engines live together. Chunks stream within a stage."""

    nodes: tuple[str, ...]
    engines: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Which engine serves which step, and which engines are needed together."""

    engines: Mapping[str, EngineSpec]
    """By name, in the order the chain first needs them."""
    capabilities: Mapping[str, Capabilities]
    engine_of: Mapping[int, str]
    """Step's node index -> engine name."""
    leases: Mapping[str, int]
    """How many steps hold each engine."""
    stages: tuple[Stage, ...]

    def public(self) -> dict[str, Any]:
        """As it stands in `graph.json`."""
        return {
            "stages": [{"nodes": list(stage.nodes), "engines": list(stage.engines)} for stage in self.stages],
            "leases": dict(self.leases),
        }


def make_plan(
    graph: Graph,
    registry: EngineRegistry,
    overrides: Mapping[str, str],
    capabilities: Callable[[EngineSpec], Capabilities],
) -> tuple[Plan, list[Problem]]:
    """The plan, and what is wrong with the engines the steps name.

    `overrides` maps step ids to engine names and comes before what the steps say.
    """
    problems = [
        Problem(f"--engine {id}=…", f'no step "{id}"', nearest(id, [node.id for node in graph.steps]))
        for id in overrides
        if id not in {node.id for node in graph.steps}
    ]
    engines: dict[str, EngineSpec] = {}
    known: dict[str, Capabilities] = {}
    engine_of: dict[int, str] = {}
    leases: dict[str, int] = {}
    for node in graph.steps:
        try:
            spec = _spec_for(node, registry, overrides)
        except ChainError as error:
            problems += [Problem(f'step "{node.id}"', _said(p), p.hint) for p in error.problems]
            continue
        if spec.name not in engines:
            engines[spec.name] = spec
            known[spec.name] = capabilities(spec)
            if known[spec.name].ready:
                problems.append(Problem(f'engine "{spec.name}"', known[spec.name].ready))
        problems += _unsupported(node, spec, known[spec.name])
        engine_of[node.index] = spec.name
        leases[spec.name] = leases.get(spec.name, 0) + 1
    ids = tuple(node.id for node in graph.nodes if node.kind != "branch")
    return Plan(engines, known, engine_of, leases, (Stage(ids, tuple(engines)),)), problems


def _spec_for(node: Node, registry: EngineRegistry, overrides: Mapping[str, str]) -> EngineSpec:
    name = overrides.get(node.id, node.step.engine_name)
    return registry.default() if name is None else registry.get(name)


def _said(problem: Problem) -> str:
    return f"{problem.where}: {problem.message}" if problem.where else problem.message


def _unsupported(node: Node, spec: EngineSpec, known: Capabilities) -> list[Problem]:
    step: Step = node.step
    where = f'step "{node.id}"'
    wrong = sorted(set(step.sampling.given()) - known.sampling - {"n"})
    problems = [
        Problem(where, f'sampling field "{name}" is not supported by engine "{spec.name}" ({spec.backend})')
        for name in wrong
    ]
    if step.samples > 1 and "n" not in known.sampling:
        problems.append(Problem(where, f'n={step.samples} is not supported by engine "{spec.name}" ({spec.backend})'))
    if step.images is not None and not known.images:
        problems.append(Problem(where, f'engine "{spec.name}" ({spec.backend}) takes no images'))
    return problems
