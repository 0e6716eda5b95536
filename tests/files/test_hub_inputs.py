"""Datasets by name. No test reaches the network."""

from __future__ import annotations

from pathlib import Path

import pytest

from chainette.errors import InputError
from chainette.files import open_input
from chainette.files.hub_inputs import _load_one, name_readings


@pytest.mark.parametrize(
    ("source", "first"),
    [
        ("imdb", ("imdb", None, None)),
        ("imdb/train", ("imdb", None, "train")),
        ("org/name/train", ("org/name", None, "train")),
        ("glue:mrpc/test", ("glue", "mrpc", "test")),
        ("org/name:small/train", ("org/name", "small", "train")),
        ("org/name:small", ("org/name", "small", None)),
    ],
)
def test_a_name_is_read_as_dataset_config_and_split(source: str, first: tuple[str, str | None, str | None]) -> None:
    assert name_readings(source)[0] == first


def test_two_words_may_also_be_owner_and_name() -> None:
    assert name_readings("org/name")[1] == ("org/name", None, None)


def test_without_a_network_the_error_names_what_was_tried_and_what_is_near(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for name in (
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "HF_HUB_OFFLINE",
        "HF_DATASETS_OFFLINE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews").mkdir()
    with pytest.raises(
        InputError, match=r'no review \(did you mean "reviews"\?\); nor can a dataset "review".*127.0.0.1'
    ):
        open_input("review")


def test_a_dataset_is_streamed_from_its_files(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"n":1}\n{"n":2}\n')
    dataset, read_as = _load_one(str(tmp_path), None, None)
    assert read_as == (str(tmp_path), None, "train")
    assert [row for c in open_input(dataset).chunks(1) for row in c.rows] == [{"n": 1}, {"n": 2}]


def test_an_unknown_split_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"n":1}\n')
    with pytest.raises(InputError, match=r'has no split "trian" \(did you mean "train"\?\)'):
        _load_one(str(tmp_path), None, "trian")
