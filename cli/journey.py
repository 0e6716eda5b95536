"""A row's journey as lines for a person. Knows what `reports.journey` gives."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from chainette.cli.wording import lines as clean_lines
from chainette.cli.wording import one_line, short_time
from chainette.reports.journey import NO_ROWS
from chainette.reports.turns import Turn, in_turns

if TYPE_CHECKING:
    from rich.text import Text


def journey_lines(way: dict[str, Any]) -> list[Text]:
    """The journey for a person; the step that was asked for with all that was said there."""
    from chainette.cli.screen import BAD, NAME, QUIET, line

    lines = [line((one_line(f"row {way['row']}"), NAME), (f"  {way['run']}", QUIET)), line()]
    lines += [line(("input", NAME)), *_fields(way["input"] or {})]
    lines += [_failure(f) for f in way["failures"]]
    for part in in_turns(way["nodes"]):
        if isinstance(part, Turn):
            lines += [line(), line((one_line(part.words), "italic"))]
        elif part["kind"] not in NO_ROWS or part["failures"] or part["rows"]:
            lines += _stop_lines(part, way)
    if not way["nodes"]:
        lines.append(line(("no step was run", BAD)))
    return lines


def _stop_lines(stop: dict[str, Any], way: dict[str, Any]) -> list[Text]:
    """One node, in a loop in one of its turns."""
    from chainette.cli.screen import NAME, QUIET, line

    lines = [line(), line((one_line(stop["id"]), NAME), (f"  {stop['kind']}", QUIET))]
    asked = stop["id"] == way["step"]
    if "prompt" in stop:
        lines += _prompt_lines(stop["prompt"])
    elif asked and stop["calls"]:
        one = shlex.join(["chainette", "show", way["run"], stop["id"], str(stop["calls"][0].get("_id"))])
        lines.append(line((f"  several calls; one with its prompt: {one_line(one)}", QUIET)))
    for call in stop["calls"]:
        lines += _call(call, asked, way["row"])
    for row in stop["rows"]:
        if len(stop["rows"]) > 1 or row.get("_id") != way["row"]:
            lines.append(line((f"  row {one_line(row.get('_id'))}", QUIET)))
        lines += _fields(row)
    lines += [_failure(f) for f in stop["failures"]]
    if not (stop["rows"] or stop["failures"] or stop["calls"]):
        told = "never got here, or was dropped" if stop.get("written", True) else "its rows are not written"
        lines.append(line((f"  {told}", QUIET)))
    return lines


def _fields(row: dict[str, Any]) -> list[Text]:
    from chainette.cli.screen import QUIET, line
    from chainette.cli.wording import in_words

    names = [key for key in row if key not in ("_id", "_turn")]
    wide = min(max((len(one_line(name)) for name in names), default=0), 24)
    return [line((f"  {one_line(name):<{wide}}  ", QUIET), _indented(in_words(row[name]), wide + 4)) for name in names]


def _indented(text: str, by: int) -> str:
    return clean_lines(text).strip("\n").replace("\n", "\n" + " " * by)


def _failure(failure: dict[str, Any]) -> Text:
    from chainette.cli.screen import BAD, line

    text = line("  ", (f"failed, {failure['kind']}", BAD), f"  {one_line(failure['message'])}")
    for cause in failure["cause"]:
        text.append(f"\n    {one_line(cause)}")
    if failure["raw"]:
        text.append(f"\n    answer  {_indented(failure['raw'], 12)}")
    return text


def _prompt_lines(prompt: dict[str, Any]) -> list[Text]:
    from chainette.cli.screen import QUIET, WARN, line
    from chainette.cli.wording import in_words

    kind = "" if prompt["rendered"] else " template"
    said = [(f"{one_line(m['role'])}{kind}", in_words(m["content"])) for m in prompt["messages"]]
    wide = max((len(role) for role, _ in said), default=0)
    lines = [line((f"  {role:<{wide}}  ", QUIET), _indented(text, wide + 4)) for role, text in said]
    return [line((f"  {one_line(prompt['why'])}", WARN)), *lines] if prompt.get("why") else lines


def _call(call: dict[str, Any], whole: bool, row_id: str) -> list[Text]:
    from chainette.cli.screen import BAD, QUIET, WARN, line

    usage = call.get("usage") or {}
    words = [f"row {call.get('_id')}"] if call.get("_id") != row_id else []
    words.append(f"attempt {call.get('attempt', 1)}")
    if "completion_tokens" in usage:
        words.append(f"{usage.get('prompt_tokens') or 0} + {usage.get('completion_tokens') or 0} tokens")
    words += [short_time(call["seconds"])] if call.get("seconds") is not None else []
    words += [str(call[k]) for k in ("finish_reason", "replica") if call.get(k)]
    lines = [line((f"  call    {one_line(', '.join(words))}", QUIET))]
    error = call.get("error")
    if error:
        lines.append(line(("  error   ", QUIET), (one_line(f"{error.get('kind')}: {error.get('message')}"), BAD)))
    lines += [line(("  refused ", QUIET), (one_line(reason), WARN)) for reason in call.get("refused") or []]
    if whole:
        if call.get("reasoning"):
            lines.append(line(("  thought ", QUIET), _indented(call["reasoning"], 10)))
        texts = [text for text in call.get("texts") or [call.get("text")] if text is not None]
        lines += [line(("  answer  ", QUIET), _indented(text, 10)) for text in texts]
    return lines
