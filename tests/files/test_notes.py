"""Notes on rows: kept, changed and taken away by appending, whatever else goes on in the folder."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from chainette.errors import RunFolderError
from chainette.files.notes import Note, Notes, check_row
from chainette.files.reading import RunReader


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "graph.json").write_text('{"execution_order": [{"id": "outer/qa"}], "nodes": []}')
    return folder


def test_the_last_note_on_a_row_counts(run: Path) -> None:
    notes = RunReader(run).notes()
    notes.write(Note("outer/qa", "17", "good"))
    notes.write(Note("outer/qa", "17", "bad", 'wrong "city"\nof two \ud800'))
    notes.write(Note("outer/qa", "17", "good", turns=(2,)))
    found = notes.of_row("outer/qa", "17")
    assert found is not None
    assert (found.label, found.text) == ("bad", 'wrong "city"\nof two \ufffd')
    assert [(note.step, note.turns) for note in notes.all()] == [("outer/qa", ()), ("outer/qa", (2,))]
    assert sorted(path.name for path in run.iterdir()) == ["graph.json", "notes"]


def test_taking_a_note_away_is_said_too_and_nothing_is_rewritten(run: Path) -> None:
    notes = Notes(run)
    notes.write(Note("qa", "1", "good"))
    notes.write(Note("qa", "1"))
    assert list(notes.all()) == []
    assert len((run / "notes" / "qa.jsonl").read_bytes().splitlines()) == 2


def test_half_a_line_costs_no_other_note(run: Path) -> None:
    notes = Notes(run)
    notes.write(Note("qa", "1", "good"))
    with open(run / "notes" / "qa.jsonl", "ab") as file:
        file.write(b'{"_id":"2","label":"ba')
    notes.write(Note("qa", "3", "bad"))
    assert [note.row_id for note in notes.all()] == ["1", "3"]


def test_many_writers_at_once_lose_nothing(run: Path) -> None:
    def write(writer: int) -> None:
        for number in range(20):
            Notes(run).write(Note("qa", f"{writer}-{number}", "good", "x" * 3_000))

    writers = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    assert len(list(Notes(run).all())) == 120


def test_a_note_that_is_too_long_is_refused_whole(run: Path) -> None:
    with pytest.raises(RunFolderError, match="at most 20,000"):
        Notes(run).write(Note("qa", "1", "good", "x" * 20_001))
    assert not (run / "notes").exists()


def test_notes_are_never_written_through_a_link(run: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (run / "notes").symlink_to(elsewhere)
    with pytest.raises(RunFolderError, match="the note is not kept"):
        Notes(run).write(Note("qa", "1", "good"))
    assert list(elsewhere.iterdir()) == []


def test_a_note_needs_a_row_of_the_run(run: Path) -> None:
    with pytest.raises(RunFolderError, match='no row "9" at outer/qa'):
        check_row(RunReader(run), "outer/qa", "9")
    with pytest.raises(RunFolderError, match='no step "qb"'):
        check_row(RunReader(run), "qb", "9")
