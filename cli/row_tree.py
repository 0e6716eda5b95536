"""One row's way as a tree: which branches, cases and turns it took, who was asked, what came out. Knows a journey and
the outline of its graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chainette.cli.wording import Glyphs, counted, one_line, short_time
from chainette.reports.outline import LOOPS, flat, ways_of
from chainette.reports.sight import Turns, turns_of

if TYPE_CHECKING:
    from rich.text import Text

_RECORDS = ("calls", "rows", "failures")
_OURS = ("_id", "_turn")
_MOST = 400
"""Characters of a value."""
_GONE = "dropped here, or never got here"
_NOT_KEPT = "what it made in this turn is not kept"


@dataclass
class Knot:
    """A line of the tree and what hangs on it."""

    text: Text
    kids: list[Knot] = field(default_factory=list)


def row_tree(way: dict[str, Any], outline: object, glyphs: Glyphs) -> list[Text]:
    """The tree for a person; of a graph without an outline its nodes one after the other."""
    from chainette.cli.screen import NAME, QUIET, line

    stops = {stop["id"]: stop for stop in way["nodes"]}
    if not isinstance(outline, list) or not outline:
        outline = list(stops)
    growing = _Growing(str(way["row"]), stops, glyphs)
    root = Knot(line((one_line(f"row {way['row']}"), NAME), (f"  {one_line(way['run'])}", QUIET)))
    root.kids += [Knot(line(("made from  ", QUIET), *_kin(p))) for p in way.get("parents", [])]
    source = Knot(line(("input", NAME), "  ", *_fields(way["input"] or {})))
    source.kids += [growing.failure(failure) for failure in way["failures"]]
    root.kids += [source, *growing.sequence(outline, ())]
    root.kids += _children(way.get("children", []))
    return list(_drawn(root, glyphs))


def _kin(row: dict[str, Any]) -> list[tuple[str, str]]:
    from chainette.cli.screen import NAME, QUIET

    return [(one_line(row["id"]), NAME), (f"  at {one_line(row['step'])}", QUIET)]


def _children(rows: list[dict[str, Any]]) -> list[Knot]:
    from chainette.cli.screen import QUIET, line

    if not rows:
        return []
    return [Knot(line((f"made into {counted(len(rows), 'row')}", QUIET)), [Knot(line(*_kin(row))) for row in rows])]


def _fields(row: dict[str, Any]) -> list[str | tuple[str, str]]:
    """Names and values, on one line."""
    from chainette.cli.screen import QUIET
    from chainette.cli.wording import in_words

    parts: list[str | tuple[str, str]] = []
    for key, value in row.items():
        if key not in _OURS:
            parts += [(f"{'  ' if parts else ''}{one_line(key, 60)}: ", QUIET), one_line(in_words(value), _MOST)]
    return parts


class _Growing:
    def __init__(self, row_id: str, stops: dict[str, dict[str, Any]], glyphs: Glyphs) -> None:
        self._row_id, self._stops, self._glyphs = row_id, stops, glyphs

    def sequence(self, items: object, turn: Turns) -> list[Knot]:
        knots: list[Knot] = []
        gone = False
        for item in flat(items):
            if gone and not any(self._has(id, turn) for id in _ids([item])):
                continue
            if isinstance(item, str):
                knots.append(self._node(item, turn))
            elif "compound" in item:
                knots.append(self._compound(item, turn))
            else:
                knots += self._branches(item, turn)
            # What comes after it and has nothing of the row needs no line.
            gone = gone or any(self._of(id, "failures", turn) for id in _ids([item]))
            gone = gone or (isinstance(item, str) and self._is_gone(item, turn))
        return knots

    def _branches(self, group: dict[str, Any], turn: Turns) -> list[Knot]:
        from chainette.cli.screen import QUIET, line

        knots = []
        for branch in ways_of(group):
            name, alias = one_line(branch.get("name", "")), branch.get("alias")
            title = name if not alias or alias == branch.get("name") else f"{name} (as {one_line(alias)})"
            knots.append(Knot(line(("branch ", QUIET), (title, "italic")), self.sequence(branch.get("items"), turn)))
        join = group.get("join")
        return [*knots, *([self._node(str(join), turn)] if join is not None else [])]

    def _compound(self, item: dict[str, Any], turn: Turns) -> Knot:
        from chainette.cli.screen import QUIET, line

        id = str(item["compound"])
        knot = self._node(id, turn, one_line(item.get("label", "")))
        for way in ways_of(item):
            within = _ids(way.get("items"))
            if item.get("kind") in LOOPS:
                for number in self._turns(within, turn):
                    told = line((f"turn {number}" if number else "in a turn that is not known", "italic"))
                    knot.kids.append(Knot(told, self.sequence(way.get("items"), (*turn, number))))
            elif any(self._has(inner, turn) for inner in within):
                told = line(("took ", QUIET), (one_line(way.get("name", "")), "italic"))
                knot.kids.append(Knot(told, self.sequence(way.get("items"), turn)))
        return knot

    def _turns(self, ids: Iterable[str], turn: Turns) -> list[int]:
        deep = len(turn)
        found = (
            (*turns_of(record), *(0,) * 32)[: deep + 1]
            for id in ids
            for kind in _RECORDS
            for record in self._stops.get(id, {}).get(kind, [])
        )
        return sorted({number for *before, number in found if tuple(before) == turn})

    def _of(self, id: str, kind: str, turn: Turns) -> list[dict[str, Any]]:
        """A stop's records in this turn, and in turns inside it."""
        records: list[dict[str, Any]] = self._stops.get(id, {}).get(kind, [])
        return (
            [record for record in records if (*turns_of(record), *(0,) * 32)[: len(turn)] == turn] if turn else records
        )

    def _has(self, id: str, turn: Turns) -> bool:
        return any(self._of(id, kind, turn) for kind in _RECORDS)

    def _node(self, id: str, turn: Turns, about: str = "") -> Knot:
        from chainette.cli.screen import NAME, QUIET, line

        stop = self._stops.get(id, {})
        kind = str(stop.get("kind", ""))
        text = line((f"{self._glyphs.of(kind)} ", QUIET), (one_line(id), NAME), (f"  {one_line(kind)}", QUIET))
        if about:
            text.append(f"  {about}", style=QUIET)
        knot = Knot(text)
        rows, calls, failures = (self._of(id, of, turn) for of in ("rows", "calls", "failures"))
        knot.kids += [self._call(call, told=not (rows or failures)) for call in calls]
        knot.kids += [self._row(row) for row in rows]
        knot.kids += [self.failure(failure) for failure in failures]
        if self._is_gone(id, turn):
            text.append(f"  {_NOT_KEPT if self._of(id, 'rows', ()) else _GONE}", style=QUIET)
        return knot

    def _is_gone(self, id: str, turn: Turns) -> bool:
        return self._stops.get(id, {}).get("written", True) and not self._has(id, turn)

    def _whose(self, record: dict[str, Any]) -> list[tuple[str, str]]:
        from chainette.cli.screen import NAME

        id = str(record.get("_id"))
        return [] if id == self._row_id else [(f"{one_line(id)}  ", NAME)]

    def _row(self, row: dict[str, Any]) -> Knot:
        from chainette.cli.screen import GOOD, line

        return Knot(line((f"{self._glyphs.done} ", GOOD), *self._whose(row), *_fields(row)))

    def failure(self, failure: dict[str, Any]) -> Knot:
        from chainette.cli.screen import BAD, QUIET, line

        attempts = failure.get("attempts") or 1
        text = line((f"{self._glyphs.failed} ", BAD), *self._whose(failure), (one_line(failure["kind"]), BAD))
        text.append(f"  {one_line(failure['message'], _MOST)}")
        if attempts > 1:
            text.append(f"  {counted(attempts, 'attempt')}", style=QUIET)
        raw = [("answer", failure["raw"])] if failure.get("raw") else []
        told = [*raw, *(("cause", why) for why in failure["cause"])]
        return Knot(text, [Knot(line((f"{what}  ", QUIET), one_line(words, _MOST))) for what, words in told])

    def _call(self, call: dict[str, Any], *, told: bool) -> Knot:
        """`told`: with its answer, which no row has."""
        from chainette.cli.screen import BAD, QUIET, WARN, line

        text = line(("call  ", QUIET), *self._whose(call), (one_line(", ".join(_call_words(call))), QUIET))
        error = call.get("error")
        if isinstance(error, dict):
            text.append(f"  {one_line(error.get('kind'))}: {one_line(error.get('message'), _MOST)}", style=BAD)
        knot = Knot(
            text, [Knot(line(("refused  ", QUIET), (one_line(w, _MOST), WARN))) for w in call.get("refused") or []]
        )
        answers = [answer for answer in call.get("texts") or [call.get("text")] if answer] if told else []
        knot.kids += [Knot(line(("answer  ", QUIET), one_line(answer, _MOST))) for answer in answers]
        return knot


def _call_words(call: dict[str, Any]) -> list[str]:
    usage = call.get("usage") or {}
    words = [f"attempt {call['attempt']}"] if (call.get("attempt") or 1) > 1 else []
    words += [short_time(call["seconds"])] if call.get("seconds") is not None else []
    words += [f"queued {short_time(call['queue_s'])}"] if call.get("queue_s") else []
    words += [f"first token {short_time(call['first_token_s'])}"] if call.get("first_token_s") else []
    if usage:
        words.append(f"{usage.get('prompt_tokens') or 0:,} + {usage.get('completion_tokens') or 0:,} tokens")
    finish = call.get("finish_reason")
    return words + ([str(finish)] if finish and finish != "stop" else [])


def _ids(items: object) -> list[str]:
    """All nodes inside a sequence."""
    found: list[str] = []
    for item in flat(items):
        if isinstance(item, str):
            found.append(item)
            continue
        found += [str(item[key]) for key in ("compound", "join") if item.get(key) is not None]
        for way in ways_of(item):
            found += _ids(way.get("items"))
    return found


def _drawn(root: Knot, glyphs: Glyphs) -> Iterable[Text]:
    yield root.text
    yield from _hung(root.kids, "", glyphs)


def _hung(kids: Sequence[Knot], prefix: str, glyphs: Glyphs) -> Iterable[Text]:
    from chainette.cli.screen import QUIET, line

    for place, kid in enumerate(kids):
        last = place == len(kids) - 1
        text = line((f"{prefix}{glyphs.last if last else glyphs.branch} ", QUIET))
        text.append_text(kid.text)
        yield text
        below = " " * (len(glyphs.pipe) + 1) if last else f"{glyphs.pipe} "
        yield from _hung(kid.kids, prefix + below, glyphs)
