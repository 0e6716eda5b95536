"""What a function over the whole run gave back, on disk: for each row, in the function's order, which row it was and
its value where that is another. Knows neither the function nor chunks.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chainette.errors import ChainetteError
from chainette.files.held import HeldPieces

PER_BLOCK = 1000
NEW = -1
"""Stands for the place of a row that did not go in."""


class GivenBack:
    """Rows by rank. Written from the first to the last, then read in any order, in blocks."""

    def __init__(self, folder: Path) -> None:
        self.places = array("q")
        """Per rank which of the rows that went in it is, from 0, or `NEW`."""
        self.failed = array("q")
        """The ranks whose value is a `Failure`."""
        self._held = HeldPieces(folder)
        self._in_memory: dict[int, dict[int, Any]] = {}
        self._open: dict[int, Any] = {}
        self._read: tuple[int, dict[int, Any]] = (-1, {})

    def __len__(self) -> int:
        return len(self.places)

    def put(self, place: int) -> None:
        """A row that came back as it went in."""
        self.places.append(place)
        if len(self.places) % PER_BLOCK == 0:
            self._close_block()

    def put_value(self, place: int, value: Any) -> None:
        """A row that is new, or has another value than it went in with."""
        self._open[len(self.places)] = value
        self.put(place)

    def put_failure(self, place: int, failure: Any) -> None:
        self.failed.append(len(self.places))
        self.put_value(place, failure)

    def finish(self) -> None:
        if len(self.places) % PER_BLOCK:
            self._close_block()

    def values(self, start: int, stop: int) -> Iterator[tuple[int, Any]]:
        """(rank, value) of the rows from `start` on, before `stop`, that do not have the value they went in with."""
        for number in range(start // PER_BLOCK, -(-stop // PER_BLOCK)):
            for rank, value in self._block(number).items():
                if start <= rank < stop:
                    yield rank, value

    def close(self) -> None:
        self._held.close()

    def _block(self, number: int) -> dict[int, Any]:
        if self._read[0] != number:
            block = self._in_memory[number] if number in self._in_memory else self._held.read(number)
            self._read = (number, block)
        return self._read[1]

    def _close_block(self) -> None:
        block, self._open = self._open, {}
        try:
            self._held.put(block)
        except ChainetteError:
            raise
        except Exception:  # what a class of the user's raises when it is pickled
            self._in_memory[len(self._held)] = block
            self._held.put({})
