"""Which keywords of a schema an engine does not hold the model to. Says so before a run; sends nothing.

Source: https://github.com/guidance-ai/llguidance/blob/main/docs/json_schema.md
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chainette.specs import EngineSpec

_LLGUIDANCE_IGNORES = frozenset(
    """
    uniqueItems contains minContains maxContains propertyNames not if then else dependentRequired dependentSchemas
    unevaluatedProperties unevaluatedItems
    """.split()
)
_HOLDS_SCHEMAS_INSIDE = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")


def unenforced_keywords(spec: EngineSpec, schema: dict[str, Any]) -> list[str]:
    """Keywords in `schema` that the engine's grammar leaves to validation, by name, with where they stand.

    Empty for endpoints that are not ours: what they enforce is theirs to say, and answers are validated all the same.
    """
    if spec.backend != "embedded":
        return []
    return [
        f"{keyword} ({path})" if path else keyword
        for path, keyword in _keywords(schema, "")
        if keyword in _LLGUIDANCE_IGNORES
    ]


def _keywords(schema: Any, path: str) -> Iterator[tuple[str, str]]:
    if not isinstance(schema, dict):
        return
    for keyword, value in schema.items():
        yield path, keyword
        if keyword in _HOLDS_SCHEMAS_INSIDE and isinstance(value, dict):
            for name, inner in value.items():
                yield from _keywords(inner, f"{path}.{name}".lstrip("."))
        elif isinstance(value, dict):
            yield from _keywords(value, path)
        elif isinstance(value, list):
            for inner in value:
                yield from _keywords(inner, path)
