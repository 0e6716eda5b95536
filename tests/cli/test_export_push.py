"""export and push, as they are typed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from chainette.cli.signals import ended_like_ctrl_c
from chainette.files.delivery import delivered
from tests.cli.conftest import Project


def test_a_run_is_exported_in_the_format_that_the_name_ends_with(finished_run: Project) -> None:
    out = finished_run.call("export", "last", "-o", "rows.parquet", "--columns", "_id,facts.product")
    assert out == "rows.parquet: 5 rows, 2 columns of done (flattened)\n"
    assert pq.read_table("rows.parquet").column_names == ["_id", "facts.product"]


def test_rows_go_to_standard_output_and_nothing_else_does(finished_run: Project) -> None:
    out = finished_run.call("export", "done", "--step", "facts", "-o", "-", "--json")
    assert [json.loads(line)["_id"] for line in out.splitlines()] == ["0", "1", "2", "3", "4"]
    assert json.loads(finished_run.err)["rows"] == 5
    text = finished_run.call("export", "done", "--step", "facts", "-o", "-", "--format", "csv", "--columns", "_id")
    assert text == '"_id"\n"0"\n"1"\n"2"\n"3"\n"4"\n'


def test_an_export_tells_other_programs_what_it_wrote(finished_run: Project) -> None:
    said = json.loads(finished_run.call("export", "done", "-o", "a.csv", "--json"))
    assert (said["rows"], said["format"], said["state"], said["file"]) == (5, "csv", "done", "a.csv")
    assert said["columns"][0] == "_id"


def test_a_file_that_is_there_is_refused_and_force_replaces_it(finished_run: Project) -> None:
    finished_run.call("export", "done", "-o", "a.csv")
    finished_run.call("export", "done", "-o", "a.csv")
    assert (finished_run.exit_code, finished_run.err) == (2, "error: a.csv exists (--force replaces it)\n")
    finished_run.call("export", "done", "-o", "a.csv", "--force")
    assert finished_run.exit_code == 0


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["-o", "a.csv", "--step", "fact"], 'has no step "fact" (did you mean "facts"?)'),
        (["-o", "a.csv", "--columns", "facts.produkt"], 'did you mean "facts.product"?'),
        (["-o", "a.csv", "--failed"], "no row failed in done"),
        (["-o", "a.xlsx"], "its ending does not say"),
        (["-o", "runs/done/steps/facts/a.csv"], "lies in the run's own folder"),
        (["-o", "nowhere/a.csv"], "mkdir -p nowhere"),
        (["-o", "-", "--format", "parquet"], "Parquet does not go to standard output"),
        (["-o", "a.csv", "--rename", "x"], "takes name=value"),
        (["-o", "a.csv", "--rename", "_id= "], "a column has a name"),
        (["-o", "a.csv", "--columns", ""], "next: chainette export -h"),
        (["-o", "a.jsonl", "--spreadsheet"], "is for CSV"),
        (["-o", "a.jsonl", "--openai-batch", "answers"], "none of requests, results"),
        (["-o", "a.jsonl", "--openai-batch", "results", "--columns", "a"], "has no meaning with --openai-batch"),
        (["-o", "a.jsonl", "--openai-batch", "requests"], "which step's calls?"),
    ],
)
def test_what_cannot_be_exported_is_said_and_leaves_no_file(finished_run: Project, args: list[str], told: str) -> None:
    before = sorted(finished_run.folder.iterdir())
    finished_run.call("export", "done", *args)
    assert finished_run.exit_code == 2
    assert told in finished_run.err
    assert sorted(finished_run.folder.iterdir()) == before


def test_places_on_this_machine_may_be_written_as_urls(finished_run: Project) -> None:
    here = f"file://{finished_run.folder}"
    finished_run.call("export", f"{here}/runs/done", "-o", f"{here}/a.csv")
    assert (finished_run.folder / "a.csv").is_file()
    finished_run.call("run", "small.py:plain", "-i", "in.jsonl", "-o", f"{here}/runs/other", "-q")
    assert (finished_run.folder / "runs/other/status.json").is_file()
    runs = json.loads(finished_run.call("runs", "--runs-dir", f"{here}/runs", "--json"))
    assert {run["run"] for run in runs} == {"done", "other"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_export_that_is_terminated_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    def export() -> None:
        with ended_like_ctrl_c(), delivered(str(tmp_path / "a.csv")) as stream:
            stream.write(b"half")
            assert list(tmp_path.iterdir())
            signal.raise_signal(number)

    with pytest.raises(KeyboardInterrupt):
        export()
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_not_done_is_exported_and_says_how_far_it_is(finished_run: Project) -> None:
    path = finished_run.folder / "runs/done/status.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "state": "interrupted", "rows_done": 3}))
    assert "5 rows" in finished_run.call("export", "done", "-o", "a.jsonl")
    assert "note: the run is interrupted: 3 of 5 input rows finished so far" in finished_run.err


def test_cells_that_a_spreadsheet_would_calculate_are_told(finished_run: Project) -> None:
    (finished_run.folder / "odd.jsonl").write_text('{"text": "=HYPERLINK(1)"}\n')
    finished_run.call("run", "small.py:plain", "-i", "odd.jsonl", "-o", "runs/odd", "-q")
    finished_run.call("export", "odd", "-o", "a.csv")
    assert "2 cells would be formulas in a spreadsheet" in finished_run.err
    finished_run.call("export", "odd", "-o", "b.csv", "--spreadsheet")
    assert "formulas" not in finished_run.err


def test_a_step_s_calls_are_exported_as_an_openai_batch_and_run_again(finished_run: Project) -> None:
    out = finished_run.call(
        "export", "done", "--step", "french", "--openai-batch", "requests", "--model", "m", "-o", "batch.jsonl"
    )
    assert out.splitlines()[0] == "batch.jsonl: 5 rows of done (french)"
    finished_run.call("export", "done", "--step", "french", "--openai-batch", "results", "-o", "out.jsonl")
    ids = [json.loads(line)["custom_id"] for line in (finished_run.folder / "batch.jsonl").read_text().splitlines()]
    assert ids == ["0", "1", "2", "3", "4"]
    assert len((finished_run.folder / "out.jsonl").read_text().splitlines()) == 5


def test_a_dry_run_of_push_writes_card_and_tables_and_names_the_command(finished_run: Project) -> None:
    out = finished_run.call("push", "done", "org/small", "--dry-run", "--license", "mit")
    assert "org/small: a private dataset of" in out
    assert "next: chainette push done org/small" in out
    assert (finished_run.folder / "small/README.md").is_file()
    assert pq.read_table("small/data/facts/00000.parquet").num_rows == 5
    said = json.loads(finished_run.call("push", "done", "org/small", "--dry-run", "-o", "other", "--public", "--json"))
    assert (said["private"], said["dry_run"], said["configs"][0]["name"]) == (False, True, "flattened")


def test_push_without_a_token_says_how_to_get_one(finished_run: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(finished_run.folder / "none"))
    finished_run.call("push", "done", "org/small")
    assert finished_run.exit_code == 1
    assert "there is no token" in finished_run.err
    assert "next: hf auth login" in finished_run.err
    finished_run.call("push", "done", "not a name")
    assert "no name of a dataset" in finished_run.err


def test_a_run_without_rows_is_exported_and_pushed(finished_run: Project) -> None:
    (finished_run.folder / "none.jsonl").write_text("")
    finished_run.call("run", "small.py:plain", "-i", "none.jsonl", "-o", "runs/none", "-q")
    assert finished_run.call("export", "none", "-o", "a.jsonl") == "a.jsonl: 0 rows of none (flattened)\n"
    assert (finished_run.exit_code, (finished_run.folder / "a.jsonl").read_text()) == (0, "")
    out = finished_run.call("push", "none", "org/none", "--dry-run")
    assert (finished_run.exit_code, "0 rows" in out) == (0, True)


@pytest.mark.parametrize("words", [["export", "done"], ["report", "done"]])
def test_rows_for_a_standard_output_that_is_closed_are_an_error(finished_run: Project, words: list[str]) -> None:
    line = 'exec "$0" -m chainette.cli "$@" -o - >&-'
    done = subprocess.run(["bash", "-c", line, sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot write to standard output: it is closed" in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize(
    ("words", "temporary"),
    [
        (["report", "done", "-o", "out.html"], ".out.html.tmp"),
        (["trace", "done", "-o", "out.json"], f".out.json.{os.getpid()}.tmp"),
        (["export", "done", "-o", "out.csv"], f".out.csv.{os.getpid()}.tmp"),
        (["sql", "done", "from facts", "-o", "out.csv"], f".out.csv.{os.getpid()}.tmp"),
    ],
)
def test_a_full_disk_names_the_file_and_does_not_speak_of_the_run(
    finished_run: Project, words: list[str], temporary: str
) -> None:
    (finished_run.folder / temporary).symlink_to("/dev/full")
    finished_run.call(*words)
    assert finished_run.exit_code != 0
    assert f"cannot write {words[-1]}: the disk is full" in finished_run.err
    assert "make room, then type it again" in finished_run.err
    assert "resume" not in finished_run.err


def test_a_push_that_cannot_be_written_leaves_nothing(finished_run: Project) -> None:
    line = 'ulimit -f 1; exec "$0" -m chainette.cli push done org/small --dry-run -o new/small'
    done = subprocess.run(["bash", "-c", line, sys.executable], capture_output=True, text=True, check=False)
    assert (done.returncode, "cannot write new/small/data" in done.stderr) == (2, True)
    assert not (finished_run.folder / "new").exists()
