"""What `run` would refuse in its first second beside the chain: input and folder. Makes nothing, reads no stdin."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chainette.cli.target import Call
    from chainette.run import Checked, RunOptions

_LOOKED_AT = 1_000
"""Rows of an input that is too long to be checked whole."""


def call_problems(checked: Checked, call: Call, options: RunOptions) -> list[dict[str, str]]:
    """What is wrong with the call's input and folder, as the report's problems are."""
    found = []
    if call.input is not None and checked.ok:
        found += [("input", message) for message in _input_problems(checked, call.input, options)]
    found += [("--output-dir", message) for message in _folder_problems(call.output_dir, options)]
    return [{"where": where, "message": message, "hint": "", "severity": "error"} for where, message in found]


def _input_problems(checked: Checked, name: str, options: RunOptions) -> list[str]:
    from chainette.errors import InputError
    from chainette.files import RowValidator, check_input, open_input
    from chainette.graph.types import fields_of

    def validator() -> RowValidator:
        return RowValidator(type_, id_field=options.id_field, keep_bad=True)

    type_ = checked.graph.input_type
    fields = list(fields_of(type_) or {})
    try:
        source = open_input(name, columns=options.columns, model_fields=fields, limit=options.limit)
        if not source.rereadable:
            return []
        if not source.cheap:
            limit = min(options.limit or _LOOKED_AT, _LOOKED_AT)
            source = open_input(name, columns=options.columns, model_fields=fields, limit=limit)
        problems = check_input(source, validator)
    except InputError as error:
        return [str(error)]
    return problems if options.max_failed is None else []


def _folder_problems(output_dir: str | None, options: RunOptions) -> list[str]:
    from chainette.errors import RunFolderError
    from chainette.files.new_folder import check_empty
    from chainette.files.remote_names import as_path, is_remote
    from chainette.files.run_lock import is_held

    place = options.runs_dir if output_dir is None else output_dir
    if is_remote(place):
        return _remote_problems(place, new=output_dir is None)
    folder = as_path(place)
    if not folder.exists():
        above = next(parent for parent in folder.absolute().parents if parent.exists())
        if not above.is_dir():
            return [f"{folder} cannot be made: {above} is a file"]
        return [] if os.access(above, os.W_OK) else [f"{folder} cannot be made: {above} cannot be written to"]
    if not folder.is_dir():
        return [f"{folder} is a file (name a new or empty folder)"]
    if not os.access(folder, os.W_OK):
        return [f"{folder} cannot be written to"]
    if output_dir is None:
        return []
    if is_held(folder):
        return [f"{folder} is being written by another run"]
    try:
        check_empty(folder)
    except RunFolderError as error:
        return [str(error)]
    return []


def run_command(target: str, call: Call | None, options: RunOptions) -> str:
    """The command that makes the run: as it was typed where an input was named, without `--dry-run`."""
    if call is None or call.input is None:
        return f"chainette run {shlex.quote(target)} -i INPUT"
    typed = list(options.command)
    kept: list[Any] = [word for word in typed[1:] if word.replace("_", "-") != "--dry-run"]
    if typed and len(kept) < len(typed) - 1:
        return shlex.join(["chainette", *kept])
    return f"chainette run {shlex.quote(target)} -i {shlex.quote(call.input)}"


def _remote_problems(url: str | os.PathLike[str], *, new: bool) -> list[str]:
    from chainette.errors import RunFolderError
    from chainette.files.mirror import Mirror

    try:
        mirror = Mirror(url)
        names = [] if new else mirror.names()
    except RunFolderError as error:
        return [str(error)]
    return [f"{mirror.url} is not empty: {', '.join(names[:3])} (name a new or empty folder)"] if names else []
