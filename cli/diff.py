"""`chainette diff`: what differs between two runs, the chain first, then the rows. Knows no files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chainette.cli.runs import AsJson, RunsDir
from chainette.reports.changed_words import changed_words

if TYPE_CHECKING:
    from rich.text import Text

    from chainette.files.comparing import Comparison, Example, NodeComparison
    from chainette.files.graph_changes import Change

DIFFERENT = 1
_LONG = 40
_WHOLE = 300
"""Characters of a row or value that is shown as it is."""


def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="A run: a folder, a name or its beginning, or last.")],
    after: Annotated[str, typer.Argument(metavar="B", help="The run to compare with it.")],
    step: Annotated[str | None, typer.Option("--step", metavar="STEP", help="Only this step, or chain_input.")] = None,
    limit: Annotated[int, typer.Option(min=0, metavar="N", help="Examples of a kind per step; 0 for all.")] = 3,
    runs_dir: RunsDir = "runs",
    as_json: AsJson = False,
) -> None:
    """Compare two runs: the chain, then the rows of each step. Exit code 1 when rows differ."""
    from chainette.cli.pager import print_lines
    from chainette.cli.show import found_run
    from chainette.files.comparing import compare
    from chainette.files.reading import RunReader

    readers = [RunReader(found_run(run, runs_dir)) for run in (before, after)]
    compared = compare(readers[0], readers[1], step=step, examples=limit or None)
    if as_json:
        from chainette.cli.output import write_json

        write_json(compared.public())
    else:
        print_lines([*diff_lines(compared), *_next(compared, before, after, runs_dir)])
    if compared.differs:
        raise typer.Exit(DIFFERENT)


def _next(compared: Comparison, before: str, after: str, runs_dir: str) -> list[Text]:
    """How to go on from the first row of a node that changed."""
    import shlex

    from chainette.cli.screen import line
    from chainette.cli.wording import one_line

    for node in compared.nodes:
        changed = next((e.after["_id"] for e in node.examples if e.kind == "changed" and e.after), None)
        if changed is not None and node.kind in ("step", "apply"):
            words = ["chainette", "why", after, node.id, str(changed), "--against", before]
            words += ["--runs-dir", runs_dir] if runs_dir != "runs" else []
            return [line(), line(f"next: {one_line(shlex.join(words))}")]
    return []


def diff_lines(compared: Comparison) -> list[Text]:
    """The comparison for a person."""
    from chainette.cli.screen import GOOD, NAME, QUIET, WARN, line
    from chainette.cli.wording import counted, one_line

    head = line((one_line(compared.before), NAME), "  ->  ", (one_line(compared.after), NAME))
    lines = [head]
    for name, state in zip((compared.before, compared.after), compared.states, strict=True):
        if state != "done":
            told = f"{one_line(name)} is {one_line(state)}: rows that it has not reached count as not there"
            lines.append(line((told, WARN)))
    for change in compared.changes:
        lines += change_lines(change)
    if not compared.changes:
        lines.append(line(("the chain, its input and its options are the same", QUIET)))
    lines += [line(), *_table(compared.nodes)]
    if compared.moved:
        lines.append(line((f"{counted(compared.moved, 'input row')} in another order", QUIET)))
    for node in compared.nodes:
        if node.examples:
            lines += [line(), _node_head(node)]
            lines += [text for example in node.examples for text in _example(example)]
            lines += _left_out(node)
    if not compared.differs:
        lines += [line(), line(("no row differs", GOOD))]
    return lines


def change_lines(change: Change) -> list[Text]:
    """A change of the chain, with the words of a prompt that differ."""
    from chainette.cli.screen import QUIET, WARN, line
    from chainette.cli.wording import one_line

    lines = [line(("~ ", WARN), one_line(change, 500))]
    if change.part == "prompt":
        for name in change.before:
            old, new = (_as_text(told.get(name)) for told in (change.before, change.after))
            lines.append(line((f"    {name.removesuffix('_prompt')}  ", QUIET)).append_text(word_diff(old, new)))
    return lines


def _as_text(value: Any) -> str:
    from chainette.cli.wording import in_words

    return "" if value is None else in_words(value)


def _table(nodes: list[NodeComparison]) -> list[Text]:
    from chainette.cli.screen import BAD, NAME, QUIET, WARN, line
    from chainette.cli.wording import count, one_line

    head = ("step", "same", "changed", "added", "gone", "failed", "tokens in", "tokens out")
    rows = []
    for node in nodes:
        if node.kind == "join" and not (node.failed_before or node.failed_after):
            continue
        figures = [count(n) if n else "" for n in (node.same, node.changed, node.added, node.gone)]
        figures.append(_arrow(node.failed_before, node.failed_after))
        figures += [_arrow(a, b) for a, b in zip(node.tokens_before, node.tokens_after, strict=True)]
        rows.append([one_line(node.id) + _only_in(node), *figures])
    kept = [i for i in range(len(head)) if i < 2 or any(row[i] for row in rows)]
    widths = {i: max(len(row[i]) for row in [list(head), *rows]) for i in kept}
    lines = [line(("  ".join(head[i].ljust(widths[i]) if not i else head[i].rjust(widths[i]) for i in kept), QUIET))]
    styles = {2: WARN, 3: WARN, 4: WARN, 5: BAD}
    for row in rows:
        text = line((row[0].ljust(widths[0]), NAME))
        for i in kept[1:]:
            text.append(f"  {row[i].rjust(widths[i])}", style=styles.get(i, ""))
        lines.append(text)
    return lines


def _only_in(node: NodeComparison) -> str:
    if node.before_id is None:
        return " (new)"
    if node.after_id is None:
        return " (gone)"
    return "" if node.before_id == node.after_id else f" (was {node.before_id})"


def _arrow(before: int, after: int) -> str:
    if before == after:
        return f"{before:,}" if before else ""
    return f"{before:,} -> {after:,}"


def _node_head(node: NodeComparison) -> Text:
    from chainette.cli.screen import NAME, QUIET, line
    from chainette.cli.wording import one_line

    fields = ", ".join(f"{one_line(name)} in {times:,}" for name, times in node.fields.most_common())
    return line((one_line(node.id), NAME), (f"  changed: {fields}" if fields else "", QUIET))


def _left_out(node: NodeComparison) -> list[Text]:
    from chainette.cli.screen import QUIET, line

    counts = (node.changed, node.added, node.gone, node.newly_failed, node.no_longer_failed, node.failed_otherwise)
    rest = sum(counts) - len(node.examples)
    return [line((f"  and {rest:,} more (--step {node.id} --limit 0 shows all)", QUIET))] if rest > 0 else []


def _example(example: Example) -> list[Text]:
    from chainette.cli.screen import BAD, GOOD, NAME, WARN, line

    before, after = example.before or {}, example.after or {}
    found = (before or example.failed_before or {}, after or example.failed_after or {})
    ids = list(dict.fromkeys(_place(row) for row in found if row))
    style = {"changed": WARN, "added": GOOD, "gone": BAD, "no longer failed": GOOD}.get(example.kind, BAD)
    head = line("  ", (" -> ".join(ids), NAME), (f"  {example.kind}", style))
    if example.kind == "changed":
        return [head, *field_diff(before, after, example.fields)]
    lines = [head]
    if example.failed_before:
        lines.append(line(f"    was {_failure_words(example.failed_before)}"))
    if example.failed_after:
        lines.append(line(f"    {'is ' if example.failed_before else ''}{_failure_words(example.failed_after)}"))
    rows = [row for row in (before, after) if row and not (row is before and example.failed_after)]
    return [*lines, *(line(f"    {_row_words(row)}") for row in rows)]


def _place(row: dict[str, Any]) -> str:
    from chainette.cli.wording import one_line, turn_words

    return one_line(row["_id"]) + (f", turn {turn_words(row['_turn'])}" if "_turn" in row else "")


def _row_words(row: dict[str, Any]) -> str:
    from chainette.cli.wording import in_words, one_line

    return "  ".join(
        f"{one_line(k)}: {one_line(in_words(v), _WHOLE)}" for k, v in row.items() if k not in ("_id", "_turn")
    )


def _failure_words(failure: dict[str, Any]) -> str:
    from chainette.cli.wording import one_line

    return f"{failure['kind']}: {one_line(failure['message'], _WHOLE)}"


def field_diff(before: dict[str, Any], after: dict[str, Any], fields: Sequence[str]) -> list[Text]:
    """A line per field, with the words that differ."""
    from chainette.cli.screen import QUIET, line
    from chainette.cli.wording import one_line

    wide = min(max((len(one_line(name)) for name in fields), default=0), 24)
    return [
        line((f"    {one_line(name):<{wide}}  ", QUIET)).append_text(value_diff(before.get(name), after.get(name)))
        for name in fields
    ]


def value_diff(before: Any, after: Any) -> Text:
    """Two values on one line: texts by their words, others one after the other."""
    from rich.text import Text

    from chainette.cli.screen import BAD, GOOD
    from chainette.cli.wording import in_words, one_line

    words = [in_words(value) for value in (before, after)]
    if all(isinstance(value, (str, list, dict)) for value in (before, after)) and max(map(len, words)) > _LONG:
        return word_diff(*words)
    text = Text(one_line(words[0], _WHOLE), style=BAD)
    return text.append(" -> ", style="default").append(one_line(words[1], _WHOLE), style=GOOD)


def word_diff(before: str, after: str) -> Text:
    """One line in which `[-what is gone-]` and `{+what is new+}` stand in what stayed; by colour where there is one."""
    from rich.text import Text

    from chainette.cli.screen import BAD, GOOD, console
    from chainette.cli.wording import one_line

    coloured = sys.stdout.isatty() and console(sys.stdout).color_system is not None
    text = Text()
    for sign, words in changed_words(before, after):
        shown = one_line(f"|{words}|")[1:-1]  # white space at its ends counts
        if sign == " ":
            text.append(shown)
        elif sign == "-":
            text.append(shown if coloured else f"[-{shown}-]", style=f"{BAD} strike" if coloured else BAD)
        else:
            text.append(shown if coloured else f"{{+{shown}+}}", style=GOOD)
    return text
