"""One row in files of many: by place where ids are places, else by their bytes. Knows lines that begin with `_id`, not
what they hold.

The kin of a row are the row itself, those it was made from (`17.2.0`: `17.2`, `17`) and those made from it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from pydantic_core import from_json

from chainette.errors import RunFolderError
from chainette.files.disk import folder_error
from chainette.files.parts import JsonlPart, ParquetPart, Part
from chainette.rows import made_from

_BLOCK = 1 << 22
_HEAD = b'{"_id":"'
_FAR = 1 << 12
"""Bytes of file from which on halving beats reading on."""

Place = tuple[int, ...]


def ancestors(row_id: str) -> list[str]:
    """The id and those it was made from, the nearest first."""
    return [row_id, *made_from(row_id)]


def is_child(id: str, of: str) -> bool:
    """`17.2.0` of `17.2` and of `17`; an id from the data that only begins alike is none."""
    return id.startswith(of + ".") and id[len(of) + 1 :].replace(".", "").isdecimal()


def is_kin(other: str, row_id: str) -> bool:
    return other == row_id or is_child(other, row_id) or is_child(row_id, other)


def place_of(id: str) -> Place | None:
    """What sorts ids as the rows stand; None for an id that is no place."""
    parts = id.split(".")
    if not all(part.isdecimal() and part.isascii() and len(part) < 19 for part in parts):
        return None
    return tuple(map(int, parts))


@dataclass(frozen=True, slots=True)
class Kin:
    """Whom to look for."""

    row_id: str
    most: int
    """Children of the row that are read at most."""
    ordered: bool = False
    """Ids are places, and the rows stand in their order."""
    contiguous: bool = False
    """What was made from one input row stands together."""

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and is_kin(id, self.row_id)


def kin_of(parts: Sequence[Part], kin: Kin) -> list[dict[str, Any]]:
    """The records of the row and its kin, in the order of the files: children at most `most`.

    Raises:
        RunFolderError: a part cannot be read.
    """
    place = place_of(kin.row_id)
    if kin.ordered and place is not None:
        return list(_by_place(parts, kin, place))
    return list(_by_bytes(parts, kin))


def neighbours(parts: Sequence[Part], row_id: str, *, ordered: bool) -> tuple[str | None, str | None]:
    """The ids before and after the row's, in the order of the files; those of its own other turns are passed over.

    Raises:
        RunFolderError: a part cannot be read.
    """
    if not ordered or place_of(row_id) is None:
        return _beside(parts, row_id)
    place = place_of(row_id)
    assert place is not None
    after = next((id for id in _ids_from(parts, (*place, 0)) if id != row_id), None)
    return _last_before(parts, place), after


def _beside(parts: Sequence[Part], row_id: str) -> tuple[str | None, str | None]:
    kin = Kin(row_id, 0)
    for number, part in enumerate(parts):
        if isinstance(part, JsonlPart):
            found = [(at, at + len(line)) for at, line in found_lines(part.path, exact_beginning(row_id))]
            if not found:
                continue
            before = _line_before(part.path, found[0][0])
            after = next((_id_of(line) for line in _lines_at(part.path, found[-1][1])), None)
        else:
            places = [place for place in _places_in(part, kin) if _id_at(part, place) == row_id]
            if not places:
                continue
            before = _id_at(part, places[0] - 1) if places[0] else None
            after = _id_at(part, places[-1] + 1)
        if before is None and number:
            before = _last_id(parts[number - 1])
        if after is None:
            after = next((id for later in parts[number + 1 :] for id in _ids(later) if id != row_id), None)
        return before, after
    return None, None


def _id_at(part: Part, place: int) -> str | None:
    return next((str(row.get("_id")) for row in part.rows(place, place + 1)), None)


def _last_id(part: Part) -> str | None:
    if isinstance(part, JsonlPart):
        return _line_before(part.path, None)
    return _id_at(part, len(part) - 1)


def _by_place(parts: Sequence[Part], kin: Kin, place: Place) -> Iterator[dict[str, Any]]:
    for depth in range(1, len(place) + 1):
        wanted = place[:depth]
        for record in _from_place(parts, wanted):
            if place_of(str(record.get("_id"))) != wanted:
                break
            yield record
    for record in islice(_from_place(parts, (*place, 0)), kin.most):
        if not is_child(str(record.get("_id")), kin.row_id):
            break
        yield record


def _from_place(parts: Sequence[Part], place: Place) -> Iterator[dict[str, Any]]:
    """The records from that place on."""
    number = _part_at(parts, place)
    for part in parts[number:]:
        if isinstance(part, JsonlPart):
            for line in _lines_from(part.path, place):
                yield _record(part, line)
        else:
            ids = list(_ids(part))
            start = bisect_left(ids, place, key=_sorting)
            yield from part.rows(start, len(ids))


def _ids_from(parts: Sequence[Part], place: Place) -> Iterator[str]:
    for part in parts[_part_at(parts, place) :]:
        if isinstance(part, JsonlPart):
            yield from (_id_of(line) or "" for line in _lines_from(part.path, place))
        else:
            yield from (id for id in _ids(part) if _sorting(id) >= place)


def _last_before(parts: Sequence[Part], place: Place) -> str | None:
    for part in reversed(parts[: _part_at(parts, place) + 1]):
        if isinstance(part, JsonlPart):
            with _open(part.path) as file:
                end = _offset(file, place)
            found = _line_before(part.path, end)
        else:
            before = [id for id in _ids(part) if _sorting(id) < place]
            found = before[-1] if before else None
        if found is not None:
            return found
    return None


def _part_at(parts: Sequence[Part], place: Place) -> int:
    """The last part that begins before the place, or with it where none does."""
    # Not `>=`: the turns of one row may go over from one part to the next.
    return max(bisect_left(parts, place, key=_first_place) - 1, 0)


def _first_place(part: Part) -> Place:
    return next((_sorting(id) for id in _ids(part)), ())


def _sorting(id: str) -> Place:
    return place_of(id) or ()


def _ids(part: Part) -> Iterator[str]:
    if isinstance(part, JsonlPart):
        yield from (_id_of(line) or "" for line in _lines_from(part.path, None))
    elif isinstance(part, ParquetPart):
        yield from _column_of_ids(part).to_pylist()
    else:
        yield from (str(row["_id"]) for row in part.rows(0, 1 << 62))


def _column_of_ids(part: ParquetPart) -> Any:
    import pyarrow as pa
    from pyarrow.parquet import read_table

    try:
        return read_table(part.path, columns=["_id"], partitioning=None).column(0)
    except (OSError, pa.ArrowException) as error:
        raise RunFolderError(f"cannot read {part.path}: {error}") from error


def _id_of(line: bytes) -> str | None:
    if not line.startswith(_HEAD):
        return None
    end = line.find(b'"', len(_HEAD))
    while end > 0 and line[end - 1 : end] == b"\\":
        return str(orjson.loads(line)["_id"])
    return line[len(_HEAD) : end].decode("utf-8", "replace")


def _open(path: Path) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise folder_error(path, error, "cannot read") from error


def _lines_from(path: Path, place: Place | None) -> Iterator[bytes]:
    """The whole lines, of those in order the ones from that place on."""
    with _open(path) as file:
        if place is not None:
            file.seek(_offset(file, place))
        yield from (line for line in file if line.endswith(b"\n"))


def _lines_at(path: Path, start: int) -> Iterator[bytes]:
    with _open(path) as file:
        file.seek(start)
        yield from (line for line in file if line.endswith(b"\n"))


def _line_before(path: Path, end: int | None) -> str | None:
    """The id of the last line before an offset, or in the file."""
    with _open(path) as file:
        end = file.seek(0, 2) if end is None else end
        size = _FAR
        while end:
            start = max(end - size, 0)
            file.seek(start)
            block = file.read(end - start)
            head = block.rfind(b"\n", 0, block.rfind(b"\n"))
            if head >= 0 or start == 0:
                return _id_of(block[head + 1 :])
            size *= 4
    return None


def _offset(file: BinaryIO, place: Place) -> int:
    """Where the first line of that place or a later one begins."""
    low, high = 0, file.seek(0, 2)
    # `low` is the start of a line before the place, or 0; a line that begins at or behind `high` is at it or later.
    while high - low > _FAR:
        middle = (low + high) // 2
        file.seek(middle - 1)
        file.readline()
        start = file.tell()
        if start >= high:
            high = middle
            continue
        line = file.readline()
        if not line.endswith(b"\n") or _sorting(_id_of(line) or "") >= place:
            high = middle
        else:
            low = start
    file.seek(low)
    while True:
        start = file.tell()
        line = file.readline()
        if not line.endswith(b"\n") or _sorting(_id_of(line) or "") >= place:
            return start


def _by_bytes(parts: Sequence[Part], kin: Kin) -> Iterator[dict[str, Any]]:
    children = 0
    found = False
    for part in parts:
        for record, follows in _candidates(part, kin):
            if found and kin.contiguous and not follows:
                return
            id = str(record.get("_id"))
            if id not in kin:
                continue
            found = True
            if is_child(id, kin.row_id):
                children += 1
                if children > kin.most:
                    return
            yield record


def _candidates(part: Part, kin: Kin) -> Iterator[tuple[dict[str, Any], bool]]:
    """The records whose ids begin as kin's do, and whether each stands right behind the one before or at the start."""
    if not isinstance(part, JsonlPart):
        places = _places_in(part, kin)
        for before, number in zip([-1, *places], places, strict=False):
            for record in part.rows(number, number + 1):
                yield record, number == before + 1
        return
    end = 0
    for start, line in found_lines(part.path, beginning(kin.row_id)):
        yield _record(part, line), start == end
        end = start + len(line)


def _record(part: Part, line: bytes) -> dict[str, Any]:
    try:
        record: dict[str, Any] = from_json(line)
    except ValueError as error:
        raise RunFolderError(f"{part.path}: a damaged line, {line[:40]!r} …: {error}") from error
    return record


def _places_in(part: Part, kin: Kin) -> list[int]:
    if not isinstance(part, ParquetPart):
        return [number for number, id in enumerate(_ids(part)) if id in kin]
    import pyarrow.compute as pc

    ids = _column_of_ids(part)
    near = pc.indices_nonzero(pc.starts_with(ids, pattern=ancestors(kin.row_id)[-1])).to_pylist()
    return [number for number in near if ids[number].as_py() in kin]


def beginning(row_id: str) -> bytes:
    """How the lines of a row and its kin begin."""
    try:
        return orjson.dumps({"_id": ancestors(row_id)[-1]})[:-2]
    except TypeError:  # half a surrogate pair, which no file holds
        return _HEAD + b"\xff"


def exact_beginning(row_id: str) -> bytes:
    """How the lines of a row begin, and of no other."""
    try:
        return orjson.dumps({"_id": row_id})[:-1]
    except TypeError:
        return _HEAD + b"\xff"


def found_lines(path: Path, head: bytes, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
    """(offset, line) of the whole lines that begin so, between two offsets at which lines begin.

    Raises:
        RunFolderError: the file cannot be read.
    """
    with _open(path) as file:
        file.seek(start)
        at, rest = start, b"\n"
        while block := file.read(_BLOCK if stop is None else max(min(_BLOCK, stop - at), 0)):
            # What is searched begins with the line break before the first line.
            text = rest + block
            end = text.rfind(b"\n")
            hit = text.find(b"\n" + head, 0, end + 1)
            while hit >= 0:
                last = text.find(b"\n", hit + 1, end + 1)
                if last < 0:
                    break
                yield at - len(rest) + hit + 1, text[hit + 1 : last + 1]
                hit = text.find(b"\n" + head, last, end + 1)
            at += len(block)
            rest = text[end:]
