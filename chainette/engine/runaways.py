"""Answers that do not end: what is sent so that they cannot, what is said where they can, and how one looks.
Only for grammars; what is validated and what a call's key is made of stay as the user's model says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from chainette.engine.enforced import choose_grammar
from chainette.engine.grammars import Grammars, grammars, is_hosted
from chainette.engine.schema_uses import OF_LISTS, OF_NAMES, OF_ONE, Schema, types, uses, walk
from chainette.specs import EngineSpec, SamplingParams

HELD = 9 * 10**18
"""What integers without bounds are held to: 19 digits. Both grammars count in 64 bits, and fail just below 2**63."""
REPEATS = 512
"""As often a vLLM server may give the same few tokens in a row; a table of as many equal cells is no answer either."""
REPEATED_TOKENS = 8
RUNAWAY_CHARS = 200

_SAYS_NOTHING = frozenset("title description default examples deprecated readOnly writeOnly $comment".split())
_DIGITS = re.compile(r"[0-9.eE+-]+")
_SAME_AGAIN = re.compile(r"(.{1,40}?)\1+\Z", re.DOTALL)


def held_schema(spec: EngineSpec, schema: Schema) -> Schema:
    """The schema to send to a grammar of ours: objects closed, integers with an end, and without what the backend
    refuses (a server would answer every row with HTTP 400) or cannot fit. Validation still asks for all of it.
    """
    if not is_hosted(spec):
        return schema
    return _whole(schema, grammars(spec), choose_grammar(spec, [schema])[0])


def closed_schema(schema: Schema) -> Schema:
    """Without room for properties that the model does not have and would ignore; llguidance leaves it open, without an
    end. For grammars that cannot be tried."""
    return _whole(schema, Grammars({}, {}, cuts_repetition=False), "")


def _whole(schema: Schema, known: Grammars, backend: str) -> Schema:
    several = any(len(node.get("allOf") or ()) > 1 for _, node in walk(schema))
    held: Schema = _held(schema, known, backend, closes=not several)
    return held


def _held(node: Any, known: Grammars, backend: str, *, closes: bool) -> Any:
    if not isinstance(node, dict):
        return node
    made = dict(node)
    for use in uses(node):
        if known.verdict(backend, use.feature) in ("refused", "broken"):
            _drop(made, use.keyword, node)
    if "oneOf" in made and "anyOf" not in made:
        # The same where the branches differ, and backends that cannot see that they do refuse `oneOf`.
        made["anyOf"] = made.pop("oneOf")
    if closes and "properties" in made and not {"additionalProperties", "patternProperties"} & set(node):
        made["additionalProperties"] = False
    made |= _bounds(made, known, backend)
    for keyword in OF_NAMES:
        if isinstance(made.get(keyword), dict):
            inner = made[keyword].items()
            made[keyword] = {name: _held(value, known, backend, closes=closes) for name, value in inner}
    for keyword in OF_LISTS:
        if isinstance(made.get(keyword), list):
            made[keyword] = [_held(value, known, backend, closes=closes) for value in made[keyword]]
    for keyword in OF_ONE:
        if isinstance(made.get(keyword), dict):
            made[keyword] = _held(made[keyword], known, backend, closes=closes)
    return made


def _drop(made: Schema, keyword: str, node: Schema) -> None:
    gone = made.pop(keyword, None)
    if keyword == "contains":
        made.pop("minContains", None)
        made.pop("maxContains", None)
    if keyword == "oneOf" and gone is not None:
        made["anyOf"] = gone
    if keyword == "patternProperties" and node.get("additionalProperties") is False:
        made.pop("additionalProperties", None)


def _bounds(node: Schema, known: Grammars, backend: str) -> Schema:
    """Those that end its digits. A number without any bound stays as it is: the grammars take bounded ones without an
    exponent and some with six decimals at most, which would make 1e-9 a 0."""
    if {"enum", "const", "multipleOf"} & set(node):
        return {}
    low, high = {"minimum", "exclusiveMinimum"} & set(node), {"maximum", "exclusiveMaximum"} & set(node)
    kind = next(iter(types(node))) if len(types(node)) == 1 else ""
    if kind not in ("integer", "number") or known.verdict(backend, f"{kind}.held") != "enforced":
        return {}
    if kind == "number" and not low and not high:
        return {}
    ends = {}
    if not low and all(node[keyword] > -HELD for keyword in high):
        ends["minimum"] = -HELD
    if not high and all(node[keyword] < HELD for keyword in low):
        ends["maximum"] = HELD
    return ends


def cut_fields(spec: EngineSpec, schema: Schema, sampling: SamplingParams) -> dict[str, Any]:
    """Fields of a request that make the server end an answer that only repeats itself; for what no grammar can end:
    decimals, strings and lists without a bound. It then says `finish_reason: repetition`."""
    if not is_hosted(spec) or (sampling.max_tokens is not None and sampling.max_tokens <= REPEATS):
        return {}
    if "repetition_detection" in (sampling.extra_args or {}) or not grammars(spec).cuts_repetition:
        return {}
    if not any("number" in types(node) for _, node in walk(schema)) and not unbounded(held_schema(spec, schema)):
        return {}
    return {"repetition_detection": {"max_pattern_size": REPEATED_TOKENS, "min_pattern_size": 1, "min_count": REPEATS}}


def unbounded(schema: Schema) -> list[str]:
    """Fields in which an answer may go on for ever, with what they are: `notes (string)`."""
    return list(dict.fromkeys(f"{path or 'the answer'} ({kind})" for path, kind in _unbounded(schema)))


def _unbounded(schema: Schema) -> Iterator[tuple[str, str]]:
    for path, node in walk(schema, conditions=False):
        kinds = types(node)
        if {"enum", "const"} & set(node):
            continue
        if "string" in kinds and not {"maxLength", "format", "pattern"} & set(node):
            yield path, "string"
        if "array" in kinds and "maxItems" not in node:
            yield path, "list"
        if "object" in kinds and _is_open_map(node):
            yield path, "dict"
        if not set(node) - _SAYS_NOTHING:
            yield path, "anything"


def _is_open_map(node: Schema) -> bool:
    names = node.get("propertyNames")
    named = isinstance(names, dict) and "enum" in names
    more = node.get("additionalProperties", "properties" not in node)
    return bool(more is True or isinstance(more, dict)) and "maxProperties" not in node and not named


def runaway(text: str) -> str | None:
    """How an answer that was cut had lost its way, in words; None when its end looks like any text."""
    tail = text[-RUNAWAY_CHARS:]
    if len(tail) < RUNAWAY_CHARS:
        return None
    if not tail.strip():
        return f"it ends in {len(text) - len(text.rstrip()):,} blanks"
    digits = _DIGITS.match(text[::-1])
    if digits is not None and len(digits[0]) >= RUNAWAY_CHARS:
        return f"it ends in a number of {len(digits[0]):,} digits"
    same = _SAME_AGAIN.search(tail)
    if same is not None and len(same[0]) > RUNAWAY_CHARS - 40:
        return f"it ends in {same[1]!r} again and again"
    return None
