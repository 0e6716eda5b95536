"""Two runs' rows of one node, compared in a thread while somebody looks on. Keeps a bounded number of those that
differ; knows neither pages nor terminals.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from typing import Any

from chainette.errors import ChainetteError, RunFolderError
from chainette.files.comparing import Example, NodeComparison, compare_rows, node_of
from chainette.files.json_text import encode
from chainette.files.reading import RunReader

MOST_ROWS = 5_000
MOST_BYTES = 64 << 20
_FORGOTTEN_S = 30.0
"""Without a look for so long, nobody waits for the rest."""


class _Stopped(Exception):
    """Nobody looks any more."""


class LiveComparison:
    """One node of two runs. Begins when it is made; any thread may look."""

    def __init__(self, before: RunReader, after: RunReader, step: str) -> None:
        """
        Raises:
            RunFolderError: neither run has that step.
        """
        self.node: NodeComparison = node_of(before, after, step)
        """Its counts go up until all is compared."""
        self.examples: list[Example] = []
        """The first rows that differ, in order."""
        self.rows = 0
        """Input rows that were looked at."""
        self.error: ChainetteError | None = None
        self._readers = before, after
        self._bytes = 0
        self._full = False
        self._looked_s = time.monotonic()
        self._ended = threading.Event()
        self._stopped = False
        threading.Thread(target=self._run, name="chainette-diff", daemon=True).start()

    @property
    def complete(self) -> bool:
        """Whether all rows were compared."""
        return self._ended.is_set() and not self._stopped

    @property
    def stopped(self) -> bool:
        """Whether it was given up before its end, because nobody looked."""
        return self._stopped

    @property
    def capped(self) -> bool:
        """Whether there are more rows that differ than are kept."""
        return self._full

    def wait(self, seconds: float) -> bool:
        """Until it is complete, or so long. Looking keeps it going."""
        self._looked_s = time.monotonic()
        return self._ended.wait(seconds)

    def fields(self) -> list[tuple[str, int]]:
        """Field -> how many rows changed it, the commonest first."""
        return Counter(dict(self.node.fields)).most_common()

    def stop(self) -> None:
        self._looked_s = 0.0

    def _run(self) -> None:
        try:
            compare_rows(self.node, *self._readers, self._keep, self._each)
        except _Stopped:
            self._stopped = True
        except ChainetteError as error:
            self.error = error
        except sqlite3.Error as error:
            hint = "SQLITE_TMPDIR names a folder with more room"
            self.error = RunFolderError(f"cannot compare the rows: their temporary file: {error} ({hint})")
        except Exception as error:  # told to whoever looks: nobody waits for this thread
            self.error = RunFolderError(f"the rows could not be compared: {type(error).__name__}: {error}")
        finally:
            self._ended.set()

    def _each(self) -> None:
        self.rows += 1
        if time.monotonic() - self._looked_s > _FORGOTTEN_S:
            raise _Stopped

    def _keep(self, example: Example) -> None:
        if self._full:
            return
        self._bytes += sum(_size(part) for part in (example.before, example.after))
        self.examples.append(example)
        self._full = len(self.examples) >= MOST_ROWS or self._bytes > MOST_BYTES


def _size(record: dict[str, Any] | None) -> int:
    return len(encode(record)) if record is not None else 0
