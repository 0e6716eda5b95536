"""Asks a run to stop from another process, by a file in its folder. Knows no processes: so it works across machines."""

from __future__ import annotations

from pathlib import Path

from chainette.files.disk import folder_error

_NAME = ".cancel"
_NOW = "now"


def ask_to_stop(run: Path, *, now: bool = False) -> None:
    """The run finishes what is in flight and stops; with `now` it stops at once.

    Raises:
        RunFolderError: the folder cannot be written.
    """
    try:
        (run / _NAME).write_text(_NOW if now else "")
    except OSError as error:
        raise folder_error(run, error) from error


def asked_to_stop(run: Path) -> int:
    """0, 1 for being asked to finish what is in flight, 2 for being asked to stop at once."""
    try:
        return 2 if (run / _NAME).read_text() == _NOW else 1
    except OSError:
        return 0


def forget_asking(run: Path) -> None:
    """What was asked of an earlier process does not bind this one."""
    (run / _NAME).unlink(missing_ok=True)
