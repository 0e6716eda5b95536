"""The run folder as tables: pages, conditions, search and order; every quick way says what the plain one says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from chainette.errors import RunFolderError
from chainette.files import NodeOutput, RunFolder
from chainette.files.reading import RunReader
from chainette.files.tables import Condition, Page, Query, Tables, field_bytes
from chainette.files.tables.evaluator import Evaluator
from chainette.files.tables.parts import Block, Lines, LinesPart
from chainette.files.tables.query import check_of, has_text, ignoring_case, path_of, spelt, value_at
from chainette.files.tables.sql import small_engine
from chainette.rows import Failure, InputChunk, NodeChunk

LINES_A_FILE = 1_500


class Answer(BaseModel):
    answer: str
    score: float | None = 0.5
    pages: list[int] = []
    about: dict[str, Any] = {}


class Verdict(BaseModel):
    good: bool


def run(path: Path, count: int = 4_321, format: Any = "jsonl") -> Path:
    """Answers to the even rows are good; the rows of `split` are two children each; row 7 failed at `judge`."""
    folder = RunFolder.create(path, "Test")
    nodes = [
        NodeOutput("qa", Answer),
        NodeOutput("judge", Verdict),
        NodeOutput("split", Verdict),
        NodeOutput("none", Answer),
    ]
    folder.configure(nodes, format=format, max_lines_per_file=LINES_A_FILE)
    schema = {
        name: model.model_json_schema() for name, model in (("qa", Answer), ("judge", Verdict), ("split", Verdict))
    }
    described = [{"id": name, "type": "step", "schema": of} for name, of in schema.items()]
    folder.write_graph(
        {
            "execution_order": [{"id": node.node_id} for node in nodes],
            "nodes": described,
            "options": {"max_lines_per_file": LINES_A_FILE},
        }
    )
    ids = [str(n) for n in range(count)]
    answers = [
        Answer(
            answer=f'Ort {n}, "x"\n…' if n % 3 else f"PARIS {n}",
            score=None if n % 10 == 9 else n / 1000,
            pages=[n],
            about={"n": n},
        )
        for n in range(count)
    ]
    verdicts = [Verdict(good=n % 2 == 0) for n in range(count)]
    children = [f"{n}.{k}" for n in range(count) for k in range(2)]
    halves = [Verdict(good=k == 0 and n == 5) for n in range(count) for k in range(2)]
    chunk = InputChunk(0, 0, ids, answers, [{"text": str(n)} for n in range(count)])
    failed = [Failure("7", "judge", "schema", "no", raw="x")]
    folder.add_inputs(chunk)
    folder.add_chunk(
        0,
        [
            NodeChunk("qa", ids, answers),
            NodeChunk("judge", ids, verdicts, failed),
            NodeChunk("split", children, halves),
        ],
        ids,
        {"qa": range(count), "judge": range(count)},
        chunk,
    )
    folder.close(seal=True)
    return path


def tables(path: Path) -> Tables:
    return Tables(RunReader(path))


def ids(page: Page) -> list[str]:
    return [row["_id"] for row in page.rows]


@pytest.mark.parametrize("format", ["jsonl", "parquet", "csv"])
def test_a_page_is_found_by_place(tmp_path: Path, format: Any) -> None:
    found = tables(run(tmp_path / "r", format=format))
    assert found.count("qa") == 4_321
    for offset in (0, 998, 1_499, 1_500, 2_999, 4_319):
        page = found.page("qa", offset, 3)
        assert ids(page) == [str(n) for n in range(offset, min(offset + 3, 4_321))]
        assert page.places == list(range(offset, min(offset + 3, 4_321)))
    assert found.page("qa", 5_000).rows == []
    assert found.page("qa").rows[1] == {
        "_id": "1",
        "answer": 'Ort 1, "x"\n…',
        "score": 0.001,
        "pages": [1],
        "about": {"n": 1},
    }
    assert found.row_at("qa", 4_320) == found.page("qa", 4_320).rows[0]
    assert found.row_at("qa", 4_321) is None


def test_every_table_of_a_run_is_named(tmp_path: Path) -> None:
    found = tables(run(tmp_path / "r"))
    assert [info.name for info in found.names()] == ["chain_input", "qa", "judge", "split", "flattened", "failed"]
    assert found.page("none").rows == []
    assert found.page("failed").rows[0] | {"cause": []} == {
        "_id": "7", "step": "judge", "kind": "schema", "message": "no", "attempts": 1, "raw": "x", "cause": [],
    }  # fmt: skip
    with pytest.raises(RunFolderError, match=r'no table "juge" \(did you mean "judge"'):
        found.page("juge")


def test_columns_are_those_of_the_model_and_of_the_first_rows(tmp_path: Path) -> None:
    found = tables(run(tmp_path / "r"))
    assert [(c.name, c.kind) for c in found.columns("qa")] == [
        ("_id", "text"), ("answer", "text"), ("score", "number"), ("pages", "list"), ("about", "any"),
    ]  # fmt: skip
    assert [(c.name, c.kind) for c in found.columns("chain_input")] == [("_id", "text"), ("text", "text")]
    assert "qa.answer" in [c.name for c in found.columns("flattened")]


CONDITIONS = [
    (Condition("score", ">", 4.31), lambda n: n > 4310 and n % 10 != 9),
    (Condition("score", "is null"), lambda n: n % 10 == 9),
    (Condition("score", "!=", 0.001), lambda n: n != 1),
    (Condition("answer", "=", "PARIS 3"), lambda n: n == 3),
    (Condition("answer", "contains", "paris 43"), lambda n: n % 3 == 0 and str(n).startswith("43")),
    (Condition("answer", "matches", "^Ort [0-4],"), lambda n: n in (1, 2, 4)),
    (Condition("pages", "contains", "4320"), lambda n: n == 4320),
    (Condition("about.n", "in", [3, 4, 9999]), lambda n: n in (3, 4)),
    (Condition("good", "=", True, table="judge"), lambda n: n % 2 == 0),
    (Condition("good", "=", True, table="split"), lambda n: n == 5),
    (Condition("kind", "=", "schema", table="failed"), lambda n: n == 7),
]


@pytest.mark.parametrize("format", ["jsonl", "parquet", "csv"])
def test_rows_are_chosen_by_any_field_of_any_step(tmp_path: Path, format: Any) -> None:
    found = tables(run(tmp_path / "r", format=format))
    for condition, holds in CONDITIONS:
        wanted = [str(n) for n in range(4_321) if holds(n)]
        page = found.select("qa", Query((condition,))).page(0, 5_000)
        assert (condition, ids(page)) == (condition, wanted)
        assert (page.total, page.scanned, page.table_rows) == (len(wanted), 4_321, 4_321)


@pytest.mark.parametrize("format", ["jsonl", "parquet", "csv"])
def test_a_search_looks_at_every_value_and_at_no_key(tmp_path: Path, format: Any) -> None:
    found = tables(run(tmp_path / "r", format=format))
    assert ids(found.select("qa", Query(search="paris 12")).page(0, 9)) == ["12", "120", "123", "126", "129"] + [
        str(n) for n in range(1200, 1212, 3)
    ]
    assert found.select("qa", Query(search="answer")).page().total == 0
    assert ids(found.select("qa", Query(search='1, "x"\n')).page(0, 2)) == ["1", "11"]
    assert ids(found.select("qa", Query(search="4.3")).page(0, 2)) == ["4300", "4301"]
    assert found.select("qa", Query(search="paris 12" * 100)).page().total == 0


def test_the_rows_of_children_are_found_by_their_parents(tmp_path: Path) -> None:
    found = tables(run(tmp_path / "r", 40))
    query = Query((Condition("answer", "=", "PARIS 3", table="qa"),))
    assert ids(found.select("split", query).page()) == ["3.0", "3.1"]


@pytest.mark.parametrize("format", ["jsonl", "parquet", "csv"])
def test_an_order_is_stable_and_has_rows_without_a_value_last(tmp_path: Path, format: Any) -> None:
    found = tables(run(tmp_path / "r", format=format))
    valued = [n for n in range(4_321) if n % 10 != 9]
    without = [n for n in range(4_321) if n % 10 == 9]
    for descending in (False, True):
        answer = found.select("qa", Query(order="score", descending=descending))
        wanted = sorted(valued, reverse=descending) + without
        assert ids(answer.page(0, 50)) == [str(n) for n in wanted[:50]]
        assert ids(answer.page(3_800, 200)) == [str(n) for n in wanted[3_800:4_000]]
    by_flag = found.select("judge", Query(order="good", descending=True)).page(2_158, 6)
    assert ids(by_flag) == ["4316", "4318", "4320", "1", "3", "5"]
    texts = found.select("qa", Query((Condition("score", "<", 0.02),), order="answer")).page(0, 3)
    assert ids(texts) == [str(n) for n in (1, 10, 11)]


def test_the_first_rows_come_before_all_were_looked_at_and_looking_goes_on(tmp_path: Path) -> None:
    path = run(tmp_path / "r", 20_000)
    found = tables(path)
    answer = found.select("qa", Query((Condition("about.n", ">=", 10),)))
    page = answer.page(0, 5)
    assert ids(page) == ["10", "11", "12", "13", "14"]
    assert not page.complete
    assert page.total is None
    while not answer.advance(0.01):
        pass
    assert (answer.found, answer.scanned) == (19_990, 20_000)
    assert ids(answer.page(19_988, 5)) == ["19998", "19999"]
    assert found.select("qa", Query((Condition("about.n", ">=", 10),))) is answer


def test_a_run_that_goes_on_has_the_rows_that_it_has_by_now(tmp_path: Path) -> None:
    path = run(tmp_path / "r", 10)
    found = tables(path)
    query = Query(search="later")
    assert (found.count("qa"), found.select("qa", query).page().total) == (10, 0)
    with open(path / "steps/qa/000.jsonl", "ab") as file:
        file.write(b'{"_id":"10","answer":"later"}\n{"_id":"11","ans')
        file.flush()
        assert found.count("qa") == 11
        assert ids(found.page("qa", 9)) == ["9", "10"]
        assert ids(found.select("qa", query).page()) == ["10"]
        file.write(b'wer":"later"}\n')
        file.flush()
        assert ids(found.select("qa", query).page()) == ["10", "11"]
        assert found.page("qa", 11).rows == [{"_id": "11", "answer": "later"}]


def test_a_damaged_row_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = run(tmp_path / "r", 10)
    with open(path / "steps/qa/000.jsonl", "ab") as file:
        file.write(b'{"_id":"10","answer":{"later"}\n')
    for look in (lambda: tables(path).page("qa", 9), lambda: tables(path).select("qa", Query(search="later")).page()):
        with pytest.raises(RunFolderError, match=r"000\.jsonl: damaged at"):
            look()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("score", "≥", "0.5"), Condition("score", ">=", 0.5)),
        (("answer", "==", "5"), Condition("answer", "=", "5")),
        (("about.n", "in", "1, 2"), Condition("about.n", "in", [1, 2])),
        (("score", "is  null", ""), Condition("score", "is null")),
        (("answer", "~", "true"), Condition("answer", "contains", "true")),
    ],
)
def test_a_condition_is_made_of_what_somebody_typed(
    tmp_path: Path, words: tuple[str, str, str], wanted: Condition
) -> None:
    assert tables(run(tmp_path / "r", 3)).condition("qa", *words) == wanted


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("scor", "=", "1"), 'did you mean "score"'),
        (("score", "is about", "1"), "no such operator"),
        (("score", "=", "1", "juge"), 'did you mean "judge"'),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_nearest_name(tmp_path: Path, words: Any, said: str) -> None:
    with pytest.raises(RunFolderError, match=said):
        tables(run(tmp_path / "r", 3)).condition("qa", *words)
    with pytest.raises(RunFolderError, match="RE2"):
        tables(tmp_path / "r").select("qa", Query((Condition("answer", "matches", "("),)))


NEAR = st.sampled_from(
    ["a", "A", "ab", "Ab", "s", "ſ", "K", "k", "i", "İ", "ı", "é", "É", "ß", "SS", "Σ", "ς", "π", "/", "\\", '"', "\n",
     "null", "1", "12", "1e2", "x{y", "\x01", "\u2028", "日本", "𝒳", "}", ",", "label", "true", " "]
)  # fmt: skip
TEXTS = st.one_of(
    NEAR, st.lists(NEAR, max_size=3).map("".join), st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
)
NUMBERS = st.one_of(
    st.integers(-20, 20),
    st.sampled_from([0.1, -0.5, 1e2, 1e22, 2**53, 2**53 + 1, 10**30, 0.30000000000000004, 123456789012345.6, -0.0]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(TEXTS, inner, max_size=2)),
    max_leaves=3,
)
ROWS = st.fixed_dictionaries({"_id": st.just("0")}, optional={"a": VALUES, "label": SCALARS, "x.y": SCALARS})
FLAT_ROWS = st.fixed_dictionaries({"_id": st.just("0"), "a": SCALARS, "label": SCALARS, "x.y": NUMBERS})
PATHS = st.sampled_from([("a",), ("label",), ("x.y",), ("a", "label"), ("a", "a")])
NUMERALS = {0.1: "1e-1", 1: "1.0", 2: "0.2E1", 100: "1e2"}


@st.composite
def lines(draw: Any) -> list[bytes]:
    """Rows as we write them, or in any other spelling that JSON has."""
    rows = draw(st.lists(draw(st.sampled_from([ROWS, FLAT_ROWS])), min_size=1, max_size=12))
    return [draw(spelling(row)) for row in rows]


def spelling(row: dict[str, Any]) -> st.SearchStrategy[bytes]:
    ours = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
    others = [
        json.dumps(row),
        json.dumps(row, ensure_ascii=False),
        json.dumps(row, ensure_ascii=False, separators=(" ,", " :")),
        ours.replace("/", "\\/"),
        re.sub(r"(?<=:)(0\.1|1|2|100)(?=[,}])", lambda found: NUMERALS[json.loads(found[1])], ours),
    ]
    return st.one_of(st.just(ours), st.sampled_from(others)).map(str.encode)


@st.composite
def conditions(draw: Any) -> Condition:
    op = draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "contains", "matches", "in", "is null", "is not null"]))
    if op in ("<", "<=", ">", ">="):
        return Condition("", op, draw(st.one_of(NUMBERS, TEXTS)))
    if op in ("contains", "matches"):
        return Condition("", op, draw(TEXTS if op == "contains" else TEXTS.map(re.escape).filter(str.isascii)))
    return Condition("", op, draw(st.lists(SCALARS, max_size=2) if op == "in" else SCALARS))


ENGINE = small_engine()


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(lines(), st.lists(st.tuples(PATHS, conditions()), max_size=2), st.one_of(st.just(""), TEXTS))
@example([b'{"_id":"0","a":"b\\u0061d"}'], [(("a",), Condition("", "=", "bad"))], "")
@example([b'{"_id":"0","a":"x","label":1}'] * 3, [(("label",), Condition("", "=", 1))], "")
@example([b'{"_id":"0","a": "x" ,"label":1}'], [(("a",), Condition("", "=", "x"))], "")
def test_every_way_of_looking_finds_what_testing_each_row_finds(
    lines: list[bytes], asked: list[tuple[tuple[str, ...], Condition]], search: str
) -> None:
    wanted = [number for number, line in enumerate(lines) if _holds(line, asked, search)]
    part = LinesPart(Path("none"))
    for few in (0.0, 0.15, 1.1):
        evaluator = Evaluator(asked, search, lambda: ENGINE, few=few)
        for _ in range(2):  # what was of no help is not used again
            block = Block(part, -1, Lines(b"".join(line + b"\n" for line in lines)))
            assert list(evaluator.matches(block)) == wanted


def _holds(line: bytes, asked: list[tuple[tuple[str, ...], Condition]], search: str) -> bool:
    row, by_spelling = json.loads(line), spelt(line)
    for path, condition in asked:
        # Numbers are looked into as they are spelt.
        source = by_spelling if condition.op == "contains" else row
        if not check_of(condition)(value_at(source, path)):
            return False
    return not search or has_text(by_spelling, ignoring_case(search))


@settings(max_examples=200, deadline=None)
@given(lines(), conditions())
def test_bytes_say_yes_no_or_nothing_of_a_field_but_never_anything_wrong(
    lines: list[bytes], condition: Condition
) -> None:
    flat = field_bytes.FlatLines.of(Lines(b"".join(line + b"\n" for line in lines)), field_bytes.Scratch())
    column = flat.column("a") if flat is not None else None
    if column is None or not field_bytes.is_for(("a",), condition):
        return
    met, odd = field_bytes.rows(column, condition)
    test = check_of(condition)
    wrong = [
        line for number, line in enumerate(lines) if not odd[number] and met[number] != test(json.loads(line).get("a"))
    ]
    assert wrong == []


def test_a_column_with_dots_in_its_name_comes_before_a_field_inside_another() -> None:
    assert path_of("qa.answer", ["_id", "qa.answer"]) == ("qa.answer",)
    assert path_of("qa.answer.text", ["qa", "qa.answer"]) == ("qa.answer", "text")
    assert path_of("a.b", ["a"]) == ("a", "b")
