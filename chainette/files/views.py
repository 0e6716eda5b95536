"""Rows and failures of a run as sequences that read their files when asked."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from chainette.files.bytes_fields import restorer
from chainette.files.json_text import encode
from chainette.files.parts import JsonlPart, Part
from chainette.files.schema import Layout, layout
from chainette.rows import Failure

T = TypeVar("T")


class _FileView(Sequence[T], Generic[T]):
    """Consecutive rows of several parts, each made into what is asked for as it is read."""

    def __init__(
        self, parts: Sequence[Part], decode: Callable[[dict[str, Any], Part], T], chosen: range | None
    ) -> None:
        self._parts = parts
        self._decode = decode
        self._chosen = chosen

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(len(part) for part in self._parts))

    @property
    def _range(self) -> range:
        if self._chosen is None:
            self._chosen = range(self._ends[-1] if self._ends else 0)
        return self._chosen

    def __len__(self) -> int:
        return len(self._range)

    def _raw(self, start: int, stop: int) -> Iterator[tuple[dict[str, Any], Part]]:
        at = bisect_right(self._ends, start)
        before = self._ends[at - 1] if at else 0
        for part, end in zip(self._parts[at:], self._ends[at:], strict=True):
            if before >= stop:
                return
            for row in part.rows(max(start - before, 0), min(stop, end) - before):
                yield row, part
            before = end

    def _raw_rows(self) -> Iterator[tuple[dict[str, Any], Part]]:
        chosen = self._range
        if chosen.step == 1:
            yield from self._raw(chosen.start, chosen.stop)
            return
        for number in chosen:
            yield from self._raw(number, number + 1)

    def __iter__(self) -> Iterator[T]:
        for row, part in self._raw_rows():
            yield self._decode(row, part)

    def _like(self, chosen: range) -> _FileView[T]:
        return _FileView(self._parts, self._decode, chosen)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> _FileView[T]: ...

    def __getitem__(self, index: int | slice) -> T | _FileView[T]:
        if isinstance(index, slice):
            view = self._like(self._range[index])
            view.__dict__.setdefault("_ends", self._ends)
            return view
        number = self._range[index]
        row, part = next(self._raw(number, number + 1))
        return self._decode(row, part)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (list, tuple, _FileView)):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(repr(row) for row in self[:3])
        more = ", …" if len(self) > 3 else ""
        return f"<{len(self)} rows: {shown}{more}>" if len(self) else "<0 rows>"


class RowsView(_FileView[Any]):
    """The rows of a step, of the input or flattened, in input order: dicts with `_id`, or instances of `model`."""

    def __init__(
        self, parts: Sequence[Part], model: Any = None, chosen: range | None = None, *, bare: bool = False
    ) -> None:
        self._model = model
        self._bare = bare
        untyped = _bare if bare else _as_it_is
        super().__init__(parts, _Decoder(model, untyped).row if model is not None else untyped, chosen)

    def _like(self, chosen: range) -> RowsView:
        return RowsView(self._parts, self._model, chosen, bare=self._bare)

    @property
    def ids(self) -> list[str]:
        """The rows' ids, in order."""
        return [row["_id"] for row, _ in self._raw_rows()]

    @property
    def turns(self) -> list[int | list[int] | None]:
        """Per row the turn of the loop it was made in, in nested loops one for each; None for rows outside loops."""
        return [row.get("_turn") for row, _ in self._raw_rows()]

    def with_parts(self) -> Iterator[tuple[dict[str, Any], Part]]:
        """The rows as they are kept, each with the file that it is from."""
        return self._raw_rows()

    @property
    def is_lines(self) -> bool:
        """Whether it is the whole of files of lines."""
        return self._range == range(len(self)) and all(isinstance(part, JsonlPart) for part in self._parts)

    def lines(self) -> Iterator[tuple[bytes, Path]]:
        """The rows as their lines, where `is_lines`, each with the file that it is from."""
        left = len(self)
        for part in self._parts:
            for line in part.lines(0, min(left, len(part))) if isinstance(part, JsonlPart) else ():
                yield line, part.path
            left -= min(left, len(part))

    def to_arrow(self) -> Any:
        """A pyarrow Table with `_id` first. A column whose values have no type in common holds JSON text."""
        import pyarrow as pa

        columns: dict[str, list[Any]] = {"_id": []}
        for number, (row, _) in enumerate(self._raw_rows()):
            for key, value in row.items():
                if key not in columns:
                    columns[key] = [None] * number
                columns[key].append(value)
            for values in columns.values() if len(row) < len(columns) else ():
                if len(values) == number:
                    values.append(None)
        return pa.table({name: _arrow_array(values) for name, values in columns.items()})

    def to_pandas(self) -> Any:
        """A pandas DataFrame. Needs pandas."""
        return self.to_arrow().to_pandas()


class FailuresView(_FileView[Failure]):
    """The rows that stopped, node by node, each in input order."""

    def __init__(self, parts: Sequence[Part], node_ids: Mapping[str, str], chosen: range | None = None) -> None:
        self._node_ids = node_ids
        super().__init__(parts, self._failure, chosen)

    def _like(self, chosen: range) -> FailuresView:
        return FailuresView(self._parts, self._node_ids, chosen)

    def _failure(self, row: dict[str, Any], part: Part) -> Failure:
        return failure_of(row, self._node_ids.get(part.path.stem, part.path.stem))


def failure_record(failure: Failure) -> dict[str, Any]:
    """As it stands in `failed/`."""
    turn = {"_turn": turn_of(failure.turns)} if failure.turns else {}
    return {
        "_id": failure.row_id,
        **turn,
        "kind": failure.kind,
        "message": failure.message,
        "attempts": failure.attempts,
        "raw": failure.raw,
        "cause": list(failure.cause),
    }


def failure_of(row: dict[str, Any], node_id: str) -> Failure:
    """From a line of `failed/`."""
    return Failure(
        row_id=row["_id"],
        node_id=node_id,
        kind=row["kind"],
        message=row["message"],
        attempts=row.get("attempts", 1),
        raw=row.get("raw"),
        cause=tuple(row.get("cause") or ()),
        turns=turns_of(row.get("_turn")),
    )


def turn_of(turns: Sequence[int]) -> int | list[int]:
    """As files have it: a number, in nested loops one for each, the outermost first."""
    return turns[0] if len(turns) == 1 else list(turns)


def turns_of(turn: object) -> tuple[int, ...]:
    """`turn_of` undone; empty for what no file has."""
    return (turn,) if isinstance(turn, int) else tuple(turn) if isinstance(turn, list) else ()


def _as_it_is(row: dict[str, Any], part: Part) -> dict[str, Any]:
    return row


OURS = ("_id", "_turn")
"""What stands in a row beside its fields."""


def _bare(row: dict[str, Any], part: Part) -> Any:
    fields = {key: row[key] for key in row if key not in OURS}
    return fields["value"] if fields.keys() == {"value"} else fields


def _arrow_array(values: list[Any]) -> Any:
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([None if value is None else encode(value).decode() for value in values])


class _Decoder:
    """From a row on disk to an instance of its type, or to what `untyped` makes of one that does not fit it."""

    def __init__(self, model: Any, untyped: Callable[[dict[str, Any], Part], Any]) -> None:
        self._untyped = untyped
        self._adapter: TypeAdapter[Any] = TypeAdapter(model)
        self._restore_bytes = restorer(model)
        self._reads_json = "val_json_bytes" in getattr(model, "model_config", ())
        self._layout: Layout = layout(model)
        self._computed = frozenset(getattr(model, "model_computed_fields", ()))
        self._plain_dict = model is dict or getattr(model, "__origin__", None) in (dict, Mapping)

    def row(self, row: dict[str, Any], part: Part) -> Any:
        data: Any = {key: value for key, value in row.items() if key not in OURS and key not in self._computed}
        if not self._layout.fields and not self._plain_dict and data.keys() == {"value"}:
            data = data["value"]
        try:
            return self._validated(data)
        except Exception:  # the JSON of a serialiser that no validator takes, or a validator's own mistake
            return self._untyped(row, part)

    def _validated(self, data: Any) -> Any:
        if self._restore_bytes is not None:
            data = self._restore_bytes(data)
        elif self._reads_json:
            # Only from JSON does pydantic turn text back into the bytes that it made it of.
            return self._adapter.validate_json(encode(data), by_alias=True, by_name=True)
        try:
            return self._adapter.validate_python(data, by_alias=True, by_name=True)
        except ValidationError as error:
            if _restore_nan(data, error):
                return self._adapter.validate_python(data, by_alias=True, by_name=True)
            return self._adapter.validate_json(encode(data), by_alias=True, by_name=True)


def _restore_nan(data: Any, error: ValidationError) -> bool:
    """JSON has no NaN, so a float that was one stands as null on disk. Whether nothing else was wrong."""
    places = [e["loc"] for e in error.errors() if e["type"] == "float_type" and e["input"] is None]
    if not places or len(places) != error.error_count():
        return False
    for *path, last in places:
        inner = data
        for key in path:
            inner = inner[key]
        inner[last] = float("nan")
    return True


def rows_of(parts: Sequence[Part], row_id: str) -> list[dict[str, Any]]:
    """The rows of that id: one, or one for each turn that is there."""
    found: list[dict[str, Any]] = []
    for row in lines_with_id(parts, row_id):
        found.append(row)
        if "_turn" not in row:
            break
    return found


def lines_with_id(parts: Sequence[Part], row_id: str) -> Iterator[dict[str, Any]]:
    """The rows of that id. Quick on JSONL, where every line begins with its id."""
    start = encode({"_id": row_id})[:-1]
    for part in parts:
        if isinstance(part, JsonlPart):
            for line in part.lines(0, len(part)):
                if line.startswith(start) and line[len(start) : len(start) + 1] in (b",", b"}"):
                    yield from_json(line)
        else:
            yield from (row for row in part.rows(0, len(part)) if row["_id"] == row_id)
