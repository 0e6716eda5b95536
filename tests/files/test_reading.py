"""A run folder as it is read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from chainette.errors import RunFolderError
from chainette.files import NodeOutput, RunFolder
from chainette.files.reading import RunReader, find_run, list_runs
from chainette.rows import Failure, InputChunk, NodeChunk


class Answer(BaseModel):
    answer: str
    score: float = 0.5


def run(path: Path, count: int = 5, format: Any = "jsonl", state: str = "done", **status: Any) -> Path:
    folder = RunFolder.create(path, "Test")
    folder.configure([NodeOutput("qa", Answer), NodeOutput("empty", Answer)], format=format, max_lines_per_file=1_500)
    folder.write_graph({"execution_order": [{"id": "qa"}, {"id": "empty"}]})
    ids = [str(n) for n in range(count)]
    values = [Answer(answer=str(n)) for n in range(count)]
    chunk = InputChunk(0, 0, ids, values, [{"text": str(n)} for n in range(count)])
    failures = [Failure("9", "qa", "schema", "no", raw="x", cause=("a.py:1",))]
    folder.add_inputs(chunk)
    folder.add_chunk(
        0, [NodeChunk("qa", ids, values, failures), NodeChunk("empty", [], [])], ids, {"qa": range(count)}, chunk
    )
    folder.write_status({"state": state, "chain": "Test", **status})
    folder.close(seal=True)
    return path


@pytest.mark.parametrize("format", ["jsonl", "parquet", "csv"])
def test_a_view_is_a_sequence_over_all_parts(tmp_path: Path, format: Any) -> None:
    view = RunReader(run(tmp_path / "r", 4_321, format)).rows("qa", Answer)
    assert len(view) == 4_321
    assert view[0] == Answer(answer="0")
    assert view[-1] == Answer(answer="4320")
    assert [view[n].answer for n in (999, 1_000, 1_499, 1_500, 2_999, 3_000)] == [
        "999",
        "1000",
        "1499",
        "1500",
        "2999",
        "3000",
    ]
    assert [a.answer for a in view[1_499:1_502]] == ["1499", "1500", "1501"]
    assert [a.answer for a in view[4_320:4_317:-1]] == ["4320", "4319", "4318"]
    assert [a.answer for a in view[10:100][5:7]] == ["15", "16"]
    assert view.ids[-1] == "4320"
    assert sum(1 for _ in view) == 4_321
    with pytest.raises(IndexError):
        view[4_321]


def test_without_a_model_rows_are_dicts(tmp_path: Path) -> None:
    view = RunReader(run(tmp_path / "r")).rows("qa")
    assert view[1] == {"_id": "1", "answer": "1", "score": 0.5}
    assert view[:2] == [{"_id": "0", "answer": "0", "score": 0.5}, {"_id": "1", "answer": "1", "score": 0.5}]


def test_a_step_without_rows_is_empty_and_an_unknown_one_is_an_error(tmp_path: Path) -> None:
    reader = RunReader(run(tmp_path / "r"))
    assert reader.step_ids() == ["qa", "empty"]
    assert list(reader.rows("empty")) == []
    with pytest.raises(RunFolderError, match=r'has no step "emty" \(did you mean "empty"'):
        reader.rows("emty")


def test_views_become_tables(tmp_path: Path) -> None:
    view = RunReader(run(tmp_path / "r")).rows("qa")
    assert view.to_arrow().column_names == ["_id", "answer", "score"]
    assert list(view.to_pandas()["answer"]) == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("format", ["jsonl", "parquet", "csv"])
def test_a_row_is_found_by_its_id(tmp_path: Path, format: Any) -> None:
    reader = RunReader(run(tmp_path / "r", format=format))
    assert reader.row("qa", "3") == {"_id": "3", "answer": "3", "score": 0.5}
    assert reader.row("chain_input", "3") == {"_id": "3", "text": "3"}
    assert reader.row("qa", "33") is None


def test_failures_come_back_as_values(tmp_path: Path) -> None:
    reader = RunReader(run(tmp_path / "r"))
    wanted = Failure("9", "qa", "schema", "no", raw="x", cause=("a.py:1",))
    assert list(reader.failures()) == [wanted]
    assert list(reader.failures("qa")) == [wanted]
    assert len(reader.failures("empty")) == 0


def test_half_a_line_at_the_end_is_no_row(tmp_path: Path) -> None:
    path = run(tmp_path / "r")
    with open(path / "steps/qa/000.jsonl", "ab") as file:
        file.write(b'{"_id":"5","ans')
    assert len(RunReader(path).rows("qa")) == 5
    assert len(list(RunReader(path).rows("qa"))) == 5


def test_runs_are_listed_newest_first_with_the_broken_ones(tmp_path: Path) -> None:
    run(tmp_path / "a", started="2026-01-01T00:00:00Z", rows_in=5, rows_done=5, rows_failed=1, seconds=2.5)
    run(tmp_path / "b", state="running", started="2026-01-02T00:00:00Z")
    (run(tmp_path / "c") / "status.json").write_text("{")
    (tmp_path / "notes").mkdir()
    found = {r.name: r for r in list_runs(tmp_path)}
    assert sorted(found) == ["a", "b", "c"]
    assert found["a"].state == "done"
    assert (found["a"].rows_in, found["a"].rows_failed, found["a"].seconds) == (5, 1, 2.5)
    assert found["b"].state == "died"
    assert found["c"].state == "broken"
    assert [r.name for r in list_runs(tmp_path)].index("b") < [r.name for r in list_runs(tmp_path)].index("a")


@pytest.mark.parametrize("figure", ["1e999", "NaN", '"many"', "[]", "{}"])
def test_one_run_with_a_strange_figure_does_not_hide_the_others(tmp_path: Path, figure: str) -> None:
    run(tmp_path / "a", state="done")
    run(tmp_path / "b").joinpath("status.json").write_text(f'{{"state": "done", "rows_in": {figure}}}')
    assert {found.name: found.state for found in list_runs(tmp_path)} == {"a": "done", "b": "broken"}


def test_a_pipe_in_place_of_a_status_is_not_waited_for(tmp_path: Path) -> None:
    (run(tmp_path / "a") / "status.json").unlink()
    os.mkfifo(tmp_path / "a" / "status.json")
    assert [found.state for found in list_runs(tmp_path)] == ["broken"]


def test_a_run_that_is_being_written_runs(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "r", "x")
    folder.write_status({"state": "running"})
    assert list_runs(tmp_path)[0].state == "running"
    folder.close(seal=True)


def test_a_run_is_found_by_path_name_beginning_and_last(tmp_path: Path) -> None:
    run(tmp_path / "qa-2026-aaaa", started="2026-01-01T00:00:00Z")
    run(tmp_path / "qa-2026-bbbb", started="2026-01-02T00:00:00Z")
    assert find_run(tmp_path / "qa-2026-aaaa", tmp_path).name == "qa-2026-aaaa"
    assert find_run("qa-2026-aaaa", tmp_path).name == "qa-2026-aaaa"
    assert find_run("qa-2026-b", tmp_path).name == "qa-2026-bbbb"
    assert find_run("last", tmp_path).name == "qa-2026-bbbb"
    with pytest.raises(RunFolderError, match="the beginning of 2 runs"):
        find_run("qa", tmp_path)
    with pytest.raises(RunFolderError, match="did you mean"):
        find_run("qa-2026-aaab", tmp_path)


def test_no_run_folder_is_an_error_with_the_nearest(tmp_path: Path) -> None:
    run(tmp_path / "reviews-1")
    with pytest.raises(RunFolderError, match=r'did you mean "reviews-1"\?'):
        RunReader(tmp_path / "review-1")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunFolderError, match="not a run folder"):
        RunReader(tmp_path / "empty")


def test_graph_and_status_are_whole_or_as_before(tmp_path: Path) -> None:
    path = run(tmp_path / "r")
    assert RunReader(path).status()["state"] == "done"
    assert json.loads((path / "graph.json").read_text()) == RunReader(path).graph()


def test_a_link_out_of_the_run_folder_is_not_followed(tmp_path: Path) -> None:
    run, secret = tmp_path / "run", tmp_path / "secret.jsonl"
    secret.write_text('{"_id":"0","key":"sk-123"}\n')
    (run / "steps" / "qa").mkdir(parents=True)
    (run / "failed").mkdir()
    (run / "graph.json").write_text('{"execution_order": [{"id": "qa"}]}')
    for place in ("steps/qa/000.jsonl", "failed/qa.jsonl"):
        (run / place).symlink_to(secret)
    with pytest.raises(RunFolderError, match=r"steps/qa/000\.jsonl leads out of the run folder"):
        RunReader(run).rows("qa")
    with pytest.raises(RunFolderError, match=r"failed/qa\.jsonl leads out of the run folder"):
        RunReader(run).failures()
    (run / "steps" / "qa" / "000.jsonl").unlink()
    os.mkfifo(run / "steps" / "qa" / "000.jsonl")
    with pytest.raises(RunFolderError, match="is no file"):
        RunReader(run).rows("qa")
