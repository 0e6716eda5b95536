"""Open parts that are to become Parquet or CSV: which wait, and what went wrong. Knows no chunks and no commits."""

from __future__ import annotations

from pathlib import Path

from chainette.errors import RunFolderError
from chainette.files.names import OPEN
from chainette.files.new_folder import remove_empty
from chainette.files.outputs import Format
from chainette.files.schema import Layout
from chainette.files.sealing import seal

Part = tuple[Path, list[Layout]]


class PartSealer:
    """Seals the parts below one folder."""

    def __init__(self, root: Path, format: Format) -> None:
        self._root = root
        self._format = format
        self._full: list[Part] = []
        self.error: RunFolderError | None = None
        """The first part that could not be sealed. Its rows are safe as they are: the run goes on, and says so at its
        end."""

    def add(self, parts: list[Part]) -> None:
        """Parts that became full."""
        self._full += parts

    @property
    def waiting(self) -> int:
        return len(self._full)

    def seal_full(self, count: int) -> None:
        """The first `count` of those that wait, whose rows must be committed."""
        for _ in range(count):
            self.seal(*self._full[0])
            del self._full[:1]

    def seal(self, part: Path, layouts: list[Layout]) -> None:
        if self._format == "jsonl" or not part.exists():
            return
        target = self._root / part.relative_to(self._root / OPEN).with_suffix(f".{self._format}")
        try:
            seal(part, target, self._format, layouts)
        except RunFolderError as error:
            self.error = self.error or error

    def tidy(self) -> None:
        """Takes away the folders of parts that were all sealed."""
        remove_empty(self._root / OPEN)

    def require(self) -> None:
        """
        Raises:
            RunFolderError: a part could not be sealed.
        """
        if self.error is not None:
            raise self.error
