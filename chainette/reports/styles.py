"""The style sheets of what reports draw, for a page to serve and for `report.html` to hold. Knows no page."""

from __future__ import annotations

from importlib.resources import files

SHEETS = ("palette", "report", "graph", "charts")
"""The palette first: the others take their colours from it."""


def sheet(name: str) -> str:
    """One of `SHEETS`."""
    return files("chainette.reports").joinpath(f"templates/{name}.css").read_text("utf-8")
