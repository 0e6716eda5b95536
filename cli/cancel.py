"""`chainette cancel`: asks a run to stop and waits until it has. Knows the folder, not the process."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from chainette.cli.resume import Run
from chainette.cli.runs import RunsDir

Now = Annotated[bool, typer.Option("--now", help="Stop at once: calls in flight are given up.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it has stopped (yes).")]

_LOOK_S = 0.2
_PATIENCE_S = 60.0


def cancel(run: Run, now: Now = False, wait: Wait = True, runs_dir: RunsDir = "runs") -> None:
    """Stop a run from outside, also from another machine that sees its folder. `resume` goes on with it.

    chainette cancel last
    """
    from chainette.cli.wording import run_word
    from chainette.errors import RunFolderError
    from chainette.files.cancelling import ask_to_stop
    from chainette.files.reading import find_run
    from chainette.files.run_lock import describe_owner, is_held
    from chainette.files.runs import meant_run, summarise

    meant = meant_run(run, runs_dir)
    folder = find_run(meant)
    word = run_word(str(meant))
    if isinstance(meant, str) and not is_held(folder) and summarise(folder).state == "running":
        _ask_elsewhere(meant, now)
        return
    if not is_held(folder):
        state = summarise(folder).state
        hint = "" if state == "done" else f" (chainette resume {word} goes on with it)"
        raise RunFolderError(f"{folder.name} is not running: it is {state}{hint}")
    owner = describe_owner(folder)
    ask_to_stop(folder, now=now)
    sys.stderr.write(f"{folder.name}: asked {owner} to stop\n")
    began_s = time.monotonic()
    said = not wait
    while wait and is_held(folder):
        if not said and time.monotonic() - began_s > _PATIENCE_S:
            said = True
            sys.stderr.write(f"still waiting for what is in flight; at once: chainette cancel {word} --now\n")
        time.sleep(_LOOK_S)
    if wait:
        state = summarise(folder).state
        sys.stderr.write(f"{folder.name} is {state}\n")
        if state != "done":
            sys.stderr.write(f"  next    chainette resume {word}\n")


def _ask_elsewhere(url: str, now: bool) -> None:
    """A run on another machine, whose folder is a URL: it looks with its heartbeat."""
    from chainette.cli.wording import run_word
    from chainette.files.remote_reading import ask_remote_to_stop

    ask_remote_to_stop(url, now=now)
    sys.stderr.write(f"{url}: asked to stop; it looks every ten seconds\n  next    chainette show {run_word(url)}\n")
