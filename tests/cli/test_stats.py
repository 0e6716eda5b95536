"""`chainette stats`: the figures as a person reads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.cells import cell_len

from chainette.cli.stats_text import percent
from chainette.cli.table import Column, table
from chainette.cli.wording import short_time
from tests.cli.conftest import Project
from tests.folders import as_killed, status


def test_stats_tells_rows_times_idle_time_and_the_critical_path(finished_run: Project) -> None:
    out = finished_run.call("stats", "last")
    assert finished_run.exit_code == 0
    assert out.startswith("done  done")
    assert "Small: 5 rows done, 5 out" in out
    for title in ("rows", "tokens and pace", "times of calls", "engines", "idle time of replicas", "ways"):
        assert f"\n{title}\n" in out
    assert "critical path: what the run's time went into" in out
    assert "facts: calls" in out
    assert "stand_in 0" in out
    assert "note  the endpoint does not tell how long calls waited in the engine" in out


def test_stats_as_json_is_one_document(finished_run: Project) -> None:
    told = json.loads(finished_run.call("stats", "done", "--json"))
    assert [step["id"] for step in told["steps"]] == ["facts", "french", "join_fr", "last"]
    assert told["state"] == "done"
    assert sum(part["share"] for part in told["critical_path"]["parts"]) == pytest.approx(1)


def test_of_a_run_that_died_the_person_reads_when_and_what_to_type(finished_run: Project) -> None:
    folder = as_killed(finished_run.folder / "runs/done")
    events = folder / "events.jsonl"
    kept = [line for line in events.read_text(encoding="utf-8").splitlines() if "run_finished" not in line]
    events.write_text("\n".join(kept) + "\n", encoding="utf-8")
    out = finished_run.call("stats", "done")
    assert "done  died" in out
    assert "last sign of life" in out
    assert "its process is gone and said nothing of its end" in out
    assert "next    chainette resume done" in out


def test_failed_rows_lead_to_retry(project: Project) -> None:
    project.call("run", "small.py:plain", "-i", "in.jsonl", "-o", "runs/bad", "-q")
    out = project.call("stats", "bad")
    assert "next    chainette retry bad" in out
    assert "note  no step asks an engine: there are no calls, and so no times of them" in out


@pytest.mark.parametrize("columns", [80, 200])
def test_tables_keep_to_the_width_of_the_terminal(
    finished_run: Project, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out = finished_run.call("stats", "done")
    tables = out.partition("\nrows\n")[2].partition("\nnote")[0]
    assert all(cell_len(line) <= columns for line in tables.splitlines())


def test_what_a_run_says_is_shown_and_not_obeyed(finished_run: Project) -> None:
    folder: Path = finished_run.folder / "runs/done"
    said = {**status(folder), "state": "stopped", "message": "\x1b[31mred\x1b[0m\nline two"}
    (folder / "status.json").write_text(json.dumps(said), encoding="utf-8")
    graph = json.loads((folder / "graph.json").read_text(encoding="utf-8"))
    (folder / "graph.json").write_text(json.dumps({**graph, "chain": "\x1b]0;title\x07Small"}), encoding="utf-8")
    out = finished_run.call("stats", "done")
    assert "\x1b" not in out
    assert "red line two" in out


def test_a_run_that_is_not_there_is_named_with_the_nearest(finished_run: Project) -> None:
    finished_run.call("stats", "dome")
    assert finished_run.exit_code == 2
    assert "next: chainette runs" in finished_run.err


def test_a_table_leaves_out_what_is_needed_least_and_says_so() -> None:
    columns = [
        Column("step", ["a" * 30, "b"], left=True),
        Column("in", ["1,000", "2"]),
        Column("cost", ["0.5", ""], 3),
        Column("calls", ["7", "8"], 1),
        Column("never", ["", ""], 1),
    ]
    wide = [line.plain for line in table(columns, 80)]
    assert wide[0].split() == ["step", "in", "cost", "calls"]
    narrow = [line.plain for line in table(columns, 46)]
    assert narrow[0].split() == ["step", "in", "calls"]
    assert narrow[-1].strip() == "(not shown in 46 columns: cost)"
    narrowest = [line.plain for line in table(columns, 24)]
    assert all(len(line) <= 24 for line in narrowest[:-1])
    assert "…" in narrowest[1]


def test_short_times_and_shares_are_never_told_as_nothing() -> None:
    assert [short_time(s) for s in (0, 0.000459, 0.0841, 1.239, 12.34, 125)] == [
        *("0.00 s", "0.46 ms", "84 ms", "1.24 s", "12.3 s", "2:05")
    ]
    assert [percent(share) for share in (None, 0.0001, 0.1234, 1)] == ["", "under 0.1%", "12.3%", "100.0%"]
