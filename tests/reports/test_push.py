"""A run as a dataset: what `datasets` loads of it, and what the Hub is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chainette import Chain, apply
from chainette.errors import RunFolderError
from chainette.files.reading import RunReader
from chainette.reports.push import PushError, check_repo, config_names, prepare, refuse_early, send
from tests.reports.hub import Hub, stand_in_hub
from tests.reports.small_runs import numbers, two_steps


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with stand_in_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_TOKEN", running.token)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield running


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return prepare(two_steps(tmp_path / "run"), tmp_path / "dataset", "org/two").folder


def loaded(folder: Path, config: str | None, cache: Path) -> list[dict[str, Any]]:
    from datasets import load_dataset

    found = load_dataset(str(folder), config, cache_dir=str(cache))
    assert list(found) == ["train"]
    return list(found["train"])


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_every_table_loads_by_its_name_and_the_flattened_one_without(tmp_path):
    reader = two_steps(tmp_path / "run")
    prepared = prepare(reader, tmp_path / "dataset", "org/two")
    assert [config.name for config in prepared.configs] == ["flattened", "facts", "judge"]
    assert loaded(prepared.folder, None, tmp_path / "c") == loaded(prepared.folder, "flattened", tmp_path / "c")
    assert loaded(prepared.folder, None, tmp_path / "c")[0]["judge.verdict"] == "buy"
    assert [row["product"] for row in loaded(prepared.folder, "facts", tmp_path / "c")] == ["lamp", "=1+1"]


def test_a_table_of_many_rows_is_several_files_of_one_schema(tmp_path):
    import pyarrow.parquet as pq

    prepared = prepare(numbers(tmp_path / "run", 25), tmp_path / "dataset", "org/n", rows_per_file=10)
    files = sorted((prepared.folder / "data/square").iterdir())
    assert [file.name for file in files] == ["00000.parquet", "00001.parquet", "00002.parquet"]
    assert len({pq.read_schema(file).to_string() for file in files}) == 1
    assert [row["square"] for file in files for row in pq.read_table(file).to_pylist()] == [n * n for n in range(25)]


def test_names_of_tables_are_plain_and_each_stands_once():
    ids = ["qa", "QA", "outer/inner", "outer__inner", "größe", "问题", "答案", "default", "flattened", "a b?c"]
    names = config_names(ids)
    assert names["qa"] == "qa"
    assert names["outer/inner"] == "outer__inner"
    assert all(name.isascii() and name for name in names.values())
    assert names["default"] not in ("default", "flattened")
    assert names["a b?c"] == "a-b-c"
    assert len({name.lower() for name in names.values()}) == len(ids)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_steps_of_any_script_load_as_tables(tmp_path):
    def same(row: dict[str, Any]) -> dict[str, Any]:
        return row

    steps = [apply(same, id="größe λ"), apply(same, id="问题"), apply(same, id="default")]
    Chain(name="Names", steps=steps).run([{"a": 1}], tmp_path / "run")
    prepared = prepare(RunReader(tmp_path / "run"), tmp_path / "dataset", "org/n")
    for config in prepared.configs:
        assert loaded(prepared.folder, config.name, tmp_path / "c")[0]["_id"] == "0"


def test_a_step_that_made_no_row_has_no_table_and_the_card_says_so(tmp_path):
    prepared = prepare(two_steps(tmp_path / "run", []), tmp_path / "dataset", "org/two")
    assert (prepared.configs, prepared.empty) == ((), ("facts", "judge"))
    assert [path.name for path in prepared.folder.iterdir()] == ["README.md"]
    card = (prepared.folder / "README.md").read_text()
    assert "because they made 0 rows: `facts`, `judge`" in card
    assert "load_dataset" not in card


def test_what_was_written_before_a_failure_is_taken_away_and_nothing_else(tmp_path):
    two_steps(tmp_path / "run")
    (tmp_path / "run/steps/judge/000.jsonl").write_text('{"_id":\n{"_id":\n')
    (tmp_path / "there").mkdir()
    for folder in (tmp_path / "there", tmp_path / "new/dataset"):
        with pytest.raises(RunFolderError):
            prepare(RunReader(tmp_path / "run"), folder, "org/two")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "there"]
    assert list((tmp_path / "there").iterdir()) == []


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset/mine").write_text("x")
    with pytest.raises(RunFolderError, match="not empty"):
        prepare(two_steps(tmp_path / "run"), tmp_path / "dataset", "org/two")


def test_a_dataset_is_private_unless_it_is_said_to_be_public(hub, dataset):
    sent = send(dataset, "org/two")
    assert sent.url == f"{hub.url}/datasets/org/two"
    repo = hub.repos["org/two"]
    assert repo["visibility"] == "private"
    assert sorted(repo["files"]) == [
        "README.md",
        *(f"data/{name}/00000.parquet" for name in ("facts", "flattened", "judge")),
    ]
    assert repo["files"]["README.md"] == (dataset / "README.md").read_bytes()
    send(dataset, "org/open", public=True)
    assert hub.repos["org/open"]["visibility"] == "public"


def test_a_dataset_that_exists_is_replaced_only_by_force_and_keeps_other_files(hub, dataset):
    send(dataset, "org/two")
    with pytest.raises(PushError, match="exists already"):
        send(dataset, "org/two")
    hub.repos["org/two"]["files"] |= {"data/old/00000.parquet": b"x", "notes.md": b"x"}
    send(dataset, "org/two", force=True)
    assert "notes.md" in hub.repos["org/two"]["files"]
    assert "data/old/00000.parquet" not in hub.repos["org/two"]["files"]


def test_what_would_be_refused_is_refused_before_tables_are_written(hub, dataset):
    refuse_early("org/two")
    assert hub.repos == {}
    send(dataset, "org/two")
    with pytest.raises(PushError, match="exists already"):
        refuse_early("org/two")
    refuse_early("org/two", force=True)
    with pytest.raises(PushError, match="is private"):
        refuse_early("org/two", force=True, public=True)


def test_private_rows_do_not_go_into_a_public_dataset(hub, dataset):
    send(dataset, "org/two", public=True)
    with pytest.raises(PushError, match="is public"):
        send(dataset, "org/two", force=True)


def test_a_name_without_an_organisation_is_one_s_own(hub, dataset):
    assert send(dataset, "two").url.endswith("/datasets/me/two")
    assert send(dataset, "two", force=True).url.endswith("/datasets/me/two")


def test_a_token_that_is_wrong_or_may_not_write_is_told_and_never_shown(hub, dataset, monkeypatch):
    hub.read_only = True
    with pytest.raises(PushError, match="may not write to org/two"):
        send(dataset, "org/two")
    monkeypatch.setenv("HF_TOKEN", "hf_some_other_token")
    with pytest.raises(PushError, match="does not know the token") as error:
        send(dataset, "org/two")
    assert "hf_some_other_token" not in str(error.value)
    assert error.value.__notes__ == ["next: hf auth login"]


def test_without_a_token_nothing_is_asked(hub, dataset, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(PushError, match="there is no token"):
        send(dataset, "org/two")


def test_a_hub_that_nobody_answers_for_is_told(dataset, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", "hf_some_token_or_other")
    with pytest.raises(PushError, match="the Hub did not take org/two"):
        send(dataset, "org/two")


@pytest.mark.parametrize("name", ["", "a/b/c", "org/", "/name", "org/na me", "org/../x", "org/x.git", "org/ü"])
def test_a_name_that_the_hub_has_not_is_refused_before_anything_is_written(name):
    with pytest.raises(PushError, match="no name of a dataset"):
        check_repo(name)
