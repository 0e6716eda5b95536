"""Two runs compared row by row: which row is which, and what of it changed."""

from __future__ import annotations

import inspect
import json
import random
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import BaseModel

from chainette import Branch, Chain, apply
from chainette.errors import RunFolderError
from chainette.files.comparing import compare
from chainette.files.comparing_inputs import Pairing, RunInput, partner_of
from chainette.files.reading import RunReader


class Item(BaseModel):
    name: str
    price: float = 1.0


class Rich(BaseModel):
    name: str
    tags: list[str]
    seen: datetime
    ok: bool | None = None


def items(*names):
    return [Item(name=name) for name in names]


def fine(row: Item) -> Item:
    return row


def run(inputs, *functions, **options):
    steps = [apply(f, id=f"f{i}") if inspect.isfunction(f) else f for i, f in enumerate(functions or [fine])]
    result = Chain(name="c", steps=steps).run(inputs, **{"max_failed": 99, **options})
    return RunReader(result.folder)


def node(comparison, id):
    return next(n for n in comparison.nodes if n.id == id)


def counts(comparison, id="f0"):
    found = node(comparison, id)
    return {"same": found.same, "changed": found.changed, "added": found.added, "gone": found.gone}


def test_the_same_rows_differ_in_nothing():
    old = run(items("a", "b", "a"))
    compared = compare(old, run(items("a", "b", "a")))
    assert not compared.differs
    assert counts(compared) == {"same": 3, "changed": 0, "added": 0, "gone": 0}
    assert not compare(old, old).differs


def test_a_row_that_changed_is_counted_with_its_fields_and_shown():
    old = run(items("a", "b", "c"))
    new = run(items("a", "b", "c"), lambda rows: [r if r.name != "b" else Item(name="B", price=2) for r in rows])
    compared = compare(old, new)
    assert compared.differs
    assert counts(compared) == {"same": 2, "changed": 1, "added": 0, "gone": 0}
    assert dict(node(compared, "f0").fields) == {"name": 1, "price": 1}
    (example,) = node(compared, "f0").examples
    assert (example.before["name"], example.after["name"]) == ("b", "B")
    assert list(example.fields) == ["name", "price"]


@pytest.mark.parametrize(
    ("names", "same", "changed", "added", "gone", "moved"),
    [
        ("zabcde", 5, 0, 1, 0, 0),
        ("bcde", 4, 0, 0, 1, 0),
        ("edcba", 5, 0, 0, 0, 4),
        ("zbcde", 4, 1, 0, 0, 0),
        ("zabCde", 4, 1, 1, 0, 0),
        ("aabcde", 5, 0, 1, 0, 0),
        ("cXa", 2, 1, 0, 2, 1),
        ("", 0, 0, 0, 5, 0),
        ("vwxyz", 0, 5, 0, 0, 0),
    ],
)
def test_rows_are_known_by_their_content_wherever_they_stand(names, same, changed, added, gone, moved):
    compared = compare(run(items(*"abcde")), run(items(*names)))
    expected = {"same": same, "changed": changed, "added": added, "gone": gone}
    assert counts(compared, "chain_input") == expected
    assert counts(compared) == expected
    assert compared.moved == moved


def test_the_kth_row_of_some_content_is_the_kth_of_that_content():
    def numbered(rows: list[Item]) -> list[Item]:
        return [Item(name=row.name, price=i) for i, row in enumerate(rows)]

    old = run(items("x", "y", "x"), apply(numbered, id="f0", shape="map"))
    new = run(items("y", "x", "x"), apply(numbered, id="f0", shape="map"))
    changed = {(e.before["_id"], e.after["_id"]) for e in node(compare(old, new), "f0").examples}
    assert changed == {("0", "1"), ("1", "0")}


def test_rows_in_another_order_are_no_difference():
    names = [f"n{i}" for i in range(300)]
    shuffled = random.Random(1).sample(names, len(names))
    compared = compare(run(items(*names)), run(items(*shuffled)))
    assert not compared.differs
    assert compared.moved > 100


def test_with_ids_from_the_data_a_row_is_known_by_its_id():
    old = run([{"name": "a", "price": 1}, {"name": "b.0", "price": 2}], id_field="name")
    new = run([{"name": "b.0", "price": 3}, {"name": "c", "price": 1}], id_field="name")
    compared = compare(old, new)
    assert counts(compared) == {"same": 0, "changed": 1, "added": 1, "gone": 1}
    (changed,) = [e for e in node(compared, "f0").examples if e.kind == "changed"]
    assert (changed.before["_id"], changed.after["_id"], list(changed.fields)) == ("b.0", "b.0", ["price"])


def test_ids_in_one_of_the_runs_only_do_not_matter():
    old = run([{"name": "a"}, {"name": "b"}])
    assert counts(compare(old, run([{"name": "b"}, {"name": "a"}], id_field="name")))["same"] == 2


@pytest.mark.parametrize("names", [("ab c", "d e f"), ("new", "ab c", "d e f"), ("d e f", "ab c")])
def test_children_are_known_by_their_place_below_the_input_row(names):
    def split(row: Item) -> list[Item]:
        return [Item(name=word) for word in row.name.split()]

    def louder(row: Item) -> Item:
        return Item(name=row.name.upper() if row.name == "e" else row.name)

    def quiet(row: Item) -> Item:
        return row

    old = run(items("ab c", "d e f"), split, louder)
    new = run(items(*names), split, quiet)
    compared = compare(old, new)
    assert node(compared, "f1").changed == 1
    assert node(compared, "f1").same == 4
    assert [e.before["name"] for e in node(compared, "f1").examples if e.kind == "changed"] == ["E"]


def test_failures_are_compared_in_both_directions():
    def failing_at(**messages):
        def check(row: Item) -> Item:
            if row.name in messages:
                raise ValueError(messages[row.name])
            return row

        return apply(check, id="f0")

    old = run(items(*"abcd"), failing_at(a="x", b="x", c="x"))
    new = run(items(*"abcd"), failing_at(a="x", b="y", d="x"))
    found = node(compare(old, new), "f0")
    assert (found.failed_before, found.failed_after) == (3, 3)
    assert (found.newly_failed, found.no_longer_failed, found.failed_otherwise) == (1, 1, 1)
    assert (found.same, found.added, found.gone) == (0, 0, 0)
    examples = {e.kind: e for e in found.examples}
    assert examples["newly failed"].failed_after["message"] == "ValueError: x"
    assert examples["no longer failed"].after["name"] == "c"


def test_rows_that_could_not_be_read_are_compared_too():
    old = run([{"name": "a"}, {"nam": "b"}])
    new = run([{"name": "a"}, {"name": "b"}])
    found = node(compare(old, new), "chain_input")
    assert (found.failed_before, found.failed_after, found.no_longer_failed) == (1, 0, 1)


def test_a_node_that_only_one_run_has_is_all_added_or_all_gone():
    def extra(row: Item) -> Item:
        return row

    old, new = run(items("a", "b"), fine), run(items("a", "b"), apply(extra, id="extra"), apply(fine, id="f0"))
    compared = compare(old, new)
    assert [(n.id, n.before_id, n.after_id) for n in compared.nodes[1:]] == [("extra", None, "extra"), ("f0",) * 3]
    assert counts(compared, "extra")["added"] == 2
    assert counts(compare(new, old), "extra")["gone"] == 2


def test_a_step_under_another_name_is_the_same_step():
    compared = compare(run(items("a"), apply(fine, id="old")), run(items("a"), apply(fine, id="new")))
    assert [(n.before_id, n.after_id, n.same) for n in compared.nodes[1:]] == [("old", "new", 1)]


@pytest.mark.parametrize("before", ["jsonl", "parquet", "csv"])
@pytest.mark.parametrize("after", ["jsonl", "parquet", "csv"])
def test_the_format_of_the_files_is_no_difference(before, after):
    def rich(row: Item) -> Rich:
        ok = None if row.name == "b" else True
        return Rich(name=row.name, tags=["x", row.name], seen=datetime(2026, 1, 2, 3, 4, 5, 600, UTC), ok=ok)

    def other(row: Item) -> Rich:
        made = rich(row)
        return made.model_copy(update={"tags": ["x"]}) if row.name == "c" else made

    old, new = run(items(*"abc"), rich, format=before), run(items(*"abc"), other, format=after)
    assert counts(compare(old, new)) == {"same": 2, "changed": 1, "added": 0, "gone": 0}
    assert dict(node(compare(old, new), "f0").fields) == {"tags": 1}


def test_only_one_step_may_be_asked_for():
    old, new = run(items("a"), fine, fine), run(items("b"), fine, fine)
    assert [n.id for n in compare(old, new, step="f1").nodes] == ["f1"]
    with pytest.raises(RunFolderError, match='did you mean "f1"'):
        compare(old, new, step="f11")


def test_examples_are_as_many_as_asked_for():
    old, new = run(items(*"abcdef")), run(items(*"ABCDEF"))
    assert len(node(compare(old, new, examples=2), "f0").examples) == 2
    assert len(node(compare(old, new, examples=None), "f0").examples) == 6


def test_branches_are_compared_and_the_join_has_nothing_of_its_own(engine):
    def marked(row: Item) -> Item:
        return Item(name=row.name + "!")

    group = [Branch(name="m", steps=[apply(marked, id="m")]).join("m")]
    compared = compare(run(items("a"), group, fine), run(items("b"), group, fine))
    assert [n.id for n in compared.nodes] == ["chain_input", "m", "join_m", "f1"]
    assert counts(compared, "m")["changed"] == 1
    assert not node(compared, "join_m").differs


def test_a_run_that_was_killed_is_compared_as_far_as_it_is():
    old, new = run(items(*"abcdef")), run(items(*"abcdef"))
    steps = new.path / "steps/f0/000.jsonl"
    lines = steps.read_bytes().splitlines(keepends=True)
    steps.write_bytes(b"".join(lines[:3]) + lines[3][:7])
    assert counts(compare(old, RunReader(new.path))) == {"same": 3, "changed": 0, "added": 0, "gone": 3}
    inputs = new.path / "inputs/000.jsonl"
    inputs.write_bytes(inputs.read_bytes()[:-4])
    assert counts(compare(old, RunReader(new.path)), "chain_input")["gone"] == 1


@pytest.mark.parametrize("file", ["inputs/000.jsonl", "steps/f0/000.jsonl"])
def test_a_damaged_line_is_an_error_that_names_it(file):
    old, new = run(items(*"abc")), run(items(*"abc"))
    lines = (new.path / file).read_bytes().splitlines(keepends=True)
    (new.path / file).write_bytes(lines[0] + b'{"_id"\n' + lines[2])
    with pytest.raises(RunFolderError, match=f"{file}:2: damaged"):
        compare(old, RunReader(new.path))


def test_rows_beyond_the_input_that_was_read_are_left_out_of_a_run_that_goes_on():
    old = run([{"name": n} for n in "abc"], id_field="name")
    new = run([{"name": n} for n in "abc"], id_field="name")
    inputs = new.path / "inputs/000.jsonl"
    inputs.write_bytes(b"".join(inputs.read_bytes().splitlines(keepends=True)[:2]))
    assert counts(compare(old, RunReader(new.path))) == {"same": 2, "changed": 0, "added": 0, "gone": 1}


def test_a_run_that_has_not_begun_has_no_rows(tmp_path):
    old = run(items("a"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/status.json").write_text(json.dumps({"state": "stopped"}), encoding="utf-8")
    compared = compare(old, RunReader(tmp_path / "empty"))
    assert counts(compared)["gone"] == 1
    assert compared.states == ("done", "stopped")


def test_rows_are_not_held_in_memory(tmp_path):
    count = 10_000
    paths = []
    for side, names in (("a", range(count)), ("b", reversed(range(count)))):
        path = Path(tmp_path / side)
        (path / "inputs").mkdir(parents=True)
        (path / "steps/f0").mkdir(parents=True)
        (path / "graph.json").write_text('{"execution_order": [{"id": "f0", "type": "apply"}]}', encoding="utf-8")
        text = "".join(f'{{"_id":"{i}","name":"{name} of many words"}}\n' for i, name in enumerate(names))
        (path / "inputs/000.jsonl").write_text(text, encoding="utf-8")
        (path / "steps/f0/000.jsonl").write_text(text, encoding="utf-8")
        paths.append(path)
    readers = [RunReader(path) for path in paths]
    tracemalloc.start()
    compared = compare(*readers)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (counts(compared)["same"], compared.moved) == (count, count - 1)
    assert peak < 4_000_000, "the rows alone take more than twice as much"


@pytest.mark.parametrize("seed", range(30))
def test_any_edit_of_the_input_pairs_every_row_at_most_once(seed):
    dice = random.Random(seed)
    names = [dice.choice("abcdefgh") for _ in range(30)]
    edited = [dice.choice("abcdefghxyz") if dice.random() < 0.2 else name for name in names if dice.random() > 0.1]
    if seed % 3 == 0:
        dice.shuffle(edited)
    old, new = run(items(*names)), run(items(*edited))
    compared = counts(compare(old, new))
    assert compared["same"] + compared["changed"] + compared["gone"] == len(names)
    assert compared["same"] + compared["changed"] + compared["added"] == len(edited)
    common = sum(min(names.count(letter), edited.count(letter)) for letter in set(names))
    assert compared["same"] == common


def test_a_single_row_is_found_as_in_the_comparison_of_all():
    old, new = run(items("a", "b", "a", "c")), run(items("z", "a", "a", "B", "c"))
    pairing = Pairing(RunInput(old), RunInput(new))
    for place in range(4):
        partner = pairing.partner(place)
        assert partner_of(old, new, str(place)) == (None if partner is None else str(partner))
    pairing.close()
