"""Where a row stands in the list that it was opened from: the ones before and after. Knows addresses and tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from chainette.errors import ChainetteError
from chainette.view.table_request import TableRequest, as_multi
from chainette.view.urls import row_url, rows_url

if TYPE_CHECKING:
    from chainette.files.reading import RunReader
    from chainette.view.site import Site

_PATIENCE_S = 2.0


@dataclass(frozen=True, slots=True)
class Listed:
    """The addresses around a row."""

    before: str = ""
    after: str = ""
    back: str = ""
    """The list."""
    words: str = ""
    """Where in it the row is."""


def listed(site: Site, reader: RunReader, step: str, row_id: str, query: Mapping[str, str]) -> Listed:
    """The neighbours in the list that `query` names (`list`, its conditions, and the row's place `at`), else in the
    step's files."""
    name = reader.path.name
    if query.get("list"):
        wanted = TableRequest.of(query["list"], as_multi(query))
        try:
            found = _in_list(site, name, wanted)
        except ChainetteError:  # the list is not what it was
            found = None
        if found is not None:
            return found
    before, after = reader.neighbours(step, row_id)
    return Listed(
        row_url(name, step, before) if before is not None else "",
        row_url(name, step, after) if after is not None else "",
        rows_url(name, step),
        f"{step}, as in the files",
    )


def _in_list(site: Site, name: str, wanted: TableRequest) -> Listed | None:
    from chainette.view.pages_rows import info_of, page_of, step_of

    tables = site.open_tables.of(name)
    info = info_of(tables.names(), wanted.table, name)
    first = max(wanted.at - 1, 0)
    page = page_of(tables, replace(wanted, at=first, size=3), patience_s=_PATIENCE_S)
    places = {first + number: row for number, row in enumerate(page.rows)}
    if wanted.at not in places:
        return None

    def url(at: int) -> str:
        row = places.get(at)
        if row is None:
            return ""
        return row_url(name, step_of(info, row), str(row.get("_id"))) + wanted.query(list=wanted.table, at=at)

    start = wanted.at // wanted.size * wanted.size
    whole = f" of {page.total:,}" if page.total is not None else ""
    words = f"{wanted.at + 1:,}{whole} in {wanted.table}{'' if wanted.is_plain else ', filtered'}"
    back = rows_url(name, wanted.table) + wanted.query(at=start or "")
    return Listed(url(wanted.at - 1), url(wanted.at + 1), back, words)
