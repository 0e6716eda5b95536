"""How a run is to be driven and how far it got. Plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from chainette.events import RunCount

_CAUSES = 1000
"""Different failure messages that are kept for the summary."""


@dataclass(frozen=True)
class ExecutorOptions:
    open_rows: int = 16_384
    """Input rows that may be under way; those that wait for an earlier one are moved to disk before they fill it."""
    max_failed: float | None = None
    """Failed input rows above which the run stops; None: never."""
    max_failed_share: float | None = None
    """The same as a share of all rows, judged while the run goes when the number of rows is known."""
    rows_total: int | None = None
    params: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass
class Outcome:
    """How far the executor got."""

    count: RunCount = field(default_factory=RunCount)
    """Of the rows whose chunk is committed, in a run that goes on also of those from before."""
    rows_read: int = 0
    stopped: str = ""
    """Why it ended before the last row; empty when it did not."""
    error: Exception | None = None
    """What the input raised."""
    causes: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """(node id, kind, message) -> how often."""

    def count_cause(self, node_id: str, kind: str, message: str) -> None:
        key = (node_id, kind, message[:200])
        if key in self.causes or len(self.causes) < _CAUSES:
            self.causes[key] = self.causes.get(key, 0) + 1

    def too_many(self, options: ExecutorOptions, uncommitted: int = 0) -> str:
        """Why the failures are too many, or the empty string; `uncommitted` rows have failed besides those counted."""
        failed, total = self.count.rows_failed + uncommitted, options.rows_total
        if options.max_failed is not None and failed > options.max_failed:
            rows = "row" if failed == 1 else "rows"
            return f"{failed} {rows} failed, more than the {options.max_failed:g} that --max-failed allows"
        if options.max_failed_share is not None and total and failed > options.max_failed_share * total:
            share = f"{options.max_failed_share * 100:g}%"
            return f"{failed} of {total} rows failed, more than the {share} that --max-failed allows"
        return ""
