"""What events say of chunks, folded: which were read, which are whole. Knows no file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class SaidChunks:
    """Of one run, over all processes that worked on it."""

    def __init__(self) -> None:
        self.committed = -1
        """The last chunk of which it was said, and so of all before it."""
        self._read: dict[int, tuple[int, int]] = {}
        """Chunks that were read and not committed: place of the first row, and how many."""

    def take(self, record: Mapping[str, Any]) -> None:
        """One event, as its line says it; any other than those about chunks is passed over."""
        match record:
            case {"event": "chunk_read", "chunk": int(chunk), "first": int(first), "rows": int(rows)}:
                self._read[chunk] = first, rows
            case {"event": "chunk_committed", "chunk": int(chunk)}:
                self._read.pop(chunk, None)
                self.committed = max(self.committed, chunk)
            case {"event": "chunks_cut_back", "from_chunk": int(chunk)}:
                self.cut(chunk)

    def cut(self, chunk: int) -> None:
        """Nothing was said of this one and those behind it."""
        self._read = {known: place for known, place in self._read.items() if known < chunk}
        self.committed = min(self.committed, chunk - 1)

    def rows_of(self, chunk: int) -> tuple[int, int] | None:
        """(place of the first row, how many) of a chunk that is said to be read and not to be committed."""
        return self._read.get(chunk)

    def first_beyond(self, rows: int) -> int | None:
        """The first chunk that is said to be read and not to be committed, and has more than the first `rows` rows of
        the input; None where there is none."""
        return min((chunk for chunk, (first, count) in self._read.items() if first + count > rows), default=None)
