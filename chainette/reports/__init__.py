"""What is said about a run from its folder: figures, trace, report, card, exports. Starts no engine, runs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chainette.reports.stats import RunStats, run_stats

__all__ = ["RunStats", "run_stats"]


def __getattr__(name: str) -> Any:
    # What reads files is imported when it is asked for.
    if name in __all__:
        from chainette.reports import stats

        return getattr(stats, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
