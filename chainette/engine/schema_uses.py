"""Which keywords a JSON schema uses, where, and in which company: what they are called in the table of
`grammar_probe`. Knows no engine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]

OF_NAMES = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""Keywords whose value holds schemas by name."""
OF_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
OF_ONE = ("items", "additionalProperties", "unevaluatedProperties", "unevaluatedItems")
OF_CONDITIONS = ("propertyNames", "contains", "not", "if", "then", "else")
"""Schemas that are asked, not built: to loosen what stands in them may tighten the whole."""

FORMATS = frozenset("date time date-time duration email hostname ipv4 ipv6 uri uuid".split())
"""The formats that are tried one by one; all others are tried as one unknown."""

_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_AS_THEY_ARE = (
    "enum",
    "const",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
    "contains",
    "minContains",
    "maxContains",
    "prefixItems",
    "unevaluatedItems",
    "required",
    "minProperties",
    "maxProperties",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedProperties",
    "anyOf",
    "not",
)
_ASSERTIONS = frozenset((*_BOUNDS, *_AS_THEY_ARE, "pattern", "format", "items", "properties"))
_LOOKAROUND = re.compile(r"\(\?<?[=!]")


@dataclass(frozen=True, slots=True)
class Use:
    """A keyword of one schema, as the table knows it."""

    feature: str
    keyword: str
    """What has to go when a backend cannot take it."""
    said: str
    """For people."""


def uses(node: Schema) -> Iterator[Use]:
    """Of this schema alone, without those inside it."""
    for keyword in _AS_THEY_ARE:
        if keyword in node and not (keyword == "uniqueItems" and node[keyword] is False):
            yield Use(keyword, keyword, keyword)
    for keyword in _BOUNDS:
        if keyword in node:
            for type_ in sorted(types(node) & {"integer", "number"}) or ["number"]:
                beside = "+minimum" if keyword == "multipleOf" and _from_zero(node) else ""
                yield Use(f"{type_}.{keyword}{beside}", keyword, keyword)
    if isinstance(node.get("items"), dict):
        yield Use("items", "items", "items")
    yield from _of_strings(node)
    yield from _of_objects(node)
    yield from _of_branches(node)


def _from_zero(node: Schema) -> bool:
    """Grammars that count in multiples may know none below zero."""
    low = [node[keyword] for keyword in ("minimum", "exclusiveMinimum") if isinstance(node.get(keyword), int | float)]
    return max(low, default=-1) >= 0


def _of_strings(node: Schema) -> Iterator[Use]:
    pattern, format_ = node.get("pattern"), node.get("format")
    if isinstance(pattern, str):
        around = _LOOKAROUND.search(pattern) is not None
        yield Use("pattern.lookaround" if around else "pattern", "pattern", "pattern")
    if isinstance(format_, str) and types(node) <= {"string"}:
        yield Use(f"format.{format_}" if format_ in FORMATS else "format.?", "format", f'format "{format_}"')
    for beside in ("pattern", "format"):
        for length in ("minLength", "maxLength"):
            if beside in node and length in node:
                yield Use(f"{beside}+{length}", length, f"{length} beside {beside}")


def _of_objects(node: Schema) -> Iterator[Use]:
    more, names = node.get("additionalProperties"), node.get("propertyNames")
    if more is False:
        yield Use("additionalProperties", "additionalProperties", "additionalProperties")
    elif isinstance(more, dict):
        yield Use("additionalProperties.schema", "additionalProperties", "additionalProperties")
    if isinstance(names, dict):
        yield Use("propertyNames.enum" if "enum" in names else "propertyNames", "propertyNames", "propertyNames")
        if "properties" in node:
            yield Use("properties+propertyNames", "propertyNames", "propertyNames beside properties")
    patterns = node.get("patternProperties")
    if isinstance(patterns, dict):
        yield Use("patternProperties", "patternProperties", "patternProperties")
        if "properties" in node:
            yield Use("properties+patternProperties", "patternProperties", "patternProperties beside properties")
        if len(patterns) > 1:
            yield Use("patternProperties.several", "patternProperties", "several patternProperties")


def _of_branches(node: Schema) -> Iterator[Use]:
    if "oneOf" in node:
        yield Use("oneOf.disjoint" if disjoint(node) else "oneOf", "oneOf", "oneOf")
    if isinstance(node.get("allOf"), list):
        yield Use("allOf.several" if len(node["allOf"]) > 1 else "allOf", "allOf", "allOf")
    for keyword in ("if", "then", "else"):
        if "if" in node and keyword in node:
            yield Use("if", keyword, keyword)
    if "$ref" in node:
        yield Use("$ref", "$ref", "$ref")
        for keyword in sorted(_ASSERTIONS & set(node)):
            yield Use("$ref.siblings", keyword, f"{keyword} beside $ref")


def types(node: Schema) -> set[str]:
    given = node.get("type")
    return {given} if isinstance(given, str) else {str(type_) for type_ in given or ()}


def disjoint(node: Schema) -> bool:
    """Whether at most one branch of a `oneOf` can fit: they differ in a tag or in type."""
    if "discriminator" in node:
        return True
    seen: set[str] = set()
    for branch in node["oneOf"]:
        kinds = types(branch) if isinstance(branch, dict) else set()
        kinds = {"number" if kind == "integer" else kind for kind in kinds}
        if not kinds or kinds & seen:
            return False
        seen |= kinds
    return True


def walk(schema: Schema, *, conditions: bool = True) -> Iterator[tuple[str, Schema]]:
    """Every schema in it that an answer meets, with the path of the field: `tags[]`, `home.zip`. Each definition once,
    where it is first referred to. Without `conditions`: only those an answer is built of.
    """
    keywords = (*OF_LISTS, *OF_ONE, *(OF_CONDITIONS if conditions else ()))
    yield from _walk(schema, "", schema, keywords, set())


def _walk(
    node: Any, path: str, root: Schema, keywords: tuple[str, ...], seen: set[str]
) -> Iterator[tuple[str, Schema]]:
    if not isinstance(node, dict):
        return
    yield path, node
    reference = node.get("$ref")
    if isinstance(reference, str) and reference not in seen:
        seen.add(reference)
        yield from _walk(resolve(reference, root), path, root, keywords, seen)
    for name, inner in _dict(node.get("properties")).items():
        yield from _walk(inner, f"{path}.{name}".lstrip("."), root, keywords, seen)
    for inner in _dict(node.get("patternProperties")).values():
        yield from _walk(inner, f"{path}.*".lstrip("."), root, keywords, seen)
    for inner in _dict(node.get("dependentSchemas")).values():
        yield from _walk(inner, path, root, keywords, seen)
    below = {"items": f"{path}[]", "prefixItems": f"{path}[]", "additionalProperties": f"{path}.*".lstrip(".")}
    for keyword in keywords:
        value = node.get(keyword)
        for inner in value if isinstance(value, list) else [value]:
            yield from _walk(inner, below.get(keyword, path), root, keywords, seen)


def resolve(reference: str, root: Schema) -> Any:
    """What a reference within the schema means; None for others."""
    if reference == "#":
        return root
    if not reference.startswith("#/"):
        return None
    found: Any = root
    for part in reference[2:].split("/"):
        found = _dict(found).get(part.replace("~1", "/").replace("~0", "~"))
    return found


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
