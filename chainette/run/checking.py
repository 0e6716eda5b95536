"""Everything that can be checked before an engine starts, in one pass. Starts nothing and writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pydantic import TypeAdapter

from chainette.chain import Chain
from chainette.devices import DevicesHere, devices_here
from chainette.engine import capabilities
from chainette.engine.backends import backend_of
from chainette.engine.live import warm_servers
from chainette.engine.standing import beside_others, others_on
from chainette.errors import ChainError, PlanError, Problem
from chainette.executor.apply_fit import device_misfits, process_problems, takes_devices
from chainette.files import folder_name
from chainette.graph import Graph, Node, build, type_name
from chainette.graph.loops import is_asked_one_by_one
from chainette.graph.nodes import CONTROL
from chainette.graph.signature import schema_of
from chainette.plan import Plan, make_plan
from chainette.prompts import CompiledPrompt, compile_prompts
from chainette.run.controls import ONE_BY_ONE, control_report, loops_of, shown_id
from chainette.run.options import RunOptions
from chainette.run.schemas import schema_problems, unenforced, with_grammars
from chainette.specs import Capabilities, EngineRegistry, EngineSpec, engines_here


@dataclass(frozen=True)
class Checked:
    """A chain that was looked at whole. `ok` says whether it may run."""

    graph: Graph
    plan: Plan
    prompts: Mapping[int, CompiledPrompt]
    registry: EngineRegistry
    """All engines that are configured, whether the chain names them or not."""
    problems: tuple[Problem, ...]
    """Errors first, then warnings, then notes."""

    @property
    def ok(self) -> bool:
        return not self.errors

    @property
    def errors(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.severity == "error"]

    @property
    def warnings(self) -> list[str]:
        return [str(problem) for problem in self.problems if problem.severity == "warning"]

    def require(self) -> None:
        """
        Raises:
            ChainError: with every error that was found.
            PlanError: nothing is wrong but that it does not fit on the devices.
        """
        errors = self.errors
        if errors and set(errors) <= set(self.plan.misfits):
            raise PlanError("\n".join(str(problem) for problem in errors))
        if errors:
            raise ChainError(errors)

    def report(self) -> dict[str, Any]:
        """All that `inspect` tells, ready for JSON."""
        return {
            "chain": self.graph.chain.name,
            "signature": self.graph.signature,
            "input": type_name(self.graph.input_type),
            "nodes": [self._node(node) for node in self.graph.shown],
            "engines": [
                {**spec.public(), "description": self.plan.capabilities[name].description}
                for name, spec in self.plan.engines.items()
            ],
            "plan": self.plan.public(),
            "problems": [
                {"where": p.where, "message": p.message, "hint": p.hint, "severity": p.severity} for p in self.problems
            ],
            "ok": self.ok,
        }

    def _node(self, node: Node) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "id": node.id,
            "kind": node.kind,
            "name": node.label,
            "after": [] if node.parent < 0 else [shown_id(self.graph, node.parent)],
            "input": type_name(node.input_type),
            "output": type_name(node.output_type),
            "intake": intake_words(node),
        }
        if node.kind == "step":
            engine = self.plan.engine_of.get(node.index)
            shown["engine"] = engine
            shown["sampling"] = node.step.sampling.given()
            shown["template_names"] = sorted(self.prompts[node.index].names) if node.index in self.prompts else []
            shown["schema"] = schema_of(node.step.output_model)
            shown["unenforced"] = unenforced(self.plan, node)
        elif node.kind == "apply":
            shown["shape"] = node.apply.shape.words
            if is_asked_one_by_one(node):
                shown["note"] = ONE_BY_ONE
        elif node.kind in CONTROL:
            shown |= control_report(self.graph, node)
        else:
            shown["branches"] = {branch.alias: type_name(branch.type) for branch in node.branches}
        if node.loops:
            shown["loops"] = loops_of(self.graph, node)
        return shown


def intake_words(node: Node) -> str:
    """How a row enters, in words; empty when it enters as it is."""
    intake = node.intake
    cast = f"cast from {type_name(intake.source_type)} to {type_name(node.input_type)}"
    if intake.how == "alias":
        return f'takes "{intake.alias}"' + (f", {cast}" if intake.cast else "")
    if intake.how == "fields":
        return "made of " + ", ".join(f"{name} ({_drawn(name, *source)})" for name, source in intake.fields.items())
    if intake.how == "wrap":
        return f'the list as its field "{intake.alias}"'
    return cast if intake.cast else ""


def _drawn(name: str, what: str, source: str) -> str:
    return what if source == name or not source else f'{what} "{source}"'


def check(chain: Chain, options: RunOptions | None = None) -> Checked:
    """Looks at the chain, its prompts and its engines. Nothing is raised for what is wrong with them: see `problems`.

    Raises:
        ChainError: an engines file that cannot be read.
    """
    options = options or RunOptions()
    chain = chain.for_params(options.params)
    graph, problems = build(chain)
    prompts, more = compile_prompts(graph)
    problems = [*problems, *more]
    registry, found = engines_here(options.engines_file, brought=_brought(graph))
    plan, more = make_plan(graph, registry, options.engines, _known, devices=partial(_devices, registry))
    if plan.misfits and (others := others_on(plan.devices)):
        more = [*more, Problem("devices", others, severity="note")]
    plan, unfit = _python_problems(graph, plan, registry)
    plan, chosen = with_grammars(graph, plan)
    problems += [*found, *more, *unfit, *chosen]
    for name, spec in plan.engines.items():
        for said in backend_of(spec).left_out(spec):
            problems.append(Problem(f'engine "{name}"', f"leaves out {said}", severity="warning"))
    problems += [problem for node in graph.steps for problem in schema_problems(plan, node)]
    problems += [problem for node in graph.steps for problem in _sampling_problems(plan, node)]
    problems += [problem for node in graph.shown for problem in _type_problems(node)]
    problems += _folder_problems(graph)
    ranks = {"error": 0, "warning": 1, "note": 2}
    problems.sort(key=lambda problem: ranks[problem.severity])
    return Checked(graph, plan, prompts, registry, tuple(dict.fromkeys(problems)))


def _brought(graph: Graph) -> list[EngineSpec | str]:
    """The engines of the chain and of those inside it; of two with one name the outer one's."""
    chains = graph.chains or (graph.chain,)
    named: dict[str, EngineSpec | str] = {}
    for engine in (engine for chain in chains for engine in chain.engines):
        name = engine if isinstance(engine, str) else engine.name
        if name not in named or isinstance(named[name], str):
            named[name] = engine
    return list(named.values())


def _python_problems(graph: Graph, plan: Plan, registry: EngineRegistry) -> tuple[Plan, list[Problem]]:
    """What worker processes cannot do, and the plan with the devices they may have."""
    if takes_devices(graph):
        devices = plan.devices or _devices(registry).devices
        misfits = device_misfits(graph, plan, devices)
        plan = replace(plan, devices=devices, misfits=(*plan.misfits, *misfits))
        return plan, [*process_problems(graph), *misfits]
    return plan, process_problems(graph)


def _sampling_problems(plan: Plan, node: Node) -> list[Problem]:
    name = plan.engine_of.get(node.index)
    if name is None:
        return []
    spec = plan.engines[name]
    said = backend_of(spec).unfit_sampling(spec, node.step.sampling)
    return [Problem(f'step "{node.id}"', f'engine "{name}" would refuse every row: {words}') for words in said]


def _known(spec: EngineSpec) -> Capabilities:
    """A warm engine has its devices already, and keeps them."""
    known = capabilities(spec)
    if known.on_devices and warm_servers(spec):
        return replace(known, on_devices=False, description=f"{known.description}, warm")
    return known


def _devices(registry: EngineRegistry) -> DevicesHere:
    here = devices_here(registry.declared_devices)
    return replace(here, devices=beside_others(here.devices))


def _type_problems(node: Node) -> list[Problem]:
    """Types that pydantic cannot work with: found now, and not when the first row comes."""
    where = f'{node.kind} "{node.id}"'
    problems = []
    for role, type_ in (("takes", node.input_type), ("gives", node.output_type)):
        try:
            TypeAdapter(type_)
        except Exception as error:  # pydantic raises several kinds, and so does a type's own schema hook
            problems.append(Problem(where, f"{role} {type_name(type_)}: {_first_line(error)}"))
    if node.kind == "step" and not problems:
        try:
            node.step.output_model.model_json_schema()
        except Exception as error:
            name = type_name(node.output_type)
            problems.append(Problem(where, f"{name} has no JSON schema to hold the model to: {_first_line(error)}"))
    return problems


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _folder_problems(graph: Graph) -> list[Problem]:
    """Ids that differ, but not as names of folders."""
    seen: dict[str, str] = {}
    problems = []
    for node in graph.shown:
        name = folder_name(node.id)
        if name in seen:
            message = f'would have the same folder as "{seen[name]}": {name}'
            problems.append(Problem(f'{node.kind} "{node.id}"', message, "another id"))
        seen[name] = node.id
    return problems
