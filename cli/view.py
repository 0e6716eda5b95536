"""`chainette view`: the run browser, a local web page. Knows the address and the terminal, not the pages."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from chainette.cli.runs import RunsDir

if TYPE_CHECKING:
    from chainette.view.site import Site

LOOPBACK = "127.0.0.1"


def view(
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="A run, or a folder of runs; without one, all runs.", show_default=False),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, metavar="N", help="Else the first free one from 8377 on.")
    ] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not start a browser.")] = False,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="Where to listen; others than this machine's own can be reached by other people."
        ),
    ] = LOOPBACK,
    runs_dir: RunsDir = "runs",
) -> None:
    """Look at runs in the browser: progress, rows, prompts, failures, two runs side by side. Ends with Ctrl-C."""
    import asyncio
    import contextlib

    from chainette.view.guard import Guard
    from chainette.view.server import listening_socket, may_write, serve

    site = _site(run, runs_dir)
    guard = Guard(site.token, host, may_write=may_write)
    opened = listening_socket(host, port)
    number = opened.getsockname()[1]

    def ready() -> None:
        _greet(site, host, number)
        if not no_open and _has_display():
            import threading
            import webbrowser

            address = f"{_base(host, number)}/?token={guard.ticket()}"
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(site, guard, opened, _complain, ready))
    sys.stdout.write("\nclosed\n")
    if site.busy:
        # A thread that still goes through millions of rows for a page that nobody sees would be waited for.
        sys.stdout.flush()
        os._exit(0)


def _site(run: str | None, runs_dir: str) -> Site:
    from chainette.errors import RunFolderError
    from chainette.files.remote_names import as_path, is_remote
    from chainette.view.site import Site

    if run is not None and _is_folder_of_runs(run):
        runs_dir = run if is_remote(run) else str(as_path(run))
    elif run is not None:
        from chainette.cli.show import found_run

        return Site(runs_dir, only=found_run(run, runs_dir).absolute())
    if not is_remote(runs_dir) and not as_path(runs_dir).is_dir():
        error = RunFolderError(f"there is no folder {runs_dir}")
        error.add_note(
            "next: chainette run module:chain -i INPUT makes a run; chainette view --runs-dir DIR shows others"
        )
        raise error
    return Site(runs_dir if is_remote(runs_dir) else str(as_path(runs_dir)))


def _is_folder_of_runs(name: str) -> bool:
    """Whether a folder is meant that is no run; what is no folder at all is taken to be a run's name."""
    from chainette.errors import RunFolderError
    from chainette.files.reading import RunReader
    from chainette.files.remote_names import as_path, is_remote
    from chainette.files.runs import is_run_folder

    if not is_remote(name):
        path = as_path(name)
        return path.is_dir() and not is_run_folder(path)
    try:
        RunReader(name)
    except RunFolderError:
        return True
    return False


def _greet(site: Site, host: str, port: int) -> None:
    from chainette.cli.wording import one_line
    from chainette.view.guard import is_loopback

    out = sys.stdout
    out.write(f"{one_line(site.place)} at {_base(host, port)}/?token={site.token}\n")
    if not is_loopback(host):
        out.write(
            f"warning: --host {one_line(host)} lets other machines reach this page. The token keeps them out, but it "
            "and the rows travel unencrypted; ssh -L is the safe way\n"
        )
    elif os.environ.get("SSH_CONNECTION"):
        out.write(f"on your own machine: ssh -L {port}:127.0.0.1:{port} {_here()}   then open the address there\n")
    out.write("Ctrl-C ends it\n")
    out.flush()


def _here() -> str:
    """What `ssh` was told to come here, as well as it can be known."""
    import getpass
    import socket

    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):
        return socket.gethostname()


def _base(host: str, port: int) -> str:
    shown = {"0.0.0.0": LOOPBACK, "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def _has_display() -> bool:
    """Whether a browser that is started here would be seen. Without one, a text browser would take the terminal."""
    if sys.platform in ("darwin", "win32"):
        return not os.environ.get("SSH_CONNECTION")
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _complain(error: Exception) -> None:
    from chainette.cli.trouble import bewail

    bewail(error, sys.stderr)
