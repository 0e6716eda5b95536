"""Whether Python steps can run as they are declared: what worker processes must be able to import, their devices.

Judges before anything is started; starts nothing.
"""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any, get_args

from chainette.chain import Apply
from chainette.chain.shape import type_name
from chainette.chain.source import innermost
from chainette.devices import Device
from chainette.errors import Problem
from chainette.graph import Graph, Node
from chainette.plan import Plan

_TOP = "define it at the top of a module"


def workers_of(apply: Apply) -> int:
    """How many worker processes it has."""
    if apply.replicas is not None:
        return apply.replicas
    return 1 if apply.built is not None else os.cpu_count() or 1


def process_problems(graph: Graph) -> list[Problem]:
    """What worker processes could not do."""
    return [problem for node in graph.nodes if _in_processes(node) for problem in _unfit(node)]


def device_misfits(graph: Graph, plan: Plan, devices: tuple[Device, ...]) -> list[Problem]:
    """Why there are not enough devices for the workers that take some, with the arithmetic."""
    takers = [node for node in graph.nodes if _in_processes(node) and node.apply.gpus]
    if not takers:
        return []
    wanted = sum(_devices_wanted(node.apply) for node in takers)
    free = _free(plan, devices)
    if wanted <= len(free):
        return []
    asked = " + ".join(f'"{node.id}" {workers_of(node.apply)} × {node.apply.gpus}' for node in takers)
    taken = len(devices) - len(free)
    message = (
        f"{asked} = {wanted} devices for worker processes, but there are {len(free)}: {len(devices)} here, "
        f"{taken} with engines on them"
    )
    return [Problem(f'apply "{takers[0].id}"', message, "fewer replicas or gpus, or engines on fewer devices")]


def devices_of(graph: Graph, plan: Plan) -> dict[int, list[str]]:
    """Per apply that takes devices, by its node's index, what CUDA_VISIBLE_DEVICES says in each of its workers."""
    free = [device.visible or str(device.index) for device in _free(plan, plan.devices)]
    found: dict[int, list[str]] = {}
    for node in graph.nodes:
        if _in_processes(node) and node.apply.gpus:
            gpus = node.apply.gpus
            mine, free = free[: _devices_wanted(node.apply)], free[_devices_wanted(node.apply) :]
            found[node.index] = [",".join(mine[start : start + gpus]) for start in range(0, len(mine), gpus)]
    return found


def takes_devices(graph: Graph) -> bool:
    """Whether a worker process takes any."""
    return any(_in_processes(node) and node.apply.gpus for node in graph.nodes)


def modules_of(graph: Graph) -> tuple[tuple[str, str], ...]:
    """(Name, file) of the modules that hold functions and types of the chain."""
    named: dict[str, str] = {}
    for node in graph.nodes:
        things = [node.input_type, node.output_type]
        if isinstance(node.decl, Apply):
            things.append(innermost(node.decl.fn))
        for thing in things:
            for part in (thing, *get_args(thing)):
                name = getattr(part, "__module__", None) or type(part).__module__
                file = getattr(sys.modules.get(name), "__file__", None)
                if name not in ("__main__", "builtins") and file is not None:
                    named[name] = file
    return tuple(named.items())


def _in_processes(node: Node) -> bool:
    return isinstance(node.decl, Apply) and node.decl.workers == "process"


def _devices_wanted(apply: Apply) -> int:
    return workers_of(apply) * apply.gpus


def _free(plan: Plan, devices: tuple[Device, ...]) -> list[Device]:
    """Devices that no engine is ever placed on."""
    taken = {index for stage in plan.stages for at in stage.placements.values() for replica in at for index in replica}
    return [device for device in devices if device.index not in taken and not device.taken]


def _unfit(node: Node) -> list[Problem]:
    where, fn = f'apply "{node.id}"', node.apply.fn
    target = innermost(fn)
    name = getattr(target, "__qualname__", None) or type(target).__qualname__
    module = getattr(target, "__module__", None) or type(target).__module__
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    if main is not None and not Path(main).exists():
        hint = "run a script, or chainette run file.py:chain"
        return [Problem(where, f"worker processes cannot be started from {main}, which is no file", hint)]
    if module == "__main__" and main is None:
        message = f"{name} is of a notebook or of a session that is no file, so worker processes cannot import it"
        return [Problem(where, message, f"{_TOP} (a .py file) and import it here")]
    try:
        pickle.dumps(fn)
    except Exception as error:  # pickle raises several kinds, and so do the objects it meets
        message = f"{name} cannot be sent to worker processes: {type(error).__name__}: {error}"
        return [Problem(where, message, _TOP)]
    found = []
    taken = node.intake.source_type if node.input_type is Any else node.input_type
    for type_ in dict.fromkeys([*_not_importable(taken), *_not_importable(node.output_type)]):
        if "<locals>" in type_.__qualname__:
            message, hint = f"{type_name(type_)} is made inside a function", _TOP
        elif type_ in _not_importable(taken):
            stands = f"{_TOP}, and name it module:{type_.__name__}"
            message, hint = f"{type_name(type_)} is no class of a module, but of {type_.__module__}", stands
        else:  # what a function gives may be made of a mapping, once it is back
            continue
        found.append(Problem(where, f"{message}, so worker processes cannot import it", hint))
    return found


def _not_importable(type_: Any) -> list[type]:
    """The classes in a type that pickle does not find by their names."""
    found = [one for part in get_args(type_) for one in _not_importable(part)]
    if isinstance(type_, type) and not get_args(type_):
        try:
            pickle.dumps(type_)
        except Exception:  # pickle raises several kinds
            found.append(type_)
    return found
