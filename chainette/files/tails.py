"""The ends of files of lines, as a crash leaves them: what is whole is kept, half a line is cut off."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic_core import from_json

from chainette.files.disk import folder_error

_BLOCK = 1 << 20


def last_lines(folder: Path, name: str | None = None) -> tuple[int, int, int]:
    """(number, bytes, lines) of the last part in `folder`, or of the one file `name`; zeros where there is none.

    Half a line at its end is cut off. Parts before the last are taken to be full.

    Raises:
        RunFolderError: it cannot be read or cut.
    """
    parts = part_numbers(folder, ".jsonl") if name is None else {0: folder / name}
    last = max(parts, default=0)
    if last not in parts or not parts[last].is_file():
        return 0, 0, 0
    size, lines = whole_lines(parts[last])
    if not size:
        parts[last].unlink()
    return last, size, lines


def cut_damaged(path: Path) -> None:
    """Cuts the file before the first of its last lines that is no JSON: a power cut may leave blocks of zeros between
    what was written. Looks at no more than the last megabyte.

    Raises:
        RunFolderError: it cannot be read or cut.
    """
    try:
        with open(path, "rb") as file:
            at = max(0, os.fstat(file.fileno()).st_size - _BLOCK)
            file.seek(at)
            lines = file.read().splitlines(keepends=True)
    except FileNotFoundError:
        return
    except OSError as error:
        raise folder_error(path, error, "cannot read") from error
    if at:  # most probably the middle of a line
        at += len(lines.pop(0))
    for line in lines:
        try:
            from_json(line)
        except ValueError:
            cut(path, at)
            return
        at += len(line)


def full_parts(folder: Path, max_lines: int) -> tuple[int, int, int]:
    """As `last_lines`, of parts any of which may be missing or cut: the first that is not full is the last, what lies
    behind it is taken away.

    Raises:
        RunFolderError: one cannot be read, cut or removed.
    """
    parts = part_numbers(folder, ".jsonl")
    number = 0
    while number in parts and whole_lines(parts[number])[1] >= max_lines:
        number += 1
    for behind in (path for other, path in parts.items() if other > number):
        cut(behind, 0)
    if number in parts:
        size, lines = whole_lines(parts[number])
        if lines:
            return number, size, lines
        cut(parts[number], 0)
    return (number - 1, *whole_lines(parts[number - 1])) if number else (0, 0, 0)


def part_numbers(folder: Path, suffix: str) -> dict[int, Path]:
    """The parts in a folder by their number."""
    found = folder.glob(f"*{suffix}") if folder.is_dir() else ()
    return {int(path.stem): path for path in found if path.stem.isdecimal()}


def whole_lines(path: Path) -> tuple[int, int]:
    """(bytes, lines) of the file once what follows its last line break is cut off."""
    size = lines = at = 0
    try:
        with open(path, "rb+") as file:
            while block := file.read(_BLOCK):
                found = block.rfind(b"\n")
                if found >= 0:
                    lines += block.count(b"\n")
                    size = at + found + 1
                at += len(block)
            if size < at:
                file.truncate(size)
                os.fsync(file.fileno())
    except OSError as error:
        raise folder_error(path, error) from error
    return size, lines


def cut(path: Path, size: int) -> None:
    """The file without what follows these bytes; no file where none are left.

    Raises:
        RunFolderError: it cannot be cut.
    """
    try:
        if not size:
            path.unlink()
        elif path.stat().st_size > size:
            with open(path, "rb+") as file:
                file.truncate(size)
                os.fsync(file.fileno())
    except OSError as error:
        raise folder_error(path, error) from error
