"""What a function over the whole run gave back, as records in `calls/`: so that a run that goes on takes it from there,
and an order that is different each time is the same for ever. Knows records, not the function.

A set of records counts when its end is there; a row is the place of the row that it is, or `[place, value]` where the
value is another, or `[place, null, failure]`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import TypeAdapter

from chainette.executor.past import Past
from chainette.executor.run_scope_outcome import NEW, PER_BLOCK, GivenBack
from chainette.files.bytes_fields import restorer
from chainette.files.dumping import Dumper
from chainette.files.json_text import encode
from chainette.files.writable import is_json
from chainette.graph import Node
from chainette.rows import Failure

if TYPE_CHECKING:
    from chainette.files.run_folder import RunFolder

Record = dict[str, Any]


class Recorder:
    """The records of one node."""

    def __init__(self, node: Node) -> None:
        shape = node.apply.shape
        self._node = node
        self._type = shape.output_type if shape.declared else Any
        self._dump = Dumper(self._type)
        self._adapter: TypeAdapter[Any] = TypeAdapter(list[self._type])  # type: ignore[name-defined]
        self._restore = restorer(list[self._type])  # type: ignore[name-defined]

    def write(self, folder: RunFolder, key: str, made: GivenBack) -> bool:
        """Until it is on disk. False where the values would not be read back as what they are: nothing counts then."""
        name = uuid.uuid4().hex
        blocks = range(0, len(made), PER_BLOCK)
        for number, start in enumerate(blocks):
            stop = min(start + PER_BLOCK, len(made))
            values = dict(made.values(start, stop))
            if self._type is Any and not all(type(value) is Failure or is_json(value) for value in values.values()):
                return False
            rows = self._rows(made, values, start, stop)
            folder.log_call(self._node.id, encode({**self._head(str(number), key), "set": name, "rows": rows}))
            folder.write_log()
        end = {**self._head("end", key), "set": name, "parts": len(blocks), "count": len(made)}
        folder.log_call(self._node.id, encode(end))
        folder.sync_log()
        return True

    def read(self, past: Past, key: str, made: GivenBack, given: int, *, others: bool) -> bool:
        """Fills `made` with what the run's own log has, or another run's; False where there is nothing whole. `given`
        rows went in."""
        try:
            end, parts = _found(self._node, past, key, others=others)
            for record in parts:
                if record is None or record["set"] != end["set"]:
                    return False
                self._put(record["rows"], made, given)
            made.finish()
            return bool(end) and len(made) == end["count"]
        except Exception:  # changed by hand, or of a type that was another then
            return False

    def _put(self, rows: list[Any], made: GivenBack, given: int) -> None:
        changed = [row for row in rows if type(row) is list]
        values = iter(self._valid([row[1] for row in changed if len(row) == 2]))
        for row in rows:
            place = row[0] if type(row) is list else row
            if not NEW <= place < given:
                raise ValueError(f"no row {place}")
            if type(row) is not list:
                made.put(place)
            elif len(row) == 2:
                made.put_value(place, next(values))
            else:
                said = row[2]
                failure = Failure("", self._node.id, "apply", said["message"], cause=tuple(said["cause"]))
                made.put_failure(place, failure)

    def _valid(self, data: list[Any]) -> list[Any]:
        if self._restore is not None:
            found = self._adapter.validate_python(self._restore(data), by_alias=True, by_name=True)
        else:
            found = self._adapter.validate_json(encode(data), by_alias=True, by_name=True)
        return list(found)

    def _rows(self, made: GivenBack, values: Mapping[int, Any], start: int, stop: int) -> list[Any]:
        ranks = [rank for rank, value in values.items() if type(value) is not Failure]
        dumped = dict(zip(ranks, self._dump.dump([values[rank] for rank in ranks]).values, strict=True))
        rows: list[Any] = []
        for rank in range(start, stop):
            place = made.places[rank]
            if rank in dumped:
                rows.append([place, dumped[rank]])
            elif rank in values:
                failure = values[rank]
                rows.append([place, None, {"message": failure.message, "cause": list(failure.cause)}])
            else:
                rows.append(place)
        return rows

    def _head(self, part: str, key: str) -> Record:
        return {"_id": self._id(part), "key": key, "attempt": 1}

    def _id(self, part: str) -> str:
        """No row's id: the records of a node are found by it."""
        return f"{self._node.id}//{part}"


def copy_records(node: Node, past: Past, folder: RunFolder, key: str) -> None:
    """Notes another run's records down as this one's, so that it needs the other no more. Until they are on disk."""
    end, parts = _found(node, past, key, others=True)
    for record in (*parts, end):
        assert record is not None
        source = {"run": past.other_run, "_id": record["_id"]}
        folder.log_call(node.id, orjson.dumps({**record, "reused": record.get("reused", source)}))
        folder.write_log()
    folder.sync_log()


def _found(node: Node, past: Past, key: str, *, others: bool) -> tuple[Record, Iterator[Record | None]]:
    """The record that ends a set, empty where there is none, and those before it."""
    end = past.recorded(node.id, f"{node.id}//end", key, others=others) or {}
    ids = (f"{node.id}//{number}" for number in range(end.get("parts", 0)))
    return end, (past.recorded(node.id, row_id, key, others=others) for row_id in ids)
