"""`chainette init`: a project to start from. Knows where the templates are, not what stands in them."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

_FILES = ("chain.py", "inputs.jsonl", "engines.yml", "README.md")


def init(
    directory: Annotated[str, typer.Argument(metavar="[DIR]", help="Where; made if it is not there.")] = ".",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Write a project to start from: a chain, an input, engines.yml."""
    if not directory.strip():
        raise _refused('""', "is no name for a folder")
    folder = Path(directory)
    if folder.exists() and not folder.is_dir():
        raise _refused(folder, "is not a folder")
    there = [name for name in _FILES if (folder / name).exists()]
    if there:
        raise _refused(folder / there[0], "is there already, and nothing is overwritten")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            with (folder / name).open("x", encoding="utf-8", newline="\n") as file:
                file.write(template(name))
    except OSError as error:
        raise _refused(error.filename or folder, f"cannot be written: {error.strerror}") from None
    command = "chainette run chain.py:chain -i inputs.jsonl"
    if as_json:
        from chainette.cli.output import write_json

        write_json({"folder": str(folder), "files": list(_FILES), "next": command})
        return
    for name in _FILES:
        sys.stdout.write(f"wrote {folder / name}\n")
    enter = "" if folder.resolve() == Path.cwd() else f"cd {shlex.quote(str(folder))} && "
    sys.stdout.write(f"next: {enter}{command}\n")


def template(name: str) -> str:
    """One file of the project, as it is written."""
    from importlib.resources import files

    return (files("chainette.cli") / "templates" / name).read_text(encoding="utf-8")


def _refused(path: object, message: str) -> Exception:
    """The folder is wrong; another one is the way on."""
    from chainette.errors import RunFolderError

    error = RunFolderError(f"{path} {message}")
    free = next(name for n in range(1, 1_000) if not Path(name := "my-chain" if n == 1 else f"my-chain-{n}").exists())
    error.add_note(f"next: chainette init {free}")
    return error
