"""The prompts of the examples, read from their files without importing them, so that each prompt has one owner.

It needs neither Chainette nor the example's dependencies: it evaluates the module's string constants only.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from jinja2 import Environment, StrictUndefined

EXAMPLES = Path(__file__).resolve().parent.parent
_environment = Environment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)

PROMPTS = {
    "extract": ("reviews", "EXTRACT_SYSTEM", "EXTRACT_USER"),
    "verdict_fr": ("reviews", "FRENCH_SYSTEM", "VERDICT_USER"),
    "verdict_es": ("reviews", "SPANISH_SYSTEM", "VERDICT_USER"),
    "summarise": ("reviews", "SUMMARY_SYSTEM", "SUMMARY_USER"),
    "qa": ("qa", "SYSTEM", "USER"),
    "offer": ("product_struct_extract", "OFFER_SYSTEM", "OFFER_USER"),
    "label": ("product_struct_extract", "LABEL_SYSTEM", "LABEL_USER"),
    "documents": ("multi_doc_summary_eval", "SUMMARY_SYSTEM", "SUMMARY_USER"),
    "score": ("multi_doc_summary_eval", "SCORE_SYSTEM", "SCORE_USER"),
}


@cache
def constants(example: str) -> dict[str, str]:
    """The module-level string constants of an example."""
    found: dict[str, str] = {}
    for node in ast.parse((EXAMPLES / f"{example}.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper():
            value = ast.literal_eval(node.value)
            if isinstance(value, str):
                found[node.targets[0].id] = value
    return found


@cache
def _template(text: str):  # type: ignore[no-untyped-def]
    return _environment.from_string(text)


def render(task: str, scope: dict[str, object]) -> tuple[str, str]:
    """System and user message of a task. `echo` is the one task without an example: it exists only in training."""
    if task == "echo":
        return "Repeat.", str(scope["text"])
    example, system, user = PROMPTS[task]
    known = constants(example)
    # In its chain the summary's prompt finds the facts of the review in the step that extracted them.
    return known[system], _template(known[user]).render({"extract": scope, **scope})
