"""`Step`: one LLM task. Does not know which engine its name stands for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from chainette.chain.operators import Composable
from chainette.errors import ChainError, Problem, nearest
from chainette.specs import SamplingParams

Prompt = str | Sequence[Mapping[str, Any]]
"""A template, or messages (`role`, `content` template) for few-shot, the last one from the user."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Step(Composable):
    """One call per row: prompts rendered from the row, an answer that fits `output_model`.

    Raises:
        ChainError: a value that cannot be right whatever the chain around it.
    """

    id: str
    input_model: type[BaseModel]
    output_model: type[BaseModel]
    user_prompt: Prompt
    """Jinja2, sandboxed, strict. In scope: the row's fields, aliases, earlier steps by id, `chain_input`, `row_id`."""
    name: str = ""
    engine_name: str | None = None
    """None: the only engine that is configured, or the demo model."""
    sampling: SamplingParams = field(default_factory=SamplingParams)
    system_prompt: str = ""
    output_format_instruction: str | None = None
    """Added to the system prompt. None: the JSON schema; `""`: nothing."""
    emoji: str = ""
    yield_output: bool = True
    """False: not written to `steps/`, still visible to templates."""
    n: int | None = None
    """Answers per row; each becomes a child row `17.0`, `17.1`, …"""
    retries: int = 2
    """Further calls after an answer that is invalid or truncated."""
    timeout_s: float | None = None
    """For one row, queueing and retries included."""
    priority: int = 0
    """Higher goes first among the steps that share an engine; equal: the later step."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    lora: str | None = None
    """The engine's adapter that answers, by its name in the engine's `adapters`."""
    images: str | None = None
    """Field of the input with an image (URL, data URL, path or bytes) or a list of them."""

    def __post_init__(self) -> None:
        problems = list(_problems(self))
        if problems:
            raise ChainError(problems)
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))
        if not isinstance(self.user_prompt, str):
            object.__setattr__(self, "user_prompt", tuple(dict(message) for message in self.user_prompt))

    def with_(self, **changes: Any) -> Step:
        """A copy with these fields changed; this step stays as it is."""
        known = {f.name for f in dataclasses.fields(self)}
        unknown = sorted(set(changes) - known)
        if unknown:
            raise ChainError([Problem(f'step "{self.id}"', f'has no field "{k}"', nearest(k, known)) for k in unknown])
        return dataclasses.replace(self, **changes)

    @property
    def samples(self) -> int:
        """Answers per row, whichever way they were asked for."""
        return self.n or self.sampling.n or 1

    def __repr__(self) -> str:
        return f"Step({self.id!r}, {self.input_model.__name__} -> {self.output_model.__name__})"


def _problems(step: Step) -> list[Problem]:
    where = f'step "{step.id}"'
    found = []
    if not isinstance(step.id, str) or not step.id.strip():
        found.append(Problem("step", "needs an `id` that is not blank"))
    for name in ("input_model", "output_model"):
        model = getattr(step, name)
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            found.append(Problem(where, f"{name} must be a pydantic model class, not {model!r}"))
    if not isinstance(step.sampling, SamplingParams):
        found.append(Problem(where, f"sampling must be SamplingParams, not {type(step.sampling).__name__}"))
    for name, (fits, wanted) in _FIELDS.items():
        value = getattr(step, name)
        if not fits(value):
            found.append(Problem(where, f"{name} must be {wanted}, not {value!r}"))
    if isinstance(step.sampling, SamplingParams) and step.n and step.sampling.n and step.n != step.sampling.n:
        found.append(Problem(where, f"n={step.n}, but its sampling says n={step.sampling.n}", "say it once"))
    found += _prompt_problems(step, where)
    return found


def _prompt_problems(step: Step, where: str) -> list[Problem]:
    if isinstance(step.user_prompt, str):
        return [] if step.user_prompt.strip() else [Problem(where, "user_prompt is empty", 'e.g. "{{ text }}"')]
    if not isinstance(step.user_prompt, Sequence) or not step.user_prompt:
        return [Problem(where, "user_prompt must be a template or a list of messages")]
    found = []
    for position, message in enumerate(step.user_prompt):
        place = f"{where} user_prompt[{position}]"
        if not isinstance(message, Mapping) or set(message) != {"role", "content"}:
            found.append(Problem(place, "a message has exactly `role` and `content`"))
        elif message["role"] not in ("system", "user", "assistant"):
            found.append(Problem(place, f'role "{message["role"]}"', nearest(str(message["role"]), _ROLES)))
        elif not isinstance(message["content"], str):
            found.append(Problem(place, "content must be a template"))
    return found


_ROLES = ("system", "user", "assistant")


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_duration(value: Any) -> bool:
    """Whether `value` is None or a positive, finite number of seconds."""
    if value is None:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": (_text, "text"),
    "emoji": (_text, "text"),
    "system_prompt": (_text, "a template"),
    "engine_name": (_text_or_none, "a name or None"),
    "output_format_instruction": (_text_or_none, "text or None"),
    "images": (_text_or_none, "the name of a field"),
    "lora": (_text_or_none, "the name of an adapter"),
    "yield_output": (lambda value: isinstance(value, bool), "True or False"),
    "n": (lambda value: value is None or _whole(value, 1), "a whole number from 1"),
    "retries": (lambda value: _whole(value, 0), "a whole number from 0"),
    "priority": (lambda value: isinstance(value, int), "a whole number"),
    "timeout_s": (is_duration, "a positive number of seconds"),
    "metadata": (lambda value: isinstance(value, Mapping), "a mapping"),
}
