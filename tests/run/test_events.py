"""`events.jsonl`: each thing once, in the order in which it happened, over all processes that worked on the folder."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from chainette import Chain, apply, while_loop
from chainette.events import EngineCount, NodeCount, Progressed
from chainette.files.run_folder import RunFolder
from chainette.observe import event_of
from chainette.run import RunOptions, run
from chainette.run.telling import Telling
from chainette.specs import default_registry
from tests.crash.said import wrongly_said
from tests.engine.hosted import hosted
from tests.folders import as_killed, lines
from tests.models import Answer, Number, Question, step
from tests.run.conftest import ROWS
from tests.run.pipeline import chain, items

QA = step("qa", Question, Answer, output_format_instruction="", retries=0)
ABOUT_CHUNKS = ("chunk_read", "chunk_committed", "chunks_cut_back")


def questions(count: int) -> list[Question]:
    return [Question(text=f"q{n}.") for n in range(count)]


def numbers(count: int) -> list[Number]:
    return [Number(value=n) for n in range(count)]


def same(n: Number) -> Number:
    return n


def events(folder: Path) -> list[dict[str, Any]]:
    return lines(folder / "events.jsonl")


def names(folder: Path) -> list[str]:
    """Without snapshots, of which there are as many as the run takes seconds."""
    return [event["event"] for event in events(folder) if event["event"] != "progressed"]


def of_chunks(found: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [tuple(event.values())[2:] for event in found if event["event"] in ABOUT_CHUNKS]


def keep_events(folder: Path, kept: list[dict[str, Any]]) -> None:
    (folder / "events.jsonl").write_text("".join(json.dumps(event, separators=(",", ":")) + "\n" for event in kept))


def without(folder: Path, *left_out: tuple[str, int]) -> None:
    """As a process leaves them that dies before it has said these things of chunks, and that it is finished."""
    keep_events(
        folder,
        [
            event
            for event in events(folder)
            if (event["event"], event.get("chunk")) not in left_out and event["event"] != "run_finished"
        ],
    )


def test_a_run_says_what_it_does_in_the_order_in_which_it_does_it(tmp_path):
    folder = Chain(name="c", steps=[apply(same)], chunk_size=2).run(numbers(5), tmp_path / "run").folder
    assert wrongly_said(folder) == []
    assert names(folder)[:2] == ["run_started", "stage_started"]
    assert names(folder)[-1] == "run_finished"
    of_reading = [event for event in events(folder) if event["event"] == "chunk_read"]
    assert [(event["chunk"], event["first"], event["rows"]) for event in of_reading] == [
        (0, 0, 2),
        (1, 2, 2),
        (2, 4, 1),
    ]
    committed = [event for event in events(folder) if event["event"] == "chunk_committed"]
    assert [(event["chunk"], event["rows_committed"]) for event in committed] == [(0, 2), (1, 4), (2, 5)]
    assert not any(event["recovered"] for event in of_reading + committed)


def test_the_last_thing_before_the_end_is_a_snapshot_with_all_rows(tmp_path):
    folder = Chain(name="c", steps=[apply(same)]).run(numbers(5), tmp_path / "run").folder
    last = [event for event in events(folder) if event["event"] == "progressed"][-1]
    assert (last["rows_read"], last["rows_done"], last["nodes"]["same"]["done"]) == (5, 5, 5)


def test_branches_filters_and_failures_leave_each_chunk_said_once(stand_in, tmp_path):
    folder = chain().run(items(ROWS), tmp_path / "run", chunk_size=5).folder
    assert wrongly_said(folder) == []
    assert len(of_chunks(events(folder))) == 2 * 5


def test_loops_leave_each_chunk_said_once(tmp_path):
    def doubled(n: Number) -> Number:
        return Number(value=2 * n.value)

    loop = while_loop([apply(doubled)], until=lambda n: n.value > 20, max_iterations=9, id="loop")
    folder = Chain(name="c", steps=[loop], chunk_size=3).run(numbers(10)[1:], tmp_path / "run").folder
    assert wrongly_said(folder) == []


def test_engines_come_and_go_within_their_stages(monkeypatch, tmp_path):
    monkeypatch.setenv("CHAINETTE_DEVICES", "1")
    for name in ("a", "b"):
        default_registry.add(hosted(name))
    second = step("second", Answer, Answer, "again {{ answer }}", output_format_instruction="")
    both = Chain(name="c", steps=[QA.with_(engine_name="a"), second.with_(engine_name="b")], chunk_size=4)
    folder = both.run(questions(12), tmp_path / "run").folder
    assert wrongly_said(folder) == []
    about = [event for event in events(folder) if event["event"].startswith(("stage", "engine"))]
    said = [(event["event"], event.get("engine", event.get("stage"))) for event in about]
    assert said[: said.index(("stage_finished", 0))] == [
        ("stage_started", 0),
        ("engine_starting", "a"),
        ("engine_started", "a"),
    ]
    rest = said[said.index(("stage_finished", 0)) + 1 :]
    assert rest == [
        ("stage_started", 1),
        ("engine_stopped", "a"),
        ("engine_starting", "b"),
        ("engine_started", "b"),
        ("stage_finished", 1),
        ("engine_stopped", "b"),
    ]
    first, then = (event for event in about if event["event"] == "stage_started")
    assert (first["nodes"], first["engines"], first["stages"]) == (["qa"], ["a"], 2)
    assert (then["nodes"], then["engines"]) == (["second"], ["b"])


def test_an_engine_says_how_many_servers_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("CHAINETTE_DEVICES", "2")
    default_registry.add(hosted("a", replicas=2))
    folder = Chain(name="c", steps=[QA.with_(engine_name="a")]).run(questions(4), tmp_path / "run").folder
    started = next(event for event in events(folder) if event["event"] == "engine_started")
    assert (started["replicas"], started["replica"], started["warm"]) == (2, None, False)


def test_an_endpoint_that_is_not_ours_is_said_to_be_there_when_it_is_first_used(served, tmp_path):
    served()
    folder = Chain(name="c", steps=[QA]).run(questions(4), tmp_path / "run").folder
    started = next(event for event in events(folder) if event["event"] == "engine_started")
    assert (started["engine"], started["warm"], started["replicas"]) == ("served", True, 1)


def test_a_rate_limit_that_holds_calls_back_is_said_once(served, tmp_path):
    served(engine={"requests_per_minute": 240})
    folder = Chain(name="c", steps=[QA]).run(questions(9), tmp_path / "run").folder
    about = [event for event in events(folder) if "throttled" in event["event"]]
    assert [event["event"] for event in about] == ["engine_throttled", "engine_unthrottled"]
    assert about[0]["reason"] == "engine's requests_per_minute"
    assert about[1]["held_s"] > 0
    assert wrongly_said(folder) == []


def test_a_run_that_is_interrupted_ends_its_stage_and_says_so(tmp_path):
    def stop(n: Number) -> Number:
        if n.value == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return n

    with pytest.raises(KeyboardInterrupt):
        Chain(name="c", steps=[apply(stop)], chunk_size=2).run(numbers(200), tmp_path / "run")
    said = names(tmp_path / "run")
    assert wrongly_said(tmp_path / "run") == []
    assert said.index("interrupted") < said.index("stage_finished") < said.index("run_finished")


def test_a_run_whose_engine_died_says_what_it_had_and_goes_on_where_it_was(cut_off):
    folder = cut_off(40, chunk_size=2)
    assert wrongly_said(folder) == []
    first = of_chunks(events(folder))
    chain().run(items(ROWS), resume=folder)
    assert wrongly_said(folder) == []
    assert names(folder).count("run_started") == names(folder).count("run_finished") == 2
    assert of_chunks(events(folder))[: len(first)] == first


def test_what_was_committed_and_not_said_is_said_by_the_next_process_before_its_start(stand_in, tmp_path):
    folder = chain().run(items(ROWS), tmp_path / "run", chunk_size=4).folder
    without(folder, ("chunk_committed", 4), ("chunk_committed", 5))
    before = len(events(folder))
    chain().run(items(ROWS), resume=as_killed(folder))
    assert wrongly_said(folder) == []
    told, started = events(folder)[before : before + 2], events(folder)[before + 2]
    assert [(event["event"], event["chunk"], event["recovered"]) for event in told] == [
        ("chunk_committed", chunk, True) for chunk in (4, 5)
    ]
    assert started["event"] == "run_started"
    assert told[-1]["rows_committed"] == started["rows_before"] == ROWS


def test_of_a_run_whose_events_know_no_chunks_all_are_told_when_it_goes_on(cut_off):
    folder = cut_off(60, chunk_size=2)
    keep_events(folder, [event for event in events(folder) if event["event"] not in ABOUT_CHUNKS])
    chain().run(items(ROWS), resume=folder)
    assert wrongly_said(folder) == []


def test_half_a_line_at_the_end_is_cut_off(cut_off):
    folder = cut_off(30, chunk_size=2)
    with (folder / "events.jsonl").open("ab") as file:
        file.write(b'{"event":"chunk_committed","time":"2026')
    chain().run(items(ROWS), resume=folder)
    assert wrongly_said(folder) == []


def test_what_a_power_cut_has_damaged_at_the_end_is_cut_off(cut_off):
    folder = cut_off(30, chunk_size=2)
    kept = (folder / "events.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "events.jsonl").write_bytes(b"".join(kept[:-3]) + b"\0" * 300 + b"".join(kept[-2:]))
    chain().run(items(ROWS), resume=folder)
    assert wrongly_said(folder) == []


def test_chunks_that_the_disk_does_not_hold_after_a_power_cut_count_anew(stand_in, tmp_path):
    folder = as_killed(chain().run(items(ROWS), tmp_path / "run", chunk_size=2).folder)
    part = folder / "flattened/000.jsonl"
    os.truncate(part, part.stat().st_size // 2)
    before = len(events(folder))
    chain().run(items(ROWS), resume=folder)
    assert wrongly_said(folder) == []
    assert events(folder)[before]["event"] == "chunks_cut_back"
    assert events(folder)[before + 1]["event"] == "run_started"
    assert events(folder)[before + 1]["rows_before"] == 2 * events(folder)[before]["from_chunk"]


def test_rows_that_were_read_and_are_lost_are_read_anew(cut_off):
    folder = cut_off(6, chunk_size=2)
    (folder / "inputs/000.jsonl").write_bytes(b"")
    chain().run(items(ROWS), resume=folder)
    assert wrongly_said(folder) == []
    assert [event["from_chunk"] for event in events(folder) if event["event"] == "chunks_cut_back"] == [0]


def test_a_run_that_is_made_again_by_another_chain_says_its_chunks_anew(stand_in, tmp_path):
    folder = Chain(name="c", steps=[QA], chunk_size=4).run(questions(12), tmp_path / "run").folder
    changed = QA.with_(user_prompt="Now: {{ text }}")
    Chain(name="c", steps=[changed], chunk_size=6).run(questions(12), resume=folder, force=True)
    assert wrongly_said(folder) == []
    assert [event["from_chunk"] for event in events(folder) if event["event"] == "chunks_cut_back"] == [0]


def test_a_function_over_the_whole_run_is_begun_anew_where_not_all_that_follows_is_whole(stand_in, tmp_path):
    def turned(rows: list[Answer]) -> list[Answer]:
        return rows[::-1]

    of = Chain(name="c", steps=[QA, apply(turned, scope="run")], chunk_size=3)
    folder = of.run(questions(12), tmp_path / "run").folder
    assert wrongly_said(folder) == []
    commits = (folder / "commits.jsonl").read_bytes().splitlines(keepends=True)
    last = max(n for n, line in enumerate(commits) if "rows_out" in json.loads(line))
    (folder / "commits.jsonl").write_bytes(b"".join(commits[:last]))
    without(folder, ("chunk_committed", 3))
    of.run(questions(12), resume=as_killed(folder))
    assert wrongly_said(folder) == []
    assert [event["from_chunk"] for event in events(folder) if event["event"] == "chunks_cut_back"] == [0]


def test_a_retry_says_nothing_of_chunks_for_they_were_committed_before(stand_in, tmp_path):
    folder = chain().run(items(ROWS), tmp_path / "run", chunk_size=5).folder
    before = of_chunks(events(folder))
    stand_in(faults=[])
    chain().run([], retry=folder)
    assert wrongly_said(folder) == []
    assert of_chunks(events(folder)) == before
    assert names(folder).count("run_finished") == 2


def test_every_line_is_the_event_that_a_listener_was_told(stand_in, tmp_path):
    told: list[Any] = []
    folder = run(chain(), items(ROWS), RunOptions(output_dir=tmp_path / "run"), told.append).folder
    read = [event_of(event) for event in events(folder)]
    assert [type(event) for event in read if type(event) is not Progressed] == [
        type(event) for event in told if type(event) is not Progressed
    ]
    assert all(event in told for event in read)


def test_the_snapshots_of_forty_hours_are_six_thousand_lines(tmp_path):
    folder = RunFolder.create(tmp_path / "run", "c")
    telling = Telling(folder, None)
    nodes = {"qa": NodeCount()}
    for quarter in range(40 * 3600 * 4):
        telling.say(Progressed(0, 0, quarter / 4, nodes, {"a": EngineCount()}))
    folder.close(seal=False)
    seconds = [event["elapsed_s"] for event in events(tmp_path / "run")]
    assert 5_000 < len(seconds) < 6_500
    assert seconds[:3] == [0, 1, 2]
