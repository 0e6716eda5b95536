"""Which keywords of a schema an engine does not hold the model to, and which grammar backend holds it to most of them.
Says so before a run; sends nothing.

Source: https://github.com/guidance-ai/llguidance/blob/main/docs/json_schema.md
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from chainette.engine.grammars import COMPACT_GRAMMARS, DEFAULT_GRAMMAR, Grammars, grammars, is_hosted
from chainette.engine.schema_uses import uses, walk
from chainette.specs import EngineSpec

_LLGUIDANCE_IGNORES = frozenset(
    """
    uniqueItems contains minContains maxContains propertyNames not if then else dependentRequired dependentSchemas
    unevaluatedProperties unevaluatedItems
    """.split()
)


def unenforced_keywords(spec: EngineSpec, schema: dict[str, Any]) -> list[str]:
    """Keywords in `schema` that the engine's grammar leaves to validation, by name, with where they stand.

    Empty for endpoints that are not ours: what they enforce is theirs to say, and answers are validated all the same.
    """
    if spec.backend == "embedded":
        found = [
            (path, use.said) for path, node in walk(schema) for use in uses(node) if use.keyword in _LLGUIDANCE_IGNORES
        ]
    elif is_hosted(spec):
        found = list(_left(grammars(spec), choose_grammar(spec, [schema])[0], schema))
    else:
        return []
    return list(dict.fromkeys(f"{said} ({path})" if path else said for path, said in found))


def choose_grammar(spec: EngineSpec, schemas: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """The grammar backend for a vLLM of ours that serves these schemas, and why it.

    Where the installed ones could not be tried it is the one that servers get by default.
    """
    if spec.grammar != "auto":
        return spec.grammar, f"`grammar: {spec.grammar}`"
    configured = spec.vllm_args.get("structured_outputs_config")
    if configured is not None:
        named = configured.get("backend") if isinstance(configured, dict) else None
        return str(named or "auto"), "`structured_outputs_config` says so"
    known = grammars(spec)
    open_ones = [backend for backend in COMPACT_GRAMMARS if backend in known.features]
    if not open_ones:
        return DEFAULT_GRAMMAR, known.unknown or "neither xgrammar nor guidance works here"
    left = {name: [f"{said} ({path})" for s in schemas for path, said in _left(known, name, s)] for name in open_ones}
    best = min(open_ones, key=lambda name: len(left[name]))
    if best == open_ones[0]:
        rest = f"all but {_listed(left[best])}, as well as any other" if left[best] else "every keyword of the schemas"
        return best, f"enforces {rest}"
    more = [said for said in left[open_ones[0]] if said not in left[best]]
    return best, f"{open_ones[0]} would leave out {_listed(more)}"


def _left(known: Grammars, backend: str, schema: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What the backend ignores, and what is not sent to it because it refuses it or would reject answers that fit."""
    for path, node in walk(schema):
        for use in uses(node):
            if known.verdict(backend, use.feature) in ("ignored", "refused", "broken"):
                yield path, use.said


def _listed(said: Sequence[str], most: int = 3) -> str:
    distinct = list(dict.fromkeys(said))
    more = len(distinct) - most
    return ", ".join(distinct[:most]) + (f" and {more} more" if more > 0 else "")
