"""Addresses of the page: how a run, a step and a row stand in one, and how they are read back. Knows no file.

Ids come from data, so each is one segment with everything but letters and digits escaped; a browser takes `.` and `..`
for folders even when they are escaped, so those get a `~` before them, as does what begins with one.
"""

from __future__ import annotations

from urllib.parse import quote, urlencode


def segment(text: str) -> str:
    """One segment of a path."""
    marked = f"~{text}" if text in ("", ".", "..") or text.startswith("~") else text
    return quote(marked, safe="", errors="replace")


def text_of(segment: str) -> str:
    """`segment` undone, of one whose `%XX` are decoded."""
    return segment[1:] if segment.startswith("~") else segment


def with_query(path: str, **query: object) -> str:
    """What is None or empty is left out."""
    told = {name: str(value) for name, value in query.items() if value is not None and value != ""}
    return f"{path}?{urlencode(told, errors='replace')}" if told else path


def run_url(run: str, *below: str) -> str:
    """The page of a run, or what is below it: `run_url("qa-1", "rows", "outer/inner")`."""
    return "/" + "/".join(["run", *map(segment, (run, *below))])


def rows_url(run: str, step: str = "", **query: object) -> str:
    """The table of a step's rows; without a step, that of the run's last."""
    return with_query(run_url(run, "rows", step) if step else run_url(run, "rows"), **query)


def row_url(run: str, step: str, row_id: str, **query: object) -> str:
    return with_query(run_url(run, "row", step, row_id), **query)


def failures_url(run: str, **query: object) -> str:
    return with_query(run_url(run, "failures"), **query)


def failed_rows_url(run: str, step: str, kind: str) -> str:
    """The table of the rows that failed so at a step."""
    told = [("field", "step"), ("op", "="), ("value", step), ("field", "kind"), ("op", "="), ("value", kind)]
    return f"{rows_url(run, 'failed')}?{urlencode(told, errors='replace')}"


def sql_url(run: str, **query: object) -> str:
    return with_query(run_url(run, "sql"), **query)


def compare_url(before: str, after: str) -> str:
    return with_query("/compare", a=before, b=after)


def diff_url(before: str, after: str, step: str = "", **query: object) -> str:
    """The rows of two runs, field by field."""
    return with_query("/diff", a=before, b=after, step=step, **query)
