"""`chainette warmup`: starts engines that stay. Knows the files they are named in, not how they are started."""

from __future__ import annotations

import sys
import threading
import time
from typing import Annotated, Any

import typer

from chainette.cli.inspect import EnginesFile

Names = Annotated[
    list[str] | None,
    typer.Option("--engine", "-e", metavar="NAME", show_default=False, help="Only this one; may be given again."),
]


def warmup(
    engines: EnginesFile = None,
    engine: Names = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Start engines that outlive the command; runs with the same spec use them. Twice is once, a changed spec restarts.

    chainette warmup -f engines.yml -e llama3
    """
    from chainette.cli.output import write_json
    from chainette.cli.wording import one_line, seconds
    from chainette.devices import devices_here
    from chainette.engine.grammars import grammars
    from chainette.engine.warm import warm_up
    from chainette.errors import ChainError
    from chainette.specs import engines_here

    registry, problems = engines_here(engines)
    if problems:
        raise ChainError(problems)
    specs = [registry.get(name) for name in dict.fromkeys(engine or _all_of_ours(registry, engines))]
    records = []
    for spec in specs:
        began_s = time.monotonic()

        def say(why: str, name: str = spec.name) -> None:
            sys.stderr.write(f"starting {one_line(name)}{f': {why}' if why else ''}\n")

        # What the installed grammars can do is tried once; better now than when the first run waits for it.
        threading.Thread(target=grammars, args=(spec,), daemon=True).start()
        live, started = warm_up(spec, lambda: devices_here(registry.declared_devices).devices, say)
        took = f"in {seconds(time.monotonic() - began_s)}" if started else "already"
        where = ", ".join(dict.fromkeys(one.url for one in live))
        sys.stderr.write(f"{one_line(spec.name)} is warm {took}: {where}\n")
        records.append({"name": spec.name, "started": started, "replicas": [_record(one) for one in live]})
    if as_json:
        write_json(records)
    else:
        sys.stderr.write("  list    chainette engines\n  end     chainette kill --all\n")


def _record(one: Any) -> dict[str, Any]:
    return {"pid": one.pid, "url": one.url, "devices": list(one.devices), "log": one.log}


def _all_of_ours(registry: Any, file: str | None) -> list[str]:
    """The engines of the file that are servers of ours on devices."""
    from chainette.cli.target import wrong_call
    from chainette.engine import capabilities

    names = [name for name in registry.names() if capabilities(registry.get(name)).on_devices]
    if not names:
        where = file or "engines.yml"
        raise wrong_call("--engine", f"{where} names no engine to start on devices", "-e NAME", command="warmup")
    return names
