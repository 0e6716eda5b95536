"""Binds steps to engines and engines to devices, and groups nodes into stages. Judges what is declared and what the
machine has, never what is alive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chainette.chain import Step
from chainette.devices import Demand, Device, DevicesHere, Placement, demand_of, place, shortage
from chainette.errors import ChainError, PlanError, Problem, nearest
from chainette.graph import Graph, Node
from chainette.plan.stages import Stage, loop_groups, make_stages, stages_without_devices
from chainette.specs import Capabilities, EngineRegistry, EngineSpec


@dataclass(frozen=True)
class Plan:
    """Which engine serves which step, on which devices, and which engines are there together."""

    engines: Mapping[str, EngineSpec]
    """By name, in the order the chain first needs them."""
    capabilities: Mapping[str, Capabilities]
    engine_of: Mapping[int, str]
    """Step's node index -> engine name."""
    leases: Mapping[str, int]
    """How many steps hold each engine."""
    stages: tuple[Stage, ...]
    stage_of: Mapping[int, int] = field(default_factory=dict)
    """Node's index -> position of its stage in `stages`."""
    demands: Mapping[str, Demand] = field(default_factory=dict)
    """What each engine that takes devices asks for."""
    devices: tuple[Device, ...] = ()
    """What there is to place them on; empty when no engine takes any."""
    misfits: tuple[Problem, ...] = ()
    """Why the machine cannot do it. They are among the problems too."""

    @property
    def placements(self) -> dict[str, Placement]:
        """Where each engine is when it is first on devices; in nearly every plan that is where it always is."""
        return {name: at for stage in reversed(self.stages) for name, at in stage.placements.items()}

    @property
    def total_loads(self) -> int:
        return sum(len(stage.loads) for stage in self.stages)

    def public(self) -> dict[str, Any]:
        """As it stands in `graph.json`."""
        return {
            "stages": [
                {
                    "nodes": list(stage.nodes),
                    "engines": list(stage.engines),
                    "placements": {name: [list(replica) for replica in at] for name, at in stage.placements.items()},
                    "loads": list(stage.loads),
                    "rests": list(stage.rests),
                    "why": stage.why,
                    **({"barrier": stage.barrier} if stage.barrier else {}),
                }
                for stage in self.stages
            ],
            "leases": dict(self.leases),
            "shares": {name: demand.share for name, demand in self.demands.items()},
            "devices": [{"index": d.index, "name": d.name, "memory_bytes": d.memory_bytes} for d in self.devices],
            "total_loads": self.total_loads,
        }


def make_plan(
    graph: Graph,
    registry: EngineRegistry,
    overrides: Mapping[str, str],
    capabilities: Callable[[EngineSpec], Capabilities],
    *,
    devices: DevicesHere | Callable[[], DevicesHere] | None = None,
) -> tuple[Plan, list[Problem]]:
    """The plan, and what is wrong with the engines the steps name or with the room there is for them.

    `overrides` maps step ids to engine names and comes before what the steps say. `devices`, as a function, is asked
    only when an engine takes some.
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
    hosted = [spec for name, spec in engines.items() if known[name].on_devices]
    here = _look(devices) if hosted else DevicesHere((), "")
    demands, misfits = _demands(hosted, known, here)
    misfits += _loops_that_do_not_fit(graph, engine_of, demands, here.devices)
    if misfits or not demands:
        stages, stage_of = stages_without_devices(graph, engine_of)
    else:
        stages, stage_of = make_stages(graph, engine_of, demands, here.devices)
    plan = Plan(engines, known, engine_of, leases, stages, stage_of, demands, here.devices, tuple(misfits))
    return plan, [*problems, *misfits, *_tight(plan)]


def _look(devices: DevicesHere | Callable[[], DevicesHere] | None) -> DevicesHere:
    if devices is None:
        return DevicesHere((), "nobody looked for devices")
    return devices() if callable(devices) else devices


def _demands(
    hosted: list[EngineSpec], known: Mapping[str, Capabilities], here: DevicesHere
) -> tuple[dict[str, Demand], list[Problem]]:
    """What the engines ask of the devices, and why some could not get it even alone."""
    demands: dict[str, Demand] = {}
    misfits: list[Problem] = []
    for spec in hosted:
        if not here.devices and known[spec.name].on_cpu:
            continue
        where = f'engine "{spec.name}"'
        try:
            demand = demand_of(spec)
        except PlanError as error:
            misfits.append(Problem("", str(error)))
            continue
        if not here.devices and known[spec.name].ready:
            continue  # it cannot be used here anyhow, and that is said
        if not here.devices:
            misfits.append(Problem(where, f"runs on devices, and there are none here: {here.said}", _NO_DEVICES))
        elif place([demand], here.devices) is None:
            misfits.append(Problem(where, f"does not fit: {shortage([demand], here.devices)}"))
        else:
            demands[spec.name] = demand
    return demands, misfits


def _loops_that_do_not_fit(
    graph: Graph, engine_of: Mapping[int, str], demands: Mapping[str, Demand], devices: tuple[Device, ...]
) -> list[Problem]:
    """Loops whose rows would go round between engines that are never there together."""
    misfits = []
    for steps in loop_groups([node for node in graph.steps if node.index in engine_of]):
        names = dict.fromkeys(engine_of[node.index] for node in steps)
        wanted = [demands[name] for name in names if name in demands]
        if len(wanted) < 2 or place(wanted, devices) is not None:
            continue
        head = graph.nodes[steps[0].loops[0]]
        said = f"rows go round between its steps, so their engines must fit together: {shortage(wanted, devices)}"
        misfits.append(Problem(f'{head.kind} "{head.id}"', said, _LOOP_TOO_LARGE))
    return misfits


_LOOP_TOO_LARGE = "a smaller `gpu_memory_utilization`, one engine for its steps (--engine STEP=NAME), or more devices"

_NO_DEVICES = (
    "`endpoint: URL` uses a server that runs elsewhere, a vLLM built for the CPU needs none, and `devices: 1` in the "
    "engines file declares one that is not found; `chainette devices` shows what is"
)


def _tight(plan: Plan) -> list[Problem]:
    """Devices whose memory others use so much of that an engine may not start."""
    devices = {device.index: device for device in plan.devices}
    found = []
    for name, replicas in plan.placements.items():
        share = plan.demands[name].share
        for device in (devices[index] for index in sorted({index for replica in replicas for index in replica})):
            if device.memory_bytes is None or device.free_bytes is None:
                continue
            wanted = share * device.memory_bytes
            if device.free_bytes < wanted:
                free, whole = _gib(device.free_bytes), _gib(device.memory_bytes)
                message = f"takes {share:g} of {device.label} ({_gib(wanted)} of {whole}), where only {free} are free"
                hint = f"a lower `gpu_memory_utilization`, or end what uses {device.label}"
                found.append(Problem(f'engine "{name}"', message, hint, "warning"))
    return found


def _gib(bytes: float) -> str:
    return f"{bytes / 2**30:.1f} GiB"


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
    if step.lora is not None and (said := spec.adapter_problem(step.lora)):
        problems.append(Problem(where, said))
    if step.images is not None and not known.images:
        problems.append(Problem(where, f'engine "{spec.name}" ({spec.backend}) takes no images'))
    return problems
