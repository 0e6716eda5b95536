"""`chainette kill`: ends warm engines. Knows the state folder's records, not what the servers do."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from chainette.cli.warmup import Names


def kill(
    engine: Names = None,
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """End warm engines with their whole process tree. Engines that a run has started end with the run.

    chainette kill -e llama3
    """
    from chainette.cli.output import write_json
    from chainette.cli.target import wrong_call
    from chainette.cli.wording import one_line
    from chainette.engine.warm import end_servers

    if bool(engine) == every:
        raise wrong_call("--engine", "name the engines to end, or all of them", "-e NAME or --all", command="kill")
    ended, left = end_servers(engine)
    for one in ended if not as_json else ():
        sys.stderr.write(f"ended {one_line(one.name)} (process {one.pid})\n")
    of_runs = {one.name: one.owner_pid for one in left}
    for name, owner in of_runs.items():
        sys.stderr.write(f"{one_line(name)} belongs to process {owner} and ends with it (chainette cancel RUN)\n")
    if as_json:
        write_json([{"name": one.name, "replica": one.replica, "pid": one.pid} for one in ended])
        return
    for name in engine or ():
        if not any(one.name == name for one in (*ended, *left)):
            sys.stderr.write(f"{one_line(name)} is not running\n")
    if every and not ended and not left:
        sys.stderr.write("no engine is running\n")
