"""Parts of the report that are texts of the run: sample rows, prompts, schemas, engines, how it was called.

Every text goes through one budget, so the page stays small whatever a run holds.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chainette.reports.harmless import lines, one_line
from chainette.reports.wording import in_words

if TYPE_CHECKING:
    from chainette.files.reading import RunReader

SAMPLE_ROWS = 20
MOST_FIELDS = 60
MOST_STEPS = 200
SHORT = 240
"""Characters that are shown before somebody opens a text."""
MOST = 8_000
"""Characters of one text."""
MOST_OF_ALL = 2_500_000
"""Characters of all texts together."""


@dataclass(frozen=True, slots=True)
class Block:
    """A text: `head` is seen at once; `whole` when it is opened, empty where the head is all."""

    head: str
    whole: str = ""
    left_out: int = 0
    """Characters that are not here."""


@dataclass(slots=True)
class Budget:
    """What all texts of a page may take together."""

    left: int = MOST_OF_ALL
    cut: int = 0
    """Texts that were cut."""

    def block(self, value: object, most: int = MOST) -> Block:
        """Of any value: text as it is, everything else as JSON."""
        text = lines(in_words(value))
        kept = text[: max(SHORT, min(most, self.left))]
        self.left -= len(kept)
        left_out = len(text) - len(kept)
        self.cut += left_out > 0
        if len(kept) <= SHORT and kept.count("\n") < 6:
            return Block(kept, left_out=left_out)
        return Block(one_line(kept[:SHORT]), kept, left_out)


@dataclass(frozen=True, slots=True)
class SampleRow:
    id: str
    fields: tuple[tuple[str, Block], ...]
    empty: int = 0
    """Fields without a value, which are not here."""
    more: int = 0
    """Other fields that are not here."""


@dataclass(slots=True)
class Sample:
    """Rows evenly over the run, the first and the last among them."""

    what: str
    total: int
    rows: list[SampleRow] = field(default_factory=list)


def sample_of(reader: RunReader, graph: Mapping[str, Any], budget: Budget) -> Sample | None:
    """Of the final rows with every step's fields; where the run has none, of what came last."""
    from chainette.files.names import INPUT_NODE
    from chainette.files.tables import Tables

    tables = Tables(reader)
    there = {info.name for info in tables.names()}
    last = str(graph.get("last") or "")
    choices = {"flattened": "final rows, with every step's fields", last: f"rows of {last}"}
    for name, what in {**choices, INPUT_NODE: "rows as they were read"}.items():
        total = tables.count(name) if name in there else 0
        rows = [tables.row_at(name, place) for place in places(total)]
        if rows:
            return Sample(what, total, [_sample_row(row, budget) for row in rows if row is not None])
    return None


def places(total: int, most: int = SAMPLE_ROWS) -> list[int]:
    """`most` places from the first to the last at even distances; all where there are no more."""
    if total <= most:
        return list(range(total))
    return [place * (total - 1) // (most - 1) for place in range(most)]


def _sample_row(row: Mapping[str, Any], budget: Budget) -> SampleRow:
    named = [(key, value) for key, value in row.items() if key != "_id" and value is not None]
    empty = sum(value is None for value in row.values())
    fields = tuple((one_line(key, 200), budget.block(value)) for key, value in named[:MOST_FIELDS])
    return SampleRow(one_line(row.get("_id", ""), 200), fields, empty, max(0, len(named) - MOST_FIELDS))


@dataclass(frozen=True, slots=True)
class Step:
    """A node, or an engine, with the texts that make it."""

    id: str
    anchor: str
    kind: str
    about: str
    texts: tuple[tuple[str, Block], ...]


_TEXTS = (
    *("system_prompt", "user_prompt", "output_format_instruction", "source", "until", "key", "ways", "sampling"),
    "schema",
)
_PLAIN = ("retries", "timeout_s", "n", "max_iterations", "over", "seconds", "shape", "missing")


def steps_of(graph: Mapping[str, Any], budget: Budget) -> list[Step]:
    """The nodes in order, with what each was asked and what it had to answer."""
    nodes = graph.get("nodes")
    listed = [node for node in nodes if isinstance(node, Mapping)] if isinstance(nodes, list) else []
    return [_step(node, place, budget) for place, node in enumerate(listed[:MOST_STEPS])]


def _step(node: Mapping[str, Any], place: int, budget: Budget) -> Step:
    words = [f"{node['input']} → {node['output']}"] if node.get("input") and node.get("output") else []
    words += [str(node["engine"])] if node.get("engine") else []
    words += [f"{name} {in_words(node[name])}" for name in _PLAIN if node.get(name) not in (None, "", 0)]
    kept = [(name, node[name]) for name in _TEXTS if node.get(name) and name != "ways"]
    texts = tuple((name.replace("_", " "), _pretty(value, budget)) for name, value in kept)
    return Step(
        id=one_line(node.get("id", "")),
        anchor=f"step-{place}",
        kind=one_line(node.get("type", "")),
        about=one_line(", ".join(words), 500),
        texts=texts,
    )


def _pretty(value: object, budget: Budget) -> Block:
    if isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(item, Mapping) for item in value):
        value = "\n\n".join(f"{item.get('role', '')}: {in_words(item.get('content'))}" for item in value)
    return budget.block(in_words(value, indent=1), most=2 * MOST)


def engine_blocks(graph: Mapping[str, Any], budget: Budget) -> list[Step]:
    """The engines as `graph.json` has them, which has no secrets."""
    engines = graph.get("engines")
    listed = [engine for engine in engines if isinstance(engine, Mapping)] if isinstance(engines, list) else []
    found = []
    for place, engine in enumerate(listed[:MOST_STEPS]):
        said = {key: value for key, value in engine.items() if value not in (None, "", [], {}) and key != "script"}
        about = one_line(" ".join(str(engine.get(key) or "") for key in ("description", "model")), 300)
        spec = (("spec", _pretty(said, budget)),)
        found.append(
            Step(one_line(engine.get("name", "")), f"engine-{place}", str(engine.get("backend", "")), about, spec)
        )
    return found


def facts_of(graph: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How the run was called, of what, with which versions."""
    found: list[tuple[str, str]] = []
    command = graph.get("command")
    if isinstance(command, list) and command:
        words = [str(command[0]).rpartition("/")[2], *map(str, command[1:])]
        found.append(("command", shlex.join(words)))
    inputs = graph.get("inputs")
    if isinstance(inputs, Mapping):
        found += [(f"input {key}", in_words(value)) for key, value in inputs.items() if value not in (None, [], {})]
    options = graph.get("options")
    if isinstance(options, Mapping):
        said = {key: value for key, value in options.items() if value not in (None, {}, [], False)}
        found.append(("options", ", ".join(f"{key} {in_words(value)}" for key, value in said.items())))
    versions = graph.get("versions")
    if isinstance(versions, Mapping):
        found.append(("versions", ", ".join(f"{key} {value}" for key, value in versions.items())))
    found += [(key.replace("_", " "), str(graph[key])) for key in ("git_commit", "run_id") if graph.get(key)]
    return [(name, one_line(text, 2_000)) for name, text in found]
