"""The rows of a run as JSON says them, whichever format they are kept in. Knows parts, not what rows mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic_core import from_json

from chainette.errors import RunFolderError
from chainette.files.json_text import encode
from chainette.files.parts import CsvPart, JsonlPart
from chainette.files.schema import Column, Layout, columns_in_csv, schema_layout, unpacked
from chainette.files.views import RowsView


class PlainRows:
    """Every row of a view as a dict of what JSON can say; gone through as often as one likes, in the same order."""

    def __init__(self, view: RowsView, schemas: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """`schemas` are the (prefix, JSON schema) of the values in a row, where they are known."""
        self._view = view
        layouts = [schema_layout(schema, prefix=prefix) for prefix, schema in schemas]
        self._in_csv = columns_in_csv(layouts)
        self.declared: list[Column] = [column for layout in layouts for column in layout.columns if layout.fields]
        """The columns that the schemas say, `_id` left out."""
        self.of_none = [c for layout in layouts for c in layout.columns if _is_one_column(c, layout)]
        """Those of a table without rows: what stands under its own name in every row."""
        self.says_all = all(_is_one_column(c, layout) for layout in layouts for c in layout.columns)
        """Whether rows have no other columns than `of_none`."""

    def __len__(self) -> int:
        return len(self._view)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row, part in self._view.with_parts():
            if isinstance(part, CsvPart):
                yield _unpacked(row, self._in_csv)
            else:
                # Of Parquet dates come as objects.
                yield row if isinstance(part, JsonlPart) else from_json(encode(row))

    def lines(self) -> Iterator[bytes]:
        """The same as lines of JSON, each as it stands in the run where it stands there so.

        Raises:
            RunFolderError: one is damaged.
        """
        if not self._view.is_lines:
            yield from (encode(row) + b"\n" for row in self)
            return
        for number, (line, place) in enumerate(self._view.lines()):
            try:
                from_json(line)
            except ValueError as error:
                raise RunFolderError(f"{place}: row {number} is damaged: {error}") from error
            yield line


def _is_one_column(column: Column, layout: Layout) -> bool:
    """Not one for keys that are known only when there are rows."""
    return column.kind not in ("object", "extra", *(() if layout.fields else ("json",)))


def _unpacked(row: dict[str, Any], columns: list[Column]) -> dict[str, Any]:
    """A row of CSV with its JSON text read, where it is some: what was written may not be what the schema says."""
    for column in columns:
        if isinstance(row.get(column.name), str):
            try:
                row = unpacked([row], [column])[0]
            except ValueError:
                continue
    return row
