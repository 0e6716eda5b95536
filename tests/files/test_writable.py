"""Which values a file can hold, and what the files hold of the others."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_serializer, model_serializer

from chainette.errors import RunFolderError
from chainette.files import NodeOutput, RunFolder, plain_type, unwritable
from chainette.files.reading import RunReader
from tests.files.test_run_folder import Question, Tree, inputs, lines, made, write_all

INFINITY = float("inf")


class Any_(BaseModel):
    a: Any


class Share(BaseModel):
    text: str
    share: float | None


class Shares(BaseModel):
    inner: list[Share]
    by_name: dict[str, float]


class Bytes(BaseModel):
    data: bytes
    many: list[bytes] = []
    by_name: dict[str, bytes | None] = {}


class Own64(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    data: bytes


class Angled(BaseModel):
    number: int

    @field_serializer("number")
    def angled(self, number: int) -> str:
        return f"<{number}>"


class Unsaid(BaseModel):
    number: int
    items: set[str] = {"b", "a"}

    @field_serializer("number")
    def angled(self, number):  # type: ignore[no-untyped-def]
        return f"<{number}>"


class Whole(BaseModel):
    number: int

    @model_serializer
    def whole(self):  # type: ignore[no-untyped-def]
        return [self.number]


class Hidden(BaseModel):
    number: int
    handle: Any = Field(exclude=True)


class Letter(Enum):
    A = "a"


class Simple(BaseModel):
    text: str
    letter: Letter
    kind: Literal["a", 1]
    items: list[dict[str, int]]
    inner: Question | None


@dataclass
class Pair:
    one: Any


def itself() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


def nested(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


def tree_in_itself() -> Tree:
    tree = Tree(name="a")
    tree.children = [tree]
    return tree


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (object(), "object cannot be written as JSON"),
        (int, "the class int cannot be"),
        ((n for n in range(2)), "generator cannot be"),
        (Any_(a=object()), "a: object cannot be"),
        (Any_(a={"x": [1, {"y": print}]}), r"a\.x\[1\]\.y: builtin_function"),
        (Any_(a=Pair(object())), r"a\.one: object cannot"),
        (Any_(a=itself()), "nests more than 150 levels deep, or holds itself"),
        (Any_(a=nested(5_000)), "nests more than 150 levels"),
        (tree_in_itself(), "nests more than 150 levels"),
        (Any_(a={1: "a", "1": "b"}), "a: two of the keys are the same text"),
        (Any_(a={object(): 1}), "a: a key of type object"),
        (Share(text="x", share=INFINITY), "share: inf cannot be written as JSON"),
        (Shares(inner=[Share(text="x", share=-INFINITY)], by_name={}), r"inner\[0\]\.share: -inf"),
        (Shares(inner=[], by_name={"k": INFINITY}), r"by_name\.k: inf"),
        ([1.0, INFINITY], r"\[1\]: inf"),
    ],
)
def test_what_no_file_can_hold_has_a_reason(value: Any, reason: str) -> None:
    found = unwritable(value)
    assert found is not None
    assert re.search(reason, found), found
    assert len(found) < 200


@pytest.mark.parametrize(
    "value",
    [
        "text",
        None,
        float("nan"),
        {"a": [1, {"b": {1, 2}}]},
        nested(100),
        Any_(a=b"\xff"),
        Any_(a=Pair({1})),
        Any_(a={1: "a", None: "b"}),
        Share(text="x", share=None),
        Shares(inner=[Share(text="x", share=float("nan"))], by_name={"a": 1}),
        Tree(name="a", children=[Tree(name="b")]),
        Hidden(number=1, handle=object()),
        Angled(number=1),
        Whole(number=1),
        SecretStr("x"),
    ],
)
def test_what_a_file_can_hold_has_no_reason(value: Any) -> None:
    assert unwritable(value) is None


def test_types_of_text_numbers_and_their_like_need_no_look() -> None:
    assert all(map(plain_type, [str, int | None, list[Simple], dict[str, Simple], Simple, Letter, set[str]]))
    assert not any(map(plain_type, [Any, float, Any_, Share, Tree, Angled, list[Any], dict, "no type"]))


@pytest.mark.parametrize("value", [Any_(a=object()), Any_(a=itself()), Any_(a=nested(5_000)), tree_in_itself()])
def test_a_value_that_no_file_can_hold_ends_the_run_by_node_and_row(tmp_path: Path, value: Any) -> None:
    folder = made(tmp_path, [NodeOutput("qa", type(value))])
    with pytest.raises(RunFolderError, match='qa, row "1": '):
        write_all(folder, [type(value).model_construct(a=1, name="", children=[]), value], "qa")
    folder.close(seal=False)
    assert not (folder.path / "steps").exists()


def test_a_field_that_was_set_to_what_no_file_can_hold_ends_the_run_too(tmp_path: Path) -> None:
    question = Question(text="a")
    question.text = object()  # type: ignore[assignment]
    folder = made(tmp_path, [NodeOutput("qa", Question)])
    with pytest.raises(RunFolderError, match=r'qa, row "0": .*object cannot be written'):
        write_all(folder, [question], "qa")
    folder.close(seal=False)


@pytest.mark.parametrize("bad", [object(), itself(), nested(5_000), lambda: 1])
def test_an_input_that_json_cannot_say_is_described_without_its_address(tmp_path: Path, bad: Any) -> None:
    folder = made(tmp_path, [], input_type=Any_)
    chunk = inputs([Any_(a=1)])
    chunk.values[0].a = bad
    chunk.raw[0] = {"a": bad}
    folder.add_inputs(chunk)
    folder.add_chunk(0, [], ["0"], {"chain_input": [0]}, chunk)
    folder.close(seal=True)
    text = (folder.path / "inputs/000.jsonl").read_text() + (folder.path / "flattened/000.jsonl").read_text()
    assert "0x" not in text


_SETS = """
import sys
from pydantic import BaseModel
from typing import Any
from chainette.files.dumping import Dumper
from chainette.files.json_text import encode
class Inner(BaseModel):
    words: set[str]
class Sets(BaseModel):
    plain: set[str]
    nested: frozenset[frozenset[str]]
    by_name: dict[str, set[str]]
    inner: list[Inner]
    anything: Any
    mixed: set[str | int | bytes]
words = {f"w{n}" for n in range(20)}
value = Sets(plain=words, nested={frozenset(words), frozenset({"a"})}, by_name={"k": words}, inner=[Inner(words=words)],
    anything=[words, {"k": words}], mixed={1, 2, b"\\xff", *words})
for type_, item in ((Sets, value), (Any, value), (set[str], words), (Any, words), (Any, {"k": words})):
    print(encode(Dumper(type_).dump([item]).values).decode())
print(encode(words).decode())
"""


def test_sets_are_written_in_one_order_whatever_the_hash_seed() -> None:
    def written(seed: str) -> bytes:
        environment = {"PYTHONHASHSEED": seed, "PATH": ""}
        return subprocess.run([sys.executable, "-c", _SETS], env=environment, capture_output=True, check=True).stdout

    first = written("1")
    assert first.count(b"\n") == 6
    assert written("2") == first
    assert written("3") == first


def test_numbers_of_a_set_stand_in_their_order(tmp_path: Path) -> None:
    folder = made(tmp_path, [NodeOutput("x", set[int])])
    write_all(folder, [{10, 9, 100}], "x")
    assert lines(folder.path / "steps/x/000.jsonl") == [{"_id": "0", "value": [9, 10, 100]}]


@pytest.mark.parametrize("format", ["jsonl", "parquet", "csv"])
@pytest.mark.parametrize("data", [b"text", b"\xff\x00", b"data:;base64,/w=="])
def test_bytes_come_back_whether_or_not_they_are_text(tmp_path: Path, format: Any, data: bytes) -> None:
    folder = made(tmp_path, [NodeOutput("x", Bytes)], format=format, input_type=Question)
    values = [Bytes(data=data, many=[data, b""], by_name={"k": data, "none": None}), Bytes(data=b"")]
    write_all(folder, values, "x")
    assert list(RunReader(folder.path).rows("x", Bytes)) == values


@pytest.mark.parametrize("format", ["jsonl", "parquet", "csv"])
def test_a_model_that_says_how_its_bytes_are_written_is_obeyed(tmp_path: Path, format: Any) -> None:
    folder = made(tmp_path, [NodeOutput("x", Own64)], format=format, input_type=Question)
    values = [Own64(data=b"\xff"), Own64(data=b"text")]
    write_all(folder, values, "x")
    reader = RunReader(folder.path)
    assert reader.rows("x")[0] == {"_id": "0", "data": "_w=="}
    assert list(reader.rows("x", Own64)) == values


@pytest.mark.parametrize("format", ["jsonl", "parquet", "csv"])
@pytest.mark.parametrize(
    ("value", "row"),
    [
        (Angled(number=4), {"number": "<4>"}),
        (Unsaid(number=4), {"number": "<4>", "items": ["a", "b"]}),
        (Whole(number=4), {"value": [4]}),
    ],
)
def test_json_that_is_not_what_the_model_takes_comes_back_as_json(
    tmp_path: Path, format: Any, value: Any, row: dict[str, Any]
) -> None:
    folder = made(tmp_path, [NodeOutput("x", type(value))], format=format, input_type=Question)
    write_all(folder, [value], "x")
    reader = RunReader(folder.path)
    assert list(reader.rows("x", type(value))) == [{"_id": "0", **row}]
    assert reader.rows("x", type(value), bare=True)[0] == row.get("value", row)


@pytest.mark.parametrize("format", ["jsonl", "parquet", "csv"])
def test_a_field_that_is_not_written_makes_the_row_a_dict(tmp_path: Path, format: Any) -> None:
    folder = made(tmp_path, [NodeOutput("x", Hidden)], format=format, input_type=Question)
    write_all(folder, [Hidden(number=1, handle=object())], "x")
    assert list(RunReader(folder.path).rows("x", Hidden)) == [{"_id": "0", "number": 1}]


@pytest.mark.parametrize("format", ["jsonl", "parquet", "csv"])
def test_a_model_or_nothing_comes_back_as_either(tmp_path: Path, format: Any) -> None:
    folder = made(tmp_path, [NodeOutput("x", Question | None)], format=format, input_type=Question)
    write_all(folder, [Question(text="a"), None], "x")
    assert list(RunReader(folder.path).rows("x", Question | None)) == [Question(text="a"), None]


def test_a_negative_zero_survives_csv(tmp_path: Path) -> None:
    folder = made(tmp_path, [NodeOutput("x", float)], format="csv", input_type=Question)
    write_all(folder, [-0.0, 0.0], "x")
    assert [str(value) for value in RunReader(folder.path).rows("x", float)] == ["-0.0", "0.0"]


def test_bare_rows_are_values_without_ids(tmp_path: Path) -> None:
    folder = made(tmp_path, [NodeOutput("x", Any)])
    write_all(folder, [3, {"a": 1}, [1], None, Question(text="q")], "x")
    view = RunReader(folder.path).rows("x", bare=True)
    assert list(view) == [3, {"a": 1}, [1], None, {"text": "q"}]
    assert view[1:3] == [{"a": 1}, [1]]
    assert view.ids == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("path", [5, b"out", "a\x00b", "\ud800"])
def test_what_names_no_folder_is_refused(path: Any) -> None:
    with pytest.raises(RunFolderError, match="cannot be a folder"):
        RunFolder.create(path, "x")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_place_where_no_folder_can_be_says_so() -> None:
    with pytest.raises(RunFolderError, match="/proc/foo cannot be created"):
        RunFolder.create("/proc/foo", "x")
