"""Values that fit a JSON schema, drawn from a seed: the same seed, the same value. Knows no prompts and no server.

Covers what pydantic writes: `$ref`, `$defs`, `anyOf`, `oneOf`, `allOf`, `enum`, `const`, types, bounds, lengths,
`format`, `prefixItems`, `additionalProperties`; `pattern` and `uniqueItems` as well as it can. Recursion ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]
Draw = Callable[[int], int]
"""A number from 0 up to but without the argument."""
Maker = Callable[[Draw, int], Any]
"""A value at a depth."""

MAX_DEPTH = 6
"""From here on optional parts are left out and alternatives that end are taken."""

# fmt: off
WORDS = [
    "amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "harbor", "island", "jasper", "kettle", "lantern",
    "meadow", "nectar", "opal", "pebble", "quartz", "river", "saddle", "timber", "umber", "valley", "willow",
    "yarrow", "zephyr", "anchor", "beacon", "copper", "drift", "elm",
]
# fmt: on

_FORMATS: dict[str, Callable[[Draw], str]] = {
    "date": lambda draw: _date(draw),
    "time": lambda draw: _time(draw) + "Z",
    "date-time": lambda draw: f"{_date(draw)}T{_time(draw)}Z",
    "duration": lambda draw: f"PT{draw(59) + 1}M",
    "email": lambda draw: f"{_word(draw)}@example.com",
    "uri": lambda draw: f"https://example.com/{_word(draw)}",
    "uuid": lambda draw: _uuid(draw),
    "ipv4": lambda draw: f"10.{draw(256)}.{draw(256)}.{draw(256)}",
    "ipv6": lambda draw: f"fd00::{draw(65536):x}:{draw(65536):x}",
    "binary": lambda draw: _word(draw),
    "hostname": lambda draw: f"{_word(draw)}.example.com",
    "path": lambda draw: f"/{_word(draw)}",
}


def draws(seed: int) -> Draw:
    """A cheap sequence of numbers from a seed (splitmix64); `random.Random` takes longer to seed than we draw."""
    state = seed & _MASK

    def draw(below: int) -> int:
        nonlocal state
        state = (state + 0x9E3779B97F4A7C15) & _MASK
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return (z ^ (z >> 31)) % below

    return draw


_MASK = (1 << 64) - 1


def maker_of(schema: Schema) -> Callable[[int], Any]:
    """A function from a seed to a value that fits; the schema is read once, here."""
    reader = _Reader(schema)
    make = reader.read(schema)
    return lambda seed: make(draws(seed), 0)


def sentence(draw: Draw, words: int) -> str:
    return " ".join(_word(draw) for _ in range(words))


class _Reader:
    def __init__(self, root: Schema) -> None:
        self._root = root
        self._references: dict[str, Maker] = {}

    def read(self, schema: Any) -> Maker:
        if schema is True or not schema:
            return lambda draw, depth: sentence(draw, 2)
        if schema is False:
            return lambda draw, depth: None
        if "$ref" in schema:
            return self._reference(schema["$ref"])
        if "const" in schema:
            constant = schema["const"]
            return lambda draw, depth: constant
        if "enum" in schema:
            allowed = schema["enum"]
            return lambda draw, depth: allowed[draw(len(allowed))]
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return self._any_of(schema[key])
        if "allOf" in schema:
            return self.read(self._merged(schema))
        return self._typed(schema)

    def _reference(self, pointer: str) -> Maker:
        """Resolved when first needed, so that a schema may contain itself."""

        def make(draw: Draw, depth: int) -> Any:
            if pointer not in self._references:
                self._references[pointer] = self.read(self._at(pointer))
            return self._references[pointer](draw, depth + 1)

        return make

    def _at(self, pointer: str) -> Any:
        place: Any = self._root
        for part in pointer.removeprefix("#").strip("/").split("/"):
            if part:
                place = place[part.replace("~1", "/").replace("~0", "~")]
        return place

    def _merged(self, schema: Schema) -> Schema:
        merged: Schema = {key: value for key, value in schema.items() if key != "allOf"}
        for part in schema["allOf"]:
            while "$ref" in part:
                part = {**self._at(part["$ref"]), **{k: v for k, v in part.items() if k != "$ref"}}
            for key, value in part.items():
                if key == "properties":
                    merged[key] = {**merged.get(key, {}), **value}
                elif key == "required":
                    merged[key] = [*merged.get(key, ()), *value]
                else:
                    merged[key] = value
        return merged

    def _any_of(self, options: list[Any]) -> Maker:
        if {"type": "number"} in options:
            # A bare string beside a number is how pydantic writes Decimal, and few strings are one.
            options = [option for option in options if option != {"type": "string"}]
        makers = [self.read(option) for option in options]
        ends = next((m for m, o in zip(makers, options, strict=True) if _ends(o)), makers[-1])
        return lambda draw, depth: (ends if depth >= MAX_DEPTH else makers[draw(len(makers))])(draw, depth)

    def _typed(self, schema: Schema) -> Maker:
        kind = schema.get("type")
        if isinstance(kind, list):
            return self._any_of([{**schema, "type": one} for one in kind])
        if kind == "object" or (kind is None and ("properties" in schema or "additionalProperties" in schema)):
            return self._object(schema)
        if kind == "array" or (kind is None and ("items" in schema or "prefixItems" in schema)):
            return self._array(schema)
        if kind in ("integer", "number"):
            return _number(schema, whole=kind == "integer")
        if kind == "boolean":
            return lambda draw, depth: draw(2) == 1
        if kind == "null":
            return lambda draw, depth: None
        return _string(schema)

    def _object(self, schema: Schema) -> Maker:
        required = set(schema.get("required", ()))
        parts = [(name, self.read(part), name in required) for name, part in schema.get("properties", {}).items()]
        extra = schema.get("additionalProperties")
        open_maker = self.read(extra) if isinstance(extra, dict) or (extra is True and not parts) else None
        least = int(schema.get("minProperties", 0 if open_maker is None else 1))

        def make(draw: Draw, depth: int) -> dict[str, Any]:
            made = {name: maker(draw, depth + 1) for name, maker, needed in parts if needed or depth < MAX_DEPTH}
            if open_maker is not None:
                for position in range(max(least - len(made), 1 if depth < MAX_DEPTH else 0)):
                    made[f"{_word(draw)}{position or ''}"] = open_maker(draw, depth + 1)
            return made

        return make

    def _array(self, schema: Schema) -> Maker:
        fixed = [self.read(part) for part in schema.get("prefixItems", ())]
        items = schema.get("items", not fixed)
        maker = None if items is False else self.read(items)
        least = int(schema.get("minItems", 0))
        most = int(schema.get("maxItems", max(least, 3)))
        unique = bool(schema.get("uniqueItems"))

        def make(draw: Draw, depth: int) -> list[Any]:
            made = [part(draw, depth + 1) for part in fixed]
            if maker is None:
                return made
            room = max(0, min(most, max(least, 3)) - least)
            length = least if depth >= MAX_DEPTH else least + draw(room + 1)
            tries = 0
            while len(made) < length and tries < 50:
                tries += 1
                value = maker(draw, depth + 1)
                if not (unique and value in made):
                    made.append(value)
            return made

        return make


def _ends(schema: Any) -> bool:
    """Whether the schema holds no other schema by reference, directly or as its items."""
    if not isinstance(schema, dict):
        return True
    return "$ref" not in schema and schema.get("type") not in ("object", "array")


def _number(schema: Schema, *, whole: bool) -> Maker:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is None:
        low = 0 if high is None else min(0, high - 100)
    if high is None:
        high = low + 100
    multiple = schema.get("multipleOf")
    if whole or multiple:
        step = multiple or 1
        first = math.ceil(low / step)
        last = math.floor(high / step)
        if first * step == schema.get("exclusiveMinimum"):
            first += 1
        if last * step == schema.get("exclusiveMaximum"):
            last -= 1
        span = max(1, last - first + 1)
        if whole:
            return lambda draw, depth: int((first + draw(span)) * step)
        return lambda draw, depth: round((first + draw(span)) * step, 10)
    # 1 to 999 thousandths of the way: never a bound itself, which may be excluded.
    return lambda draw, depth: round(low + (high - low) * (draw(999) + 1) / 1000, 6)


def _string(schema: Schema) -> Maker:
    if "pattern" in schema:
        from chainette.engine.pattern_values import pattern_maker

        by_pattern = pattern_maker(schema["pattern"])
        if by_pattern is not None:
            return lambda draw, depth: by_pattern(draw)
    form = _FORMATS.get(schema.get("format", ""))
    least = int(schema.get("minLength", 0))
    most = schema.get("maxLength")

    def make(draw: Draw, depth: int) -> str:
        text = form(draw) if form else sentence(draw, draw(3) + 1)
        while len(text) < least:
            text += " " + _word(draw)
        return text if most is None or len(text) <= most else _cut(text, least, int(most))

    return make


def _cut(text: str, least: int, most: int) -> str:
    """No blank at the end, where a model may strip it and find the text too short."""
    cut = text[:most].rstrip()
    return cut if len(cut) >= least else text[:most].rstrip().ljust(least, "x")


def _word(draw: Draw) -> str:
    return WORDS[draw(len(WORDS))]


def _date(draw: Draw) -> str:
    return f"20{draw(30):02d}-{draw(12) + 1:02d}-{draw(28) + 1:02d}"


def _time(draw: Draw) -> str:
    return f"{draw(24):02d}:{draw(60):02d}:{draw(60):02d}"


def _uuid(draw: Draw) -> str:
    digits = "".join(f"{draw(1 << 32):08x}" for _ in range(4))
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:32]}"
