"""Every event as a line of JSON, and back; `docs/events.md` says all that can stand there."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainette import events
from chainette.events import EngineCount, Event, NodeCount, Progressed, RunFinished, RunStarted, Warned
from chainette.observe import event_fields, event_of, record_line, unix_s, utc

KINDS = get_args(events.Event)
DOCS = (Path(__file__).parents[2] / "docs/events.md").read_text(encoding="utf-8")

words = st.text(max_size=20)
counts = st.integers(0, 2**53)
seconds = st.floats(0, 1e9)
node_counts = st.builds(NodeCount, entered=counts, calls=counts, seconds=seconds, drops=st.dictionaries(words, counts))
engine_counts = st.builds(EngineCount, window=counts, busy_s=seconds, cost=st.none() | seconds)
OWN: dict[type, dict[str, st.SearchStrategy[Any]]] = {
    RunStarted: {
        "tree": st.lists(words | st.fixed_dictionaries({"branches": st.lists(st.just({"name": "b", "items": ["x"]}))}))
    }
}


PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: words,
    int: counts,
    float: seconds,
    bool: st.booleans(),
    type(None): st.none(),
    NodeCount: node_counts,
    EngineCount: engine_counts,
}


def of_kind(kind: type[Any]) -> st.SearchStrategy[Event]:
    types, own = get_type_hints(kind), OWN.get(kind, {})
    return st.builds(kind, **own, **{f.name: of_type(types[f.name]) for f in fields(kind) if f.name not in own})


def of_type(form: Any) -> st.SearchStrategy[Any]:
    if form in PLAIN:
        return PLAIN[form]
    within = get_args(form)
    if get_origin(form) is dict:
        return st.dictionaries(of_type(within[0]), of_type(within[1]), max_size=3)
    if get_origin(form) is not tuple:
        return st.one_of([of_type(one) for one in within])
    if within[-1] is Ellipsis:
        return st.lists(of_type(within[0]), max_size=3).map(tuple)
    return st.tuples(*[of_type(one) for one in within])


@given(st.one_of([of_kind(kind) for kind in KINDS]))
def test_an_event_read_back_is_the_event_that_was_written(event: Event) -> None:
    assert event_of(json.loads(record_line(event_fields(event)))) == event


def test_an_event_of_a_later_version_is_passed_over_and_so_is_a_field_of_one() -> None:
    assert event_of({"event": "moon_rose", "time": "2026-11-21T01:26:54.985Z"}) is None
    assert event_of({"event": "warned", "message": "m", "colour": "red"}) == Warned("m")


def test_a_field_of_an_earlier_version_that_is_not_there_has_its_default() -> None:
    record = {"event": "chunk_committed", "time": "2026-11-21T01:26:54.985Z", "chunk": 3, "rows_committed": 9}
    assert event_of(record) == events.ChunkCommitted(3, 9)


@pytest.mark.parametrize(
    "record",
    [
        {"event": "engine_died", "engine": 5, "replica": 0, "why": ""},
        {"event": "engine_awake", "engine": "e", "seconds": float("nan")},
        {"event": "chunk_read", "chunk": 10**30, "first": 0, "rows": 1},
        {"event": "stage_finished"},
        {"event": "progressed", "rows_read": 1, "rows_done": 1, "elapsed_s": 0.1, "nodes": {"a": {"done": "9"}}},
        {"event": "progressed", "rows_read": 1, "rows_done": 1, "elapsed_s": 0.1, "nodes": {"a": 3}},
    ],
    ids=lambda record: record["event"],
)
def test_an_event_with_a_field_that_is_nothing_of_its_kind_is_refused(record: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        event_of({"engines": {}, **record})


@pytest.mark.parametrize("at_s", [0.0, 1_794_000_000.25, 1_794_000_000.999])
def test_a_time_is_read_as_it_was_written(at_s: float) -> None:
    assert unix_s({"time": utc(at_s)}) == pytest.approx(at_s, abs=0.001)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_page_about_events_names_each_with_all_its_fields(kind: type[Any]) -> None:
    name = str(event_fields(_made(kind))["event"])
    found = re.search(rf"^### `{name}`\n(.*?)(?=^##|\Z)", DOCS, re.DOTALL | re.MULTILINE)
    assert found is not None, f"docs/events.md has no ### `{name}`"
    assert _first_cells(found[1]) == {f.name for f in fields(kind)}


@pytest.mark.parametrize("kind", [NodeCount, EngineCount])
def test_the_page_about_events_names_what_is_counted(kind: type[Any]) -> None:
    of_nodes, of_engines = DOCS.partition("## Counts")[2].split("Of an engine.")
    assert _first_cells(of_nodes if kind is NodeCount else of_engines) == {f.name for f in fields(kind)}


def _first_cells(text: str) -> set[str]:
    """The names in the first column of its tables."""
    cells = re.findall(r"^\| (.*?) \|", text, re.MULTILINE)
    return {word for cell in cells for word in re.findall(r"`(\w+)`", cell)}


def _made(kind: type[Any]) -> Any:
    event = object.__new__(kind)
    for field in fields(kind):
        empty: Any = {} if kind in (Progressed, RunFinished) and field.name in ("nodes", "engines") else ()
        object.__setattr__(event, field.name, empty)
    return event
