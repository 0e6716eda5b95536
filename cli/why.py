"""`chainette why`: whether a row's call was made or reused, and which part of it differs. Knows no files."""

from __future__ import annotations

import shlex
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chainette.cli.runs import AsJson, RunsDir

if TYPE_CHECKING:
    from rich.text import Text

    from chainette.files.reading import RunReader

_SHOWN_ROWS = 5


def why(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A folder, a run's name or its beginning, or last.")],
    step: Annotated[str, typer.Argument(metavar="STEP", help="A step's id.")],
    row: Annotated[str, typer.Argument(metavar="ROW", help="A row's id.")],
    against: Annotated[
        str | None, typer.Option("--against", metavar="RUN", help="Compare with this run (the one that was reused).")
    ] = None,
    runs_dir: RunsDir = "runs",
    as_json: AsJson = False,
) -> None:
    """Say why a row's call was made or reused, and what of it differs from another run."""
    from chainette.cli.pager import print_lines
    from chainette.cli.reasons import reasons
    from chainette.cli.show import found_run
    from chainette.files.reading import RunReader

    reader = RunReader(found_run(run, runs_dir))
    other = RunReader(found_run(against, runs_dir)) if against is not None else _reused(reader, runs_dir)
    told = reasons(reader, step, row, other)
    if as_json:
        from chainette.cli.output import write_json

        write_json(_public(told))
        return
    print_lines(why_lines(told))


def _reused(reader: RunReader, runs_dir: str) -> RunReader | None:
    """The run that this one was told to reuse, where it still is."""
    from chainette.errors import RunFolderError
    from chainette.files.reading import RunReader, find_run

    name = (reader.graph().get("options") or {}).get("reuse")
    for place in (runs_dir, reader.path.parent) if name else ():
        try:
            return RunReader(find_run(Path(str(name)), place))
        except RunFolderError:
            continue
    return None


def _public(told: dict[str, Any]) -> dict[str, Any]:
    from dataclasses import asdict

    if "changes" in told.get("against", {}):
        changes = [{**asdict(change), "message": str(change)} for change in told["against"]["changes"]]
        return {**told, "against": {**told["against"], "changes": changes}}
    return told


def why_lines(told: dict[str, Any]) -> list[Text]:
    """The reasons for a person."""
    from chainette.cli.screen import BAD, NAME, QUIET, line
    from chainette.cli.wording import one_line, run_word, turn_words

    place = one_line(f'{told["kind"]} "{told["step"]}" of {told["run"]}')
    lines = [line((one_line(f"row {told['row']}"), NAME), (f"  {place}", QUIET)), line(_verdict(told))]
    several = len({call["_id"] for call in told["calls"]}) > 1
    lines += [_call_line(call, several) for call in told["calls"]]
    if not told["stopped"]:
        for failure in told["failures"]:
            turn = f" in turn {turn_words(failure['_turn'])}" if "_turn" in failure else ""
            lines.append(line((f"failed{turn}, {failure['kind']}", BAD), f"  {one_line(failure['message'], 2_000)}"))
            lines += [line(("  cause   ", QUIET), one_line(cause)) for cause in failure["cause"]]
    if "against" in told:
        lines += [line(), *_against_lines(told)]
    elif told["calls"] and not any(call["reused"] for call in told["calls"]):
        row = shlex.join([told["step"], told["row"]])
        lines.append(line((f"next: chainette why {run_word(told['folder'])} {one_line(row)} --against RUN", QUIET)))
    return lines


def _verdict(told: dict[str, Any]) -> str:
    from chainette.cli.wording import counted, one_line
    from chainette.reports.journey import NO_ROWS

    calls, stopped = told["calls"], told["stopped"]
    if calls:
        reused = [call for call in calls if call["reused"]]
        made = len(calls) - len(reused)
        words = [f"made: {counted(made, 'call')}"] if made else []
        from_ = [f"row {call['reused'].get('_id')} of {call['reused'].get('run')}" for call in reused]
        shown = ", ".join(dict.fromkeys(from_[:_SHOWN_ROWS]))
        words += [f"reused: {counted(len(reused), 'call')} from {shown}"] if reused else []
        return one_line("; ".join(words))
    if stopped is not None:
        return one_line(_stopped_words(told, stopped))
    if told["kind"] in NO_ROWS and not told["rows"]:
        return f"a {told['kind']} makes no calls and has no rows of its own"
    if told["kind"] not in ("step", "apply"):
        return f"made without a call: a {told['kind']} makes none"
    return "made without a call: it is a function" if told["kind"] != "step" else "the log holds no call for it"


def _stopped_words(told: dict[str, Any], stopped: dict[str, Any]) -> str:
    from chainette.files.names import INPUT_NODE
    from chainette.reports.outline import LOOPS

    here = stopped["at"] == told["step"]
    at = "here" if here else "at the input" if stopped["at"] == INPUT_NODE else f"at {stopped['at']}"
    never = "" if here else "it never got here: "
    if stopped["how"] == "failed":
        call = ", before a call was made" if here and told["kind"] == "step" else ""
        return f"{never}it failed {at}{call}: {stopped['kind']}: {stopped['message']}"
    if stopped["how"] == "another way":
        passed = "took no turn in" if stopped["kind"] in LOOPS else "went another way at"
        return f"{never}it {passed} {stopped['at']}"
    if stopped["how"] == "dropped":
        return f"{never}it was dropped {at}"
    return f"it has not got here yet: {stopped['message']}"


def _call_line(call: dict[str, Any], several: bool) -> Text:
    from chainette.cli.screen import BAD, GOOD, QUIET, line
    from chainette.cli.wording import one_line, seconds, turn_words

    words = [f"row {call['_id']}"] if several else []
    words += [f"turn {turn_words(call['turn'])}"] if "turn" in call else []
    words.append(f"attempt {call['attempt']}")
    if call["started"]:
        words.append(datetime.fromisoformat(call["started"]).astimezone().strftime("%Y-%m-%d %H:%M:%S"))
    words += [seconds(call["seconds"])] if call["seconds"] is not None else []
    if call["completion_tokens"] is not None:
        words.append(f"{call['prompt_tokens'] or 0} + {call['completion_tokens']} tokens")
    words += ["reused"] if call["reused"] else []
    text = line((f"  {one_line(', '.join(words))}  ", QUIET))
    if call["wrong"]:
        return text.append(f"not taken, {one_line(call['wrong'], 500)}", style=BAD)
    return text.append("taken", style=GOOD)


def _against_lines(told: dict[str, Any]) -> list[Text]:
    from chainette.cli.diff import change_lines, value_diff, word_diff
    from chainette.cli.screen import GOOD, NAME, QUIET, WARN, line
    from chainette.cli.wording import one_line

    other = told["against"]
    place = f"row {other['row']} of {other['run']}" if other["row"] is not None else other["run"]
    same, words = _key_words(told, other)
    lines = [line(("against  ", QUIET), (one_line(place), NAME)), line((one_line(words), GOOD if same else WARN))]
    for change in other.get("changes", []):
        lines += change_lines(change)
    wide = min(max((len(value["name"]) for value in other.get("values", [])), default=0), 40)
    for value in other.get("values", []):
        head = line((f"  {one_line(value['name']):<{wide}}  ", QUIET))
        lines.append(head.append_text(value_diff(value["before"], value["after"])))
    if other.get("prompt"):
        lines.append(line(("as it was sent", QUIET)))
    for message in other.get("prompt", []):
        head = line((f"  {one_line(message['role'])}  ", QUIET))
        lines.append(head.append_text(word_diff(message["before"] or "", message["after"] or "")))
    return lines


def _key_words(told: dict[str, Any], other: dict[str, Any]) -> tuple[bool, str]:
    """Whether nothing differs, and what does."""
    parts = " and ".join(filter(None, [", ".join(other["parts"][:-1]), *other["parts"][-1:]]))
    if told["kind"] != "step":
        if other["why"] or not (other["same"] or parts):
            return False, other["why"] or "nothing can be said"
        return other["same"], "the same function on the same input" if other["same"] else f"{parts} changed"
    reused = any(call["reused"] for call in told["calls"])  # by way of other runs, its source may be another one
    if other["same"] or other.get("elsewhere"):
        where = "" if other["same"] else f" at row {', '.join(other['elsewhere'][:_SHOWN_ROWS])}"
        if not other.get("elsewhere"):
            return True, "the same key, but the call failed there, and a failed call is made again"
        return True, f"the same key{where}: it {'was' if reused else 'would be'} reused"
    if other["why"]:
        return False, other["why"] + (f"; {parts} differ" if parts else "")
    if not parts:
        return False, "the key differs, and nothing that the folders hold says why"
    return False, f"the key differs: {parts}"
