"""A row's journey as the parts of its page, in order. Knows what `reports.journey` gives, no files and no HTML."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chainette.reports.journey import NO_ROWS
from chainette.reports.outline import places
from chainette.reports.sight import turns_of
from chainette.reports.turns import Stop, Turn, in_turns
from chainette.reports.waterfall import Span, span_of, waterfall
from chainette.view.values import Piece, brief, piece

Way = dict[str, Any]
_OURS = ("_id", "_turn")


@dataclass(slots=True)
class Step:
    """A line of the list of nodes."""

    id: str
    kind: str
    name: str
    depth: int
    state: str
    """`done`, `failed`, `asked` (calls and nothing made), `passed` or `absent`."""
    took: str
    """What its calls took, in words."""
    calls: int
    anchor: str = ""


@dataclass(slots=True)
class Call:
    """One call, with its answer."""

    record: dict[str, Any]
    label: str
    """The row it was for, where that is not the page's."""
    facts: list[tuple[str, str]]
    answers: list[Piece]
    reasonings: list[Piece]
    refused: list[str]
    error: dict[str, Any] | None
    error_raw: Piece | None
    reused: str = ""


@dataclass(slots=True)
class Part:
    """One node, in a loop in one of its turns; or where a turn begins."""

    id: str
    kind: str = ""
    name: str = ""
    turn: str = ""
    anchor: str = ""
    messages: list[tuple[str, Piece]] = field(default_factory=list)
    rendered: bool = True
    why: str = ""
    images: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    rows: list[tuple[str, list[tuple[str, Piece]]]] = field(default_factory=list)
    """Id and fields of each."""
    failures: list[dict[str, Any]] = field(default_factory=list)
    told: str = ""
    """Said where there is nothing else."""


def fields_of(row: dict[str, Any] | None, at: str = "") -> list[tuple[str, Piece]]:
    """A row's fields for a template."""
    fields = row or {}
    return [(name, piece(value, f"{at}/{pointed(name)}")) for name, value in fields.items() if name not in _OURS]


def pointed(name: str) -> str:
    """A key in a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def at_pointer(value: Any, pointer: str) -> Any:
    """What a JSON pointer leads to.

    Raises:
        LookupError: nothing is there.
        ValueError: a number was expected.
    """
    for key in pointer.split("/")[1:]:
        key = key.replace("~1", "/").replace("~0", "~")
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


def parts_of(way: Way) -> list[Part]:
    """The page from top to bottom: a part per node that has something of the row, and one where a turn begins."""
    at = _addresses(way)
    parts: list[Part] = []
    for stop in in_turns(way["nodes"]):
        if isinstance(stop, Turn):
            parts.append(Part(stop.loop, "turn", turn=stop.words))
        elif stop["kind"] not in NO_ROWS or stop["failures"] or stop["rows"]:
            parts.append(_part(stop, way, at))
    seen: dict[str, int] = {}
    for number, part in enumerate(parts):
        part.anchor = f"part-{number}"
        seen.setdefault(part.id, number)
    return parts


def steps_of(way: Way, graph: dict[str, Any], parts: list[Part]) -> list[Step]:
    """The nodes in order, as a list to find one's way by."""
    where = places(graph.get("outline"))
    anchors = {part.id: part.anchor for part in reversed(parts)}
    found = []
    for stop in way["nodes"]:
        place = where.get(stop["id"])
        took = sum(call.get("seconds") or 0.0 for call in stop["calls"])
        depth = len(place.inside) if place is not None else 0
        calls = len(stop["calls"])
        step = Step(stop["id"], stop["kind"], stop["name"], depth, _state(stop), _ms(took) if calls else "", calls)
        step.anchor = anchors.get(stop["id"], "")
        found.append(step)
    return found


def spans_svg(way: Way) -> str:
    """All calls of the row over time; empty where there are none."""
    spans: list[Span] = []
    for stop in way["nodes"]:
        for call in stop["calls"]:
            turns = turns_of(call)
            label = f"{stop['id']} · {', '.join(map(str, turns))}" if turns else stop["id"]
            if (span := span_of(label, call)) is not None:
                spans.append(span)
    return waterfall(spans)


def _state(stop: Stop) -> str:
    if stop["failures"]:
        return "failed"
    if stop["rows"]:
        return "done"
    if stop["calls"]:
        return "asked"
    return "passed" if stop["kind"] in NO_ROWS else "absent"


def _addresses(way: Way) -> dict[int, str]:
    """Where in the journey its records are, by their identity: `in_turns` takes stops apart and keeps these."""
    found = {}
    for number, stop in enumerate(way["nodes"]):
        for kind in ("rows", "failures", "calls", "prompts"):
            for place, record in enumerate(stop.get(kind) or []):
                found[id(record)] = f"/nodes/{number}/{kind}/{place}"
        if "prompt" in stop:
            found.setdefault(id(stop["prompt"]), f"/nodes/{number}/prompt")
    return found


def _part(stop: Stop, way: Way, at: dict[int, str]) -> Part:
    part = Part(stop["id"], stop["kind"], stop["name"])
    if prompt := stop.get("prompt"):
        address = at.get(id(prompt), "")
        part.messages = [
            (str(message["role"]), piece(message["content"], f"{address}/messages/{number}/content"))
            for number, message in enumerate(prompt["messages"])
        ]
        part.rendered, part.why, part.images = prompt["rendered"], prompt.get("why", ""), prompt.get("images", [])
    part.calls = [_call(call, way["row"], at.get(id(call), "")) for call in stop["calls"]]
    for row in stop["rows"]:
        named = len(stop["rows"]) > 1 or row.get("_id") != way["row"]
        part.rows.append((str(row.get("_id")) if named else "", fields_of(row, at[id(row)])))
    part.failures = [
        {**failure, "raw": piece(failure["raw"], f"{at[id(failure)]}/raw") if failure["raw"] is not None else None}
        for failure in stop["failures"]
    ]
    if not (part.rows or part.failures or part.calls):
        written = stop.get("written", True)
        part.told = "never got here, or was dropped" if written else "its rows are not written"
        part.messages = [] if written else part.messages
    return part


def _call(call: dict[str, Any], row_id: str, at: str) -> Call:
    many = "texts" in call
    texts = call.get("texts") if many else [call.get("text")]
    thoughts = call.get("reasonings") if many else [call.get("reasoning")]
    error = call.get("error") if isinstance(call.get("error"), dict) else None
    reused = call.get("reused")
    raw = error.get("raw") if error else None
    return Call(
        record=call,
        label=str(call.get("_id")) if call.get("_id") != row_id else "",
        facts=_facts(call),
        answers=_pieces(texts, f"{at}/texts" if many else "", f"{at}/text"),
        reasonings=_pieces(thoughts, f"{at}/reasonings" if many else "", f"{at}/reasoning"),
        refused=[str(reason) for reason in call.get("refused") or []],
        error={name: brief(error.get(name), 2_000) for name in ("kind", "message")} if error else None,
        error_raw=piece(raw, f"{at}/error/raw") if raw is not None else None,
        reused=f"row {reused.get('_id')} of {reused.get('run')}" if isinstance(reused, dict) else "",
    )


def _pieces(texts: Any, many: str, one: str) -> list[Piece]:
    found = texts if isinstance(texts, list) else []
    return [piece(text, f"{many}/{number}" if many else one) for number, text in enumerate(found) if text is not None]


def _facts(call: dict[str, Any]) -> list[tuple[str, str]]:
    """What is said of a call beside its texts: names and words, in the order of their weight."""
    from chainette.reports.wording import count

    usage = call.get("usage") if isinstance(call.get("usage"), dict) else {}
    facts = [("attempt", str(call.get("attempt", 1)))]
    facts += [(name, _ms(call[key])) for key, name in _TIMES if isinstance(call.get(key), int | float)]
    for key, name in _TOKENS:
        number = (usage or {}).get(key)
        if isinstance(number, int | float) and (number or key != "cached_tokens"):
            facts.append((name, count(number)))
    finish = call.get("finish_reasons") if "texts" in call else call.get("finish_reason")
    if finish:
        facts.append(("finish", brief(finish, 60) if not isinstance(finish, list) else ", ".join(map(str, finish))))
    if call.get("replica") is not None:
        facts.append(("replica", brief(call["replica"], 60)))
    if isinstance(call.get("sent"), int) and call["sent"] != 1:
        facts.append(("sent", f"{call['sent']} times"))
    return facts


_TIMES = (("seconds", "total"), ("queue_s", "in queue"), ("first_token_s", "first token"))
_TOKENS = (("prompt_tokens", "tokens in"), ("cached_tokens", "cached"), ("completion_tokens", "tokens out"))


def _ms(value: float) -> str:
    from chainette.reports.wording import seconds

    if value >= 1:
        return seconds(value)
    return f"{value * 1000:.0f} ms" if value >= 0.01 else f"{value * 1000:.1f} ms"
