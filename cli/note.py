"""`chainette note`: what a person thinks of a row, kept in the run folder. Knows the reader, not the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from chainette.cli.runs import AsJson, RunsDir

if TYPE_CHECKING:
    from rich.text import Text

    from chainette.files.notes import Note
    from chainette.files.reading import RunReader


def note(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A folder, a name or its beginning, or last.")],
    step: Annotated[
        str | None, typer.Argument(metavar="[STEP]", help="A step's id, or chain_input.", show_default=False)
    ] = None,
    row: Annotated[str | None, typer.Argument(metavar="[ROW]", help="A row's id.", show_default=False)] = None,
    text: Annotated[str | None, typer.Argument(metavar="[TEXT]", help="The note.", show_default=False)] = None,
    label: Annotated[
        str | None, typer.Option("--label", "-l", metavar="WORD", help="good, bad, or any short word.")
    ] = None,
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who says so.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the row's note away.")] = False,
    runs_dir: RunsDir = "runs",
    as_json: AsJson = False,
) -> None:
    """Say what you think of a row, or list what was said.

    chainette note last qa 17 --label bad "wrong city"
    """
    from chainette.cli.output import write_json
    from chainette.cli.pager import print_lines
    from chainette.cli.show import found_run
    from chainette.cli.target import wrong_call
    from chainette.files.reading import RunReader

    reader = RunReader(found_run(run, runs_dir))
    writes = text is not None or label is not None or remove
    if writes and (step is None or row is None):
        raise wrong_call("a note", "is on a row: chainette note RUN STEP ROW --label good", command="note")
    if remove and (text is not None or label is not None):
        raise wrong_call("--remove", "takes the note away, so there is nothing to say with it", command="note")
    if writes:
        assert step is not None
        assert row is not None
        found = [_write(reader, step, row, remove, (label, text, by))]
    else:
        found = [n for n in reader.notes().all() if step in (None, n.step) and row in (None, n.row_id)]
    if as_json:
        write_json([one.public() for one in found])
        return
    print_lines([line for one in found for line in note_lines(one)] or [_none(reader, step, row)])


def _write(
    reader: RunReader, step: str, row: str, remove: bool, said: tuple[str | None, str | None, str | None]
) -> Note:
    """What is not said again stays as it was."""
    from chainette.files.notes import Note, check_row

    label, text, by = said
    check_row(reader, step, row)
    notes = reader.notes()
    if remove:
        return notes.write(Note(step, row, by=by or ""))
    before = notes.of_row(step, row) or Note(step, row)
    kept = Note(
        step,
        row,
        before.label if label is None else label.strip(),
        before.text if text is None else text.strip(),
        by=by or "",
    )
    return notes.write(kept)


def note_lines(one: Note) -> list[Text]:
    """A note for a person."""
    from chainette.cli.screen import BAD, GOOD, NAME, QUIET, line
    from chainette.cli.wording import lines as clean_lines
    from chainette.cli.wording import one_line, turn_words

    style = {"good": GOOD, "bad": BAD}.get(one.label, "yellow")
    turn = f", turn {turn_words(one.turns)}" if one.turns else ""
    words: list[Any] = [(one_line(one.row_id), NAME), f"  {one_line(one.step)}{turn}"]
    words += [("  ", ""), (one_line(one.label), style)] if one.label else []
    words += [(f"  {one_line(one.by)}", QUIET)] if one.by else []
    found = [line(*words, (f"  {one_line(one.time)}", QUIET))]
    if one.is_empty:
        return [line((one_line(one.row_id), NAME), f"  {one_line(one.step)}  ", ("no note any more", QUIET))]
    if one.text:
        found.append(line("    " + clean_lines(one.text).replace("\n", "\n    ")))
    return found


def _none(reader: RunReader, step: str | None, row: str | None) -> Text:
    import shlex

    from chainette.cli.screen import QUIET, line
    from chainette.cli.wording import one_line, run_word

    words = shlex.join([step or "STEP", row or "ROW"])
    return line((f"no notes yet: chainette note {run_word(reader.place)} {one_line(words)} --label good", QUIET))
