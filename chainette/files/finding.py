"""From what a user names to the files it means, in order. Reads nothing but names."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass, field
from pathlib import Path

from chainette.errors import InputError, nearest
from chainette.files.names import natural_key
from chainette.files.opening import Place, local_place, remote_places
from chainette.files.table_inputs import is_saved_dataset, saved_dataset_files

FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".jsonlines": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
}
READABLE = ".jsonl, .json, .csv, .tsv, .parquet, .arrow, the text ones also with .gz or .zst"


@dataclass(slots=True)
class Found:
    """The files behind a name."""

    kind: str
    """`file`, `folder`, `glob`, `saved dataset` or `url`."""
    places: list[Place]
    ignored: list[str] = field(default_factory=list)
    """Files of the folder that hold no rows by their name."""


def is_url(source: str) -> bool:
    return "://" in source


def is_glob(source: str) -> bool:
    return any(c in source for c in "*?[")


def find_files(source: str) -> Found | None:
    """The files that `source` names; None when nothing here has that name (it may be a `datasets` name).

    Raises:
        InputError: there is something, and it cannot be read as rows.
    """
    if is_url(source):
        return _remote(source)
    path = os.path.expanduser(source)
    if os.path.isdir(path):
        return _folder(Path(path))
    if os.path.lexists(path):
        return Found("file", [_readable(local_place(path))])
    if is_glob(source):
        return _glob(path)
    return None


def _remote(url: str) -> Found:
    places = remote_places(url)
    known = sorted((p for p in places if p.suffix in FORMATS), key=lambda p: natural_key(p.path))
    if not known:
        if len(places) == 1:
            _readable(places[0])
        raise InputError(f"there are no rows at {url} (readable: {READABLE})")
    return Found("url", known, [p.path for p in places if p.suffix not in FORMATS])


def _readable(place: Place) -> Place:
    if place.suffix not in FORMATS:
        ending = f'"{place.suffix}"' if place.suffix else "no ending"
        raise InputError(f"{place.path}: cannot tell the format from {ending} (readable: {READABLE})")
    return place


def _folder(folder: Path) -> Found:
    if is_saved_dataset(folder):
        return Found("saved dataset", [local_place(path) for path in saved_dataset_files(folder)])
    if (folder / "graph.json").is_file() and (folder / "commits.jsonl").is_file():
        steps = sorted(p.name for p in (folder / "steps").glob("*"))
        which = f"one of its steps: {', '.join(str(folder / 'steps' / name) for name in steps[:5])}" if steps else ""
        raise InputError(f"{folder} is a run folder (name {which or 'another input'})")
    try:
        names = sorted(os.listdir(folder), key=natural_key)
    except OSError as error:
        raise InputError(f"cannot read {folder}: {error.strerror}") from error
    places, ignored = _sift([folder / name for name in names])
    if not places:
        inside = [name for name in names if (folder / name).is_dir() and not name.startswith(".")]
        hint = f"name a folder inside: {', '.join(inside[:5])}, or a glob: {folder}/**/*.jsonl" if inside else READABLE
        raise InputError(f"{folder} holds no files with rows ({hint})")
    return Found("folder", places, ignored)


def _glob(pattern: str) -> Found:
    names = sorted(glob.glob(pattern, recursive=True), key=natural_key)
    places, ignored = _sift([Path(name) for name in names])
    if not places:
        if names:
            raise InputError(
                f"none of the {len(names)} files that {pattern} matches can be read (readable: {READABLE})"
            )
        raise InputError(f"no file matches {pattern} (quote the pattern, and look with `ls`)")
    return Found("glob", places, ignored)


def _sift(paths: list[Path]) -> tuple[list[Place], list[str]]:
    places: list[Place] = []
    ignored: list[str] = []
    for path in paths:
        if path.name.startswith(".") or path.is_dir():
            continue
        place = local_place(path)
        if place.suffix in FORMATS:
            places.append(place)
        else:
            ignored.append(str(path))
    return places, ignored


def looks_like_path(source: str) -> bool:
    """Whether a name that is not here can only have meant a file."""
    name = source.lower()
    if source.startswith(("/", "./", "../", "~", "\\")) or not name.strip() or name.endswith("/"):
        return True
    return Place(name, 0).suffix in {*FORMATS, ".txt", ".xlsx", ".xml", ".yml", ".yaml", ".md", ".pdf"}


def missing(source: str) -> str:
    """What to say of a file that is not there, with the nearest names beside it."""
    path = Path(os.path.expanduser(source))
    folder = path.parent
    while not folder.is_dir() and folder != folder.parent:
        path, folder = folder, folder.parent
    try:
        here = [name for name in os.listdir(folder) if not name.startswith(".")]
    except OSError:
        here = []
    likely = [n for n in here if Place(n, 0).suffix in FORMATS or (folder / n).is_dir()]
    hint = nearest(path.name, likely)
    where = "" if str(folder) == "." else f" in {folder}"
    return f"there is no {source}" + (f" ({hint}{where})" if hint else f" ({folder} holds no files with rows)")
