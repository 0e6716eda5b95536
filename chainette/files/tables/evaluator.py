"""Which rows of a block meet a query. Ways with one answer: by the bytes of a text that must be there, by the bytes of
fields where lines are as we write them, by SQL over all rows at once; and by testing row by row, which is what the
others are measured against.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from chainette.files.tables import field_bytes
from chainette.files.tables.column_blocks import column_field, may_hold, numbered
from chainette.files.tables.needles import Needle
from chainette.files.tables.parts import Block, Columns, Lines
from chainette.files.tables.predicates import FieldSql, fields_of, json_field, pattern, pointer, predicate
from chainette.files.tables.query import (
    Condition,
    Path,
    Row,
    Test,
    check_of,
    has_text,
    ignoring_case,
    is_like_a_number,
    spelt,
    value_at,
)

_FEW = 0.15
"""Share of lines up to which reading the candidates one by one is quicker than asking for all at once."""
_TEXT_OPS = ("contains", "matches")


class Evaluator:
    """The conditions on one table and the search, ready to be tried on blocks, in several threads."""

    def __init__(
        self, conditions: Sequence[tuple[Path, Condition]], search: str, engine: Callable[[], Any], *, few: float = _FEW
    ) -> None:
        """`engine` gives a database connection; it is asked for once, and cursors of it are used. `few` is the share of
        lines up to which candidates are read one by one.

        Raises:
            RunFolderError: an operator does not take its value.
        """
        self._conditions = conditions
        self._tests: list[tuple[Path, Test, bool]] = [
            (path, check_of(one), one.op == "contains" and is_like_a_number(str(one.value))) for path, one in conditions
        ]
        self._search = search
        self._inside = ignoring_case(search) if search else None
        self._search_spelt = bool(search) and is_like_a_number(search)
        self._spells = self._search_spelt or any(is_spelt for _, _, is_spelt in self._tests)
        self._needles = _needles(conditions, search)
        self._search_needle = Needle(search, any_case=True) if search else None
        self.paths = list(dict.fromkeys(path for path, _ in conditions))
        self._by_byte = [(path[0], one) for path, one in conditions if field_bytes.is_for(path, one)]
        self._few = few
        self._engine = engine
        self._local = threading.local()
        self._needles_help = True

    @property
    def columns(self) -> list[str] | None:
        """The columns that it looks at; None for all."""
        return None if self._inside is not None else sorted({path[0] for path in self.paths})

    def matches(self, block: Block) -> Any:
        """The numbers of the rows that meet all of it, ascending, as a numpy array.

        Raises:
            RunFolderError: a row is damaged.
        """
        import numpy as np

        if not self._tests and self._inside is None:
            return np.arange(len(block))
        content = block.content
        if not isinstance(content, Lines) or block.part.adds:
            found = self._by_columns(block, content) if isinstance(content, Columns) else None
            return self._one_by_one(block, range(len(block))) if found is None else found
        candidates = None
        if self._needles and (self._needles_help or self._inside is not None):
            candidates = self._candidates(content)
            if len(candidates) <= self._few * len(block) or self._inside is not None:
                return self._one_by_one(block, candidates)
            self._needles_help = False
        found = self._by_bytes(block, content) if self._by_byte else None
        if found is None and self._tests:
            found = self._at_once(block, content)
        if found is None or self._inside is not None:
            return self._one_by_one(block, range(len(block)) if found is None else found)
        return found

    def _candidates(self, lines: Lines) -> Any:
        import numpy as np

        found = self._needles[0].candidates(lines)
        for needle in self._needles[1:]:
            if len(found) <= self._few * (len(lines.index()) - 1):
                break
            found = np.intersect1d(found, needle.candidates(lines), assume_unique=True)
        return found

    def _by_bytes(self, block: Block, lines: Lines) -> Any:
        """None where the lines are not such that bytes say enough."""
        import numpy as np

        flat = field_bytes.FlatLines.of(lines, self._scratch())
        if flat is None:
            return None
        met = np.ones(flat.count, bool)
        unsure = np.full(flat.count, len(self._by_byte) < len(self._conditions))
        for key, condition in self._by_byte:
            column = flat.column(key)
            if column is None:
                return None
            these, odd = field_bytes.rows(column, condition)
            met &= these | odd
            unsure |= odd
        doubtful = np.flatnonzero(met & unsure)
        if len(doubtful) > self._few * flat.count:
            return None
        sure = np.flatnonzero(met & ~unsure)
        return np.union1d(sure, self._one_by_one(block, doubtful)) if len(doubtful) else sure

    def _one_by_one(self, block: Block, numbers: Any) -> Any:
        import numpy as np

        content = block.content
        if isinstance(content, Lines) and not block.part.adds:
            found = [number for number in map(int, numbers) if self._line_holds(block, content.line(number))]
            return np.array(found, np.int64)
        chosen = [int(number) for number in numbers]
        pairs = zip(chosen, block.rows(chosen), strict=True)
        return np.array([number for number, row in pairs if self._row_holds(row, row)], np.int64)

    def _line_holds(self, block: Block, line: bytes) -> bool:
        if not self._tests and self._search_needle is not None and self._search_needle.is_surely_in(line):
            return True
        row = block.part.parsed(line)
        return self._row_holds(row, spelt(line) if self._spells else row)

    def _row_holds(self, row: Row, spelt_row: Row) -> bool:
        for path, test, is_spelt in self._tests:
            if not test(value_at(spelt_row if is_spelt else row, path)):
                return False
        return self._inside is None or has_text(spelt_row if self._search_spelt else row, self._inside)

    def _cursor(self) -> Any:
        """One for each thread."""
        cursor = getattr(self._local, "cursor", None)
        if cursor is None:
            cursor = self._local.cursor = self._engine().cursor()
        return cursor

    def _scratch(self) -> field_bytes.Scratch:
        """One for each thread."""
        scratch: field_bytes.Scratch | None = getattr(self._local, "scratch", None)
        if scratch is None:
            scratch = self._local.scratch = field_bytes.Scratch()
        return scratch

    def _at_once(self, block: Block, lines: Lines) -> Any:
        """None where SQL has no say."""
        pointers = [pointer(path) for path in self.paths]
        said = [one for one in pointers if one is not None]
        if not said or len(said) < len(pointers):
            return None
        fields = {path: json_field(f"f{number}") for number, path in enumerate(self.paths)}
        return self._ask(block, line_table(lines), fields_of("block", said), fields)

    def _by_columns(self, block: Block, content: Columns) -> Any:
        """None where rows must be looked at."""
        if self._search and self._inside is not None:
            candidates = may_hold(content, self._search)
            return None if candidates is None else self._one_by_one(block, candidates)
        found = {path: column_field(content, path) for path in self.paths}
        fields = {path: field for path, field in found.items() if field is not None}
        if len(fields) < len(found):
            return None
        return self._ask(block, numbered(content.table), "SELECT * FROM block", fields)

    def _ask(self, block: Block, table: Any, source: str, fields: dict[Path, FieldSql]) -> Any:
        """The rows that SQL finds, those that it is not sure of tried one by one."""
        import duckdb

        exact, wheres, texts = True, ["true"], list[tuple[str, str]]()
        outs = ["i"]
        for path, condition in self._conditions:
            field = fields[path]
            if condition.op in _TEXT_OPS:
                number = len(texts)
                outs += [f"{field.text} AS t{number}", f"({field.text} IS NULL) AS o{number}"]
                wheres.append(f"NOT {field.null}")
                texts.append((f"t{number}", pattern(condition)))
                continue
            said = predicate(condition, field)
            exact &= said is not None
            wheres += [said] if said is not None else []
        if len(wheres) == 1:
            return None
        cursor = self._cursor()
        cursor.register("block", table)
        try:
            found = cursor.sql(
                f"WITH m AS MATERIALIZED ({source}) SELECT {', '.join(outs)} FROM m WHERE {' AND '.join(wheres)}"
            ).to_arrow_table()
        except duckdb.Error:
            # Damaged lines, or what this reader of JSON refuses: row by row it is told which it is.
            return None
        finally:
            cursor.unregister("block")
        return self._sure(block, found, texts, exact)

    def _sure(self, block: Block, found: Any, texts: Sequence[tuple[str, str]], exact: bool) -> Any:
        import numpy as np
        import pyarrow.compute as pc

        numbers = found["i"].to_numpy().astype(np.int64)
        keep = np.ones(len(numbers), bool)
        unsure = np.full(len(numbers), not exact)
        for name, wanted in texts:
            other = found[f"o{name[1:]}"].to_numpy()
            hit = pc.fill_null(pc.match_substring_regex(found[name], pattern=wanted), False)
            keep &= hit.to_numpy() | other
            unsure |= other
        sure = numbers[keep & ~unsure]
        tried = self._one_by_one(block, numbers[keep & unsure])
        return np.sort(np.concatenate([sure, tried])) if len(tried) else np.sort(sure)


def _needles(conditions: Sequence[tuple[Path, Condition]], search: str) -> list[Needle]:
    """The longest first: it is the rarest, as a rule."""
    found = [Needle(search, any_case=True)] if search else []
    for _, condition in conditions:
        if isinstance(condition.value, str) and condition.value and condition.op in ("=", "contains"):
            try:
                condition.value.encode()
            except UnicodeEncodeError:
                continue
            found.append(Needle(condition.value, any_case=condition.op == "contains", whole=condition.op == "="))
    return sorted((one for one in found if one.length > 1), key=lambda one: -one.length)


def line_table(lines: Lines, numbers: Any = None) -> Any:
    """An Arrow table of the lines (`l`, in place) and their numbers (`i`); only of some where they are given."""
    import numpy as np
    import pyarrow as pa

    starts = lines.index()
    count = len(starts) - 1
    texts = pa.StringArray.from_buffers(count, pa.py_buffer(starts), pa.py_buffer(lines.data))
    if numbers is not None and len(numbers) < count:
        return pa.table({"l": texts.take(pa.array(numbers)), "i": pa.array(numbers.astype(np.int32))})
    return pa.table({"l": texts, "i": pa.array(np.arange(count, dtype=np.int32))})
