"""Results of a durable function in `calls/`: their keys, their records, and what those become again.

Knows what a row's result is, not how it was made. Failures are not kept: they are tried again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from pydantic import TypeAdapter

from chainette.executor.apply_outcome import Maker, Result
from chainette.executor.call_record import reused_record
from chainette.executor.flow import Flow
from chainette.executor.whereabouts import Whereabouts
from chainette.files.bytes_fields import restorer
from chainette.files.dumping import Dumper
from chainette.files.json_text import encode
from chainette.files.writable import is_json
from chainette.graph import Node
from chainette.graph.signature import bound_to, digest, source_of
from chainette.rows import Row

if TYPE_CHECKING:
    from chainette.executor.executor import Executor

Record = dict[str, Any]


class Durable:
    """The kept results of one apply. Any thread."""

    def __init__(self, node: Node, executor: Executor, at: Whereabouts, maker: Maker) -> None:
        apply = node.apply
        self._node = node
        self._executor = executor
        self._at = at
        self._maker = maker
        self._dump_input = Dumper(node.input_type, exact=False)
        source = source_of(apply.fn) if apply.version is None else None
        self._head = digest("apply", source, bound_to(apply.fn), apply.version)
        type_ = apply.shape.output_type if apply.shape.declared else Any
        self._declared = apply.shape.declared
        self._dump = Dumper(type_)
        self._adapter: TypeAdapter[list[Any]] = TypeAdapter(list[type_])  # type: ignore[valid-type]
        self._restore = restorer(list[type_])  # type: ignore[valid-type]

    def key(self, row: Row, value: Any) -> str:
        """`value` is what the function gets of the row."""
        return digest(self._head, self._dump_input.dump([value]).values, self._at.turns(row))

    def recall(self, flow: Flow, row: Row, key: str, result: Result) -> tuple[Record, bool] | None:
        """Puts what is known of the row into `result`. Returns the record, and whether it is another row's or run's;
        None where there is none that can be read."""
        past, node = self._executor.past, self._node
        found = past.find(node.id, row.id, key, 1, flow.inputs.again)
        if found is None:
            return None
        record, is_others = found
        mine = Result()
        try:
            self._put(row, record, mine)
        except Exception:  # changed by hand, or of a type that was another then
            return None
        result.add(mine)
        return record, is_others

    def keep(self, row: Row, key: str, result: Result, seconds: float) -> tuple[Result, bytes]:
        """The line for `calls/`, and what goes on of `result`, which is of this row alone: as it will be read again.

        Raises:
            Exception: JSON cannot hold it, or does not give it back.
        """
        values = [row.value for row in result.made]
        if not self._declared:
            _refuse_unless_plain(values)
        record: Record = {"_id": row.id, "key": key, "attempt": 1}
        turn = self._at.turn(row)
        if turn is not None:
            record["turn"] = turn
        record["made"] = self._dump.dump(values).values
        record["children"] = any(made.order != row.order for made in result.made)
        record["drops"] = [why for _, why in result.drops]
        record["seconds"] = round(seconds, 6)
        line = encode(record)
        kept = Result()
        self._put(row, orjson.loads(line), kept)
        return kept, line

    def reused(self, row: Row, record: Record) -> bytes:
        """The line for a record that was another's."""
        run = self._executor.past.other_run
        return encode(reused_record(record, row.id, run, turns=self._at.turns(row)))

    def _put(self, row: Row, record: Record, result: Result) -> None:
        data = record["made"]
        if self._restore is not None:
            values = self._adapter.validate_python(self._restore(data), by_alias=True, by_name=True)
        else:
            values = self._adapter.validate_json(encode(data), by_alias=True, by_name=True)
        self._maker.put_values(row, values, result, always=record["children"])
        result.drops += [(row, str(why)) for why in record["drops"]]


def _refuse_unless_plain(values: list[Any]) -> None:
    """
    Raises:
        TypeError: without a declared type the value would not be read back as what it is.
    """
    for value in values:
        if not is_json(value):
            name = type(value).__name__
            raise TypeError(f"returned {name}, which durable=True keeps only with an annotation: T -> {name}")
