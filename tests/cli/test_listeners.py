from __future__ import annotations

import io
import json
from dataclasses import replace

from chainette.cli.frame import picture
from chainette.cli.jsonlog import JsonLines
from chainette.cli.live import LiveView
from chainette.cli.plain import PlainLines
from chainette.cli.progress import RunState
from chainette.cli.summary import plain_summary
from chainette.cli.watching import Screen, Silence
from chainette.cli.wording import ICONS, PLAIN, run_word
from chainette.events import (
    ChunkCommitted,
    ChunkRead,
    ChunksCutBack,
    EngineStarted,
    EngineStarting,
    EngineThrottled,
    EngineUnthrottled,
    Event,
    Interrupted,
    StageFinished,
    StageStarted,
    Warned,
)
from tests.cli.hand_made import FOLDER, everywhere, finished, node, progressed, started


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def plain(*events: Event) -> list[str]:
    stream = io.StringIO()
    lines = PlainLines(stream, now_s=lambda: 0.0, stamp=lambda: "12:00:00")
    for event in events:
        lines(event)
    return stream.getvalue().splitlines()


def as_json(*events: Event) -> list[dict[str, object]]:
    stream = io.StringIO()
    listener = JsonLines(stream)
    for event in events:
        listener(event)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_plain_lines_say_start_engines_and_warnings() -> None:
    assert plain(started(100, ("careful",)), EngineStarting("demo", "llama.cpp"), EngineStarted("demo", "", 1.5)) == [
        "12:00:00  Reviews: 100 rows into runs/reviews-20261121-005512-a1b2",
        "12:00:00  engine demo: the demo model, 3M parameters, knows only the examples",
        "12:00:00  warning: careful",
        "12:00:00  engine demo: starting: llama.cpp",
        "12:00:00  engine demo: ready after 1.50 s",
    ]


def test_plain_progress_comes_every_tenth_part() -> None:
    lines = plain(started(100), *(progressed(done / 1000, done, **everywhere(done)) for done in range(1, 100)))
    assert [line.split(" | ")[:2] for line in lines[2:]] == [
        [f"12:00:00  {done}%", f"{done} of 100 rows committed"] for done in range(10, 100, 10)
    ]


def test_plain_progress_comes_every_five_seconds_when_rows_are_slow() -> None:
    lines = plain(started(None), *(progressed(second / 2, 0) for second in range(41)))
    assert len(lines[2:]) == 4
    assert lines[2].startswith("12:00:00  0 of 100 rows read")


def test_the_last_plain_line_has_the_counts_of_the_end() -> None:
    last = plain(started(100), finished())[-1]
    assert "  100% | 100 of 100 rows committed | " in last
    assert "summarise 100" in last
    assert "400 calls, 8,000 tokens written" in last


def test_a_plain_line_stays_one_line_whatever_a_message_holds() -> None:
    assert plain(Warned("a\nb\x1b[31m")) == ["12:00:00  warning: a b"]


def test_plain_lines_say_that_a_run_was_interrupted() -> None:
    assert "a second Ctrl-C stops at once" in plain(Interrupted())[0]


def test_json_logs_are_one_object_a_line_named_by_its_event() -> None:
    said = as_json(started(), progressed(1, 2, extract=node(3)), ChunkCommitted(0, 512), finished())
    assert [line["event"] for line in said] == ["run_started", "progressed", "chunk_committed", "run_finished"]
    assert said[0]["engines"] == [
        {"name": "demo", "description": "the demo model, 3M parameters, knows only the examples"}
    ]
    assert said[1]["nodes"]["extract"]["done"] == 3  # type: ignore[index]
    assert str(said[2].pop("time")).endswith("Z")
    assert said[2] == {"event": "chunk_committed", "chunk": 0, "rows_committed": 512, "recovered": False}


def test_plain_lines_are_as_few_however_many_chunks_there_are() -> None:
    chunks = [event for n in range(500) for event in (ChunkRead(n, n, 1), ChunkCommitted(n, n + 1))]
    assert plain(StageStarted(0, 1, ("extract",), ("demo",)), *chunks, StageFinished(0)) == []


def test_plain_lines_say_what_holds_an_engine_back_and_which_stage_begins() -> None:
    limited = EngineThrottled("demo", "engine's requests_per_minute")
    again = EngineStarted("demo", "", 1.5, replica=1, replicas=2)
    assert plain(StageStarted(1, 3, (), ("demo",)), limited, EngineUnthrottled("demo", 2.0), again) == [
        "12:00:00  stage 2 of 3: demo",
        "12:00:00  engine demo: held back by the engine's requests_per_minute",
        "12:00:00  engine demo: no longer held back",
        "12:00:00  engine demo: replica 1 again ready after 1.50 s",
    ]


def test_plain_lines_warn_of_what_is_made_again() -> None:
    assert plain(ChunksCutBack(3, "the files do not hold it")) == [
        "12:00:00  warning: what was made of chunk 3 and those behind it is made again: the files do not hold it"
    ]


def test_the_live_view_says_what_holds_an_engine_back() -> None:
    state = RunState()
    for event in (
        started(),
        EngineStarted("demo", "", 1.0),
        progressed(1, 2),
        EngineThrottled("demo", "rate [b]limit"),
    ):
        state.take(event)
    assert "held back by the rate [b]limit" in picture(state, ICONS, 120, 40, 1.0, 1.0).plain
    state.take(EngineUnthrottled("demo"))
    assert "held back" not in picture(state, ICONS, 120, 40, 1.0, 1.0).plain


def test_json_logs_can_carry_any_text() -> None:
    assert as_json(Warned('é "\n\ud800'))[0]["message"] == 'é "\n?'


def test_the_live_view_ends_with_the_exact_counts() -> None:
    stream = Terminal()
    with LiveView(ICONS, stream=stream, now_s=lambda: 0.0) as view:
        view(started(100))
        view(progressed(1, 40, extract=node(50)))
        view(finished())
    assert "100/100" in stream.getvalue()
    assert "400 calls · 8,000 tokens written" in stream.getvalue()


def test_the_live_view_draws_nothing_before_the_run_has_started() -> None:
    stream = Terminal()
    with LiveView(ICONS, stream=stream):
        pass
    assert stream.getvalue() == ""


def test_a_terminal_gets_the_live_view_and_a_pipe_plain_lines() -> None:
    assert isinstance(Screen().watcher(io.StringIO(), io.StringIO()), PlainLines)
    assert isinstance(Screen(quiet=True).watcher(io.StringIO(), Terminal()), Silence)
    assert isinstance(Screen(json_logs=True).watcher(io.StringIO(), Terminal()), JsonLines)


FAILURES = (
    ("extract", "schema", "rating: less than or equal to 5", 8),
    ("extract", "truncated", "stopped at max_tokens", 30),
    ("extract", "timeout", "60 s", 1),
    ("extract", "http", "500", 2),
)


def test_the_summary_tells_the_three_commonest_failures_and_how_to_see_them() -> None:
    text = plain_summary(finished(failures=FAILURES), ICONS, 100)
    lines = text.splitlines()
    assert lines[0] == "– done · 100 rows in · 59 out · 41 failed · 12.3 s · 8.1/s"
    assert [line.split()[0] for line in lines[1:4]] == ["30", "8", "2"]
    assert lines[4] == "  … and 1 other failure"
    assert "folder  runs/reviews-20261121-005512-a1b2" in text
    assert "chainette show reviews-20261121-005512-a1b2 extract --failed" in text


def test_a_good_end_needs_no_next_command() -> None:
    text = plain_summary(finished(), PLAIN, 100)
    assert text.startswith("ok done - 100 rows in - 100 out")
    assert "next" not in text


def test_a_stopped_run_says_why() -> None:
    assert "the disk is full" in plain_summary(finished("stopped", message="the disk is full"), ICONS, 100)


def test_the_folder_goes_to_stdout_when_a_program_reads_it() -> None:
    out, err = io.StringIO(), io.StringIO()
    watcher = Silence()
    watcher(started())
    watcher(finished())
    Screen().say_end(watcher.state, out, err, allowed=True)
    assert out.getvalue() == f"{FOLDER}\n"
    assert "done" in err.getvalue()


def test_quiet_says_only_the_folder() -> None:
    out, err = Terminal(), Terminal()
    watcher = Silence()
    watcher(started())
    watcher(finished())
    Screen(quiet=True).say_end(watcher.state, out, err, allowed=True)
    assert (out.getvalue(), err.getvalue()) == (f"{FOLDER}\n", "")


def test_a_run_elsewhere_is_named_by_its_path() -> None:
    assert run_word("runs/reviews-1") == "reviews-1"
    assert run_word("/tmp/my run") == "'/tmp/my run'"


def test_a_run_that_was_stopped_does_not_end_with_100_percent() -> None:
    last = plain(started(100), progressed(1, 20, **everywhere(30)), ChunkCommitted(3, 40), finished("interrupted"))[-1]
    assert last.startswith("12:00:00  40 of 100 rows committed | ")
    assert "%" not in last


def test_the_live_view_of_a_stopped_run_ends_with_what_was_to_come() -> None:
    end = replace(finished("stopped"), nodes={id_: node(30) for id_ in finished().nodes})
    stream = Terminal()
    with LiveView(ICONS, stream=stream, now_s=lambda: 0.0) as view:
        view(started(100))
        view(end)
    assert "30/100" in stream.getvalue()


def test_what_is_cut_ends_in_ascii_without_icons() -> None:
    text = plain_summary(finished(failures=(("extract", "schema", "long " * 50, 1),)), PLAIN, 80)
    assert text.isascii()
    assert text.splitlines()[1].endswith("...")
    state = RunState()
    state.take(started(100, ("careful " * 50,)))
    assert picture(state, PLAIN, 40, 40, 0.0, 0.0).plain.isascii()


def test_no_rows_have_no_rate() -> None:
    assert plain_summary(replace(finished(), rows_in=0, rows_out=0), ICONS, 100).splitlines()[0].endswith("12.3 s")


def test_nothing_is_shown_of_a_run_whose_folder_is_gone() -> None:
    assert "chainette show" not in plain_summary(finished(failures=FAILURES), ICONS, 100, kept=False)
