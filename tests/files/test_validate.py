"""From rows as read to instances of the input type."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from chainette.errors import InputError
from chainette.files import RowValidator, check_input, open_input
from chainette.rows import Failure, InputChunk


class Review(BaseModel):
    text: str
    stars: int = 3


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    day: date
    text: str = Field("", alias="body")


def validated(source: Any, type_: Any = Review, **options: Any) -> InputChunk:
    options = {"id_field": None, "keep_bad": False, **options}
    return RowValidator(type_, **options).chunk(next(open_input(source).chunks(1_000)), 0)


def test_dicts_become_models_with_their_positions_as_ids() -> None:
    chunk = validated([{"text": "a"}, {"text": "b", "stars": "5"}])
    assert chunk.values == [Review(text="a"), Review(text="b", stars=5)]
    assert chunk.ids == ["0", "1"]
    assert chunk.raw == [{"text": "a"}, {"text": "b", "stars": "5"}]


def test_an_instance_is_taken_as_it_is() -> None:
    review = Review(text="a")
    assert validated([review]).values[0] is review


def test_an_instance_of_another_model_gives_its_attributes() -> None:
    class Other(BaseModel):
        text: str
        more: int = 1

    assert validated([Other(text="a")]).values == [Review(text="a")]


def test_a_strict_model_takes_the_spellings_of_json() -> None:
    assert validated([{"day": "2026-01-31", "body": "x"}], Strict).values[0].day == date(2026, 1, 31)


def test_aliases_and_names_are_both_taken() -> None:
    found = validated([{"day": date(2026, 1, 1), "text": "x"}, {"day": date(2026, 1, 1), "body": "x"}], Strict)
    assert found.values[0] == found.values[1]


def test_an_id_of_an_earlier_run_is_kept_and_not_validated() -> None:
    chunk = validated([{"_id": "17", "day": date(2026, 1, 1)}], Strict)
    assert chunk.ids == ["0"]
    assert chunk.raw == [{"_source_id": "17", "day": "2026-01-01"}]


@pytest.mark.parametrize(("type_", "row", "value"), [(int, 3, 3), (int, {"value": "3"}, 3), (str, "a", "a")])
def test_scalars_are_rows(type_: Any, row: Any, value: Any) -> None:
    assert validated([row], type_).values == [value]


def test_without_a_type_the_dict_is_the_value() -> None:
    assert validated([{"a": 1}], Any).values == [{"a": 1}]


def test_a_row_that_does_not_fit_names_file_line_and_field(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text":"a"}\n\n{"text":3,"stars":"many"}\n')
    with pytest.raises(InputError, match=rf"^{path}:3: text: input should be a valid string, not 3; stars: .*'many'"):
        validated(path)


def test_a_kept_row_that_does_not_fit_is_a_failure_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text":"a"}\n{"stars":1}\nnonsense\n{"text":"b"}\n')
    values = validated(path, keep_bad=True).values
    assert values[0] == Review(text="a")
    assert values[1] == Failure("1", "chain_input", "input", f"{path}:2: text: is missing", raw='{"stars":1}')
    assert values[2].row_id == "2"
    assert values[2].raw == "nonsense"
    assert values[3] == Review(text="b")


def test_ids_come_from_a_field() -> None:
    rows = [{"key": "a", "text": "x"}, {"key": 7, "text": "y"}]
    assert validated(rows, id_field="key").ids == ["a", "7"]


@pytest.mark.parametrize("key", ["", " ", None, 1.5, ["a"], "a\nb", "x" * 600, "#1", "\ud800"])
def test_an_id_that_cannot_be_one_is_refused(key: Any) -> None:
    with pytest.raises(InputError, match=r'^row 0: the id field "key" is'):
        validated([{"key": key, "text": "x"}], id_field="key")


def test_an_id_that_was_taken_is_refused_in_any_chunk() -> None:
    validator = RowValidator(Any, id_field="key", keep_bad=True)
    chunks = open_input([{"key": k} for k in ("a", "b", "a", 1, "1")]).chunks(2)
    found = [validator.chunk(raw, i) for i, raw in enumerate(chunks)]
    assert [row_id for c in found for row_id in c.ids] == ["a", "b", "#2", "1", "#4"]
    assert "was taken by an earlier row" in found[1].values[0].message


def test_a_missing_id_is_refused() -> None:
    with pytest.raises(InputError, match="is missing"):
        validated([{"text": "x"}], id_field="key")


def test_a_cheap_check_lists_the_problems(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"stars":1}\n' * 30)
    source = open_input(path)
    problems = check_input(source, lambda: RowValidator(Review, id_field=None, keep_bad=True))
    assert len(problems) == 20
    assert problems[19] == f"{path}:20: text: is missing"
    assert source.cheap


def test_rows_are_never_changed() -> None:
    rows = [{"_id": 1, "text": "a"}]
    validated(rows)
    assert rows == [{"_id": 1, "text": "a"}]


def test_a_validator_that_raises_is_a_row_that_does_not_fit() -> None:
    from pydantic import field_validator

    class Picky(BaseModel):
        text: str

        @field_validator("text")
        @classmethod
        def look(cls, text: str) -> str:
            raise KeyError(text)

    with pytest.raises(InputError, match="row 0: the model's own check failed: KeyError"):
        validated([{"text": "a"}], Picky)
