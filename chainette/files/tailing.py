"""What was appended to a run's logs since the last look. Reads only; half a line at an end waits for its other half."""

from __future__ import annotations

from pathlib import Path

from chainette.files.disk import folder_error
from chainette.files.names import part_name
from chainette.files.tails import part_numbers

_BLOCK = 1 << 22


class Tail:
    """One file of lines that may grow, and that may not be there yet."""

    def __init__(self, path: Path, at: int = 0) -> None:
        self.path = path
        self.at = at
        """In bytes: where the next look begins."""

    def lines(self, max_bytes: int = _BLOCK) -> list[bytes]:
        """The whole lines since the last look, without line breaks, as many as fit `max_bytes` but one at least.

        Raises:
            RunFolderError: it cannot be read.
        """
        try:
            with open(self.path, "rb") as file:
                file.seek(self.at)
                block = file.read(max_bytes)
                end = block.rfind(b"\n")
                while end < 0 and (more := file.read(max_bytes)):
                    block += more
                    end = block.rfind(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise folder_error(self.path, error, "cannot read") from error
        if end < 0:
            return []
        self.at += end + 1
        return block[:end].split(b"\n")


class CallTails:
    """The calls of one node, over all parts of its log."""

    def __init__(self, folder: Path) -> None:
        """`folder` is the node's in `calls/`."""
        self._folder = folder
        self._part = 0
        self._tail: Tail | None = None

    def skip(self) -> None:
        """Begins behind what is there now.

        Raises:
            RunFolderError: a part cannot be looked at.
        """
        numbers = part_numbers(self._folder, ".jsonl")
        if numbers:
            self._part = max(numbers)
            path = numbers[self._part]
            try:
                self._tail = Tail(path, path.stat().st_size)
            except OSError as error:
                raise folder_error(path, error, "cannot read") from error

    def lines(self, max_bytes: int = _BLOCK) -> list[bytes]:
        """The records since the last look, in the order the calls finished; empty when there are none for now.

        Raises:
            RunFolderError: a part cannot be read.
        """
        while True:
            if self._tail is None:
                self._tail = Tail(self._folder / part_name(self._part, "jsonl"))
            found = self._tail.lines(max_bytes)
            if found or self._part >= max(part_numbers(self._folder, ".jsonl"), default=0):
                return found
            # What was appended between the two looks, before the next part was begun.
            found = self._tail.lines(max_bytes)
            if found:
                return found
            self._part += 1
            self._tail = None
