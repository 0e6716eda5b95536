"""What of a local file goes into which remote object. Reads and writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from chainette.files.remote_copy import Stat
from chainette.files.remote_state import FileState, Piece, Writing


@dataclass(frozen=True, slots=True)
class Sizes:
    """Where what is carried over is split and joined."""

    big_bytes: int = 1 << 20
    """Pieces of this size are objects of their own and are not joined any more."""
    split_bytes: int = 16 << 20
    """No piece is larger."""
    together_bytes: int = 8 << 20
    """Whole files up to this size go up side by side; a larger one is streamed."""
    aside_bytes: int = 32 << 20
    """Whole files from this size on go up while pushes go on, where they are in pieces already."""
    join: int = 16
    """How many small pieces are joined at a time."""
    garbage: int = 32
    """How many objects that are not needed any more are deleted at a time."""


@dataclass(slots=True)
class Push:
    """What one push is about to write."""

    files: dict[str, FileState]
    stats: dict[str, Stat]
    writing: Writing
    since: int
    """Small pieces that were written in this push of the opening or later are joined."""
    tails: dict[str, bytes] = field(default_factory=dict)
    """The last bytes of each file that may grow."""
    objects: list[tuple[str, str, int, int]] = field(default_factory=list)
    """Pieces that are objects of their own: name, local file, from, to."""
    whole: list[str] = field(default_factory=list)
    """Files that go up under their own names."""
    arrived: list[str] = field(default_factory=list)
    """Files that have gone up so since the last push."""


def joined_since(push: int, join: int) -> int:
    """Every 16th push (`join`) joins the small pieces of 16, every 256th those of 256, …; the first, all there are."""
    if push == 1:
        return 0
    span = 1
    while push % (span * join) == 0:
        span *= join
    return push - span + 1


def spans(state: FileState, size: int, since: int, big_bytes: int) -> Iterator[Piece | tuple[int, int]]:
    """The pieces that stay as they are, and from where to where what is between them has to be written."""
    at = start = state.base
    run: list[Piece] = []
    for piece in state.pieces:
        if piece.size < big_bytes and piece.push >= since:
            run.append(piece)
        else:
            yield from [(start, at)] if len(run) > 1 else run
            yield piece
            run, start = [], at + piece.size
        at += piece.size
    if size > at:
        yield start, size
    else:
        yield from [(start, at)] if len(run) > 1 else run


def last_parts(names: Iterable[str]) -> Mapping[str, int]:
    """Per folder the number of its last part."""
    last: dict[str, int] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        stem = file.removesuffix(".jsonl")
        if stem.isdecimal():
            last[folder] = max(last.get(folder, 0), int(stem))
    return last


def is_whole(name: str, last: Mapping[str, int]) -> bool:
    """Whether a file will change no more, unless a later opening cuts it or makes it anew."""
    folder, _, file = name.rpartition("/")
    if name.startswith(".") or file.endswith(".json"):
        return False
    if not file.endswith(".jsonl"):
        return True
    stem = file.removesuffix(".jsonl")
    return stem.isdecimal() and int(stem) < last.get(folder, 0)
