"""A step's prompts, compiled once, rendered per row. Does not know where the messages go."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson
from jinja2 import Environment, TemplateError

from chainette.chain import Step
from chainette.errors import Problem, nearest
from chainette.graph import Graph, Node, Reference
from chainette.graph.reach import getter
from chainette.graph.signature import schema_of
from chainette.graph.types import fields_of
from chainette.prompts.environment import make_environment, renderer
from chainette.prompts.images import image_parts
from chainette.prompts.names import names_in
from chainette.rows import Row

FORMAT_INSTRUCTION = "Answer with one JSON object that fits this JSON schema:\n"

Message = dict[str, Any]
Getter = Callable[[Row, Any], Any]


class PromptError(Exception):
    """The template failed on this row's values."""


def format_instruction(step: Step) -> str:
    """What is added to the system prompt, so that a model knows the shape it is held to."""
    if step.output_format_instruction is not None:
        return step.output_format_instruction
    schema = schema_of(step.output_model)
    try:
        return FORMAT_INSTRUCTION + orjson.dumps(schema).decode()
    except TypeError:  # a bound beyond 64 bits
        return FORMAT_INSTRUCTION + json.dumps(schema, ensure_ascii=False, separators=(",", ":"), default=str)


class CompiledPrompt:
    """Renders the messages of one step."""

    def __init__(self, graph: Graph, node: Node, environment: Environment) -> None:
        self.names: set[str] = set()
        """The outer names its templates use."""
        self.problems: list[Problem] = []
        self._graph = graph
        self._node = node
        step = node.step
        self._parts = [
            (role, self._compile(environment, source, where)) for role, source, where in _sources(step, node.id)
        ]
        self._instruction = format_instruction(step)
        self._images = step.images
        if step.images is not None and step.images not in (fields_of(step.input_model) or {}):
            known = fields_of(step.input_model) or {}
            self.problems.append(
                Problem(f'step "{node.id}" images', f'no field "{step.images}"', nearest(step.images, known))
            )
        if not self.problems_are_errors:
            self._getters = {name: self._getter(name) for name in sorted(self.names)}

    @property
    def problems_are_errors(self) -> bool:
        return any(problem.severity == "error" for problem in self.problems)

    def messages(self, row: Row, value: Any) -> list[Message]:
        """The messages for `row`, whose value as the step takes it is `value`.

        Raises:
            PromptError: the template failed on this row's values.
        """
        scope = {name: get(row, value) for name, get in self._getters.items()}
        messages: list[Message] = []
        try:
            for role, render in self._parts:
                messages.append({"role": role, "content": render(scope) if callable(render) else render})
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise PromptError(f"{type(error).__name__}: {error}") from error
        self._instruct(messages)
        if self._images is not None:
            self._add_images(messages, value)
        return messages

    def _instruct(self, messages: list[Message]) -> None:
        if not self._instruction:
            return
        if messages[0]["role"] == "system":
            content = messages[0]["content"]
            messages[0]["content"] = f"{content}\n\n{self._instruction}" if content else self._instruction
        else:
            messages.insert(0, {"role": "system", "content": self._instruction})

    def _add_images(self, messages: list[Message], value: Any) -> None:
        assert self._images is not None
        try:
            parts = image_parts(getattr(value, self._images))
        except (OSError, ValueError) as error:
            raise PromptError(f"image of field {self._images}: {error}") from error
        last = messages[-1]
        last["content"] = [{"type": "text", "text": last["content"]}, *parts]

    def _compile(self, environment: Environment, source: str, where: str) -> Callable[[dict[str, Any]], str] | str:
        names, problems = names_in(environment, source, self._graph, self._node, where)
        self.names |= names
        self.problems += problems
        if "{" not in source or any(problem.severity == "error" for problem in problems):
            return source
        return renderer(environment.from_string(source))

    def _getter(self, name: str) -> Getter:
        own = fields_of(self._node.input_type) or {}
        if name in own:
            return lambda row, value: getattr(value, name)
        reference = self._node.visible.get(name)
        if reference is None:
            what = Reference("row_id", str) if name == "row_id" else Reference("value", Any, 0)
            reference = what
        get = getter(self._graph, reference)
        return lambda row, value: get(row)


def _sources(step: Step, id: str) -> list[tuple[str, str, str]]:
    """(role, template, where) of every message."""
    sources = []
    if step.system_prompt:
        sources.append(("system", step.system_prompt, f'step "{id}" system_prompt'))
    if isinstance(step.user_prompt, str):
        return [*sources, ("user", step.user_prompt, f'step "{id}" user_prompt')]
    return sources + [
        (str(message["role"]), str(message["content"]), f'step "{id}" user_prompt[{position}]')
        for position, message in enumerate(step.user_prompt)
    ]


def compile_prompts(graph: Graph) -> tuple[dict[int, CompiledPrompt], list[Problem]]:
    """Compiled prompts by node index, and every problem in them."""
    environment = make_environment()
    compiled = {node.index: CompiledPrompt(graph, node, environment) for node in graph.steps}
    return compiled, [problem for prompt in compiled.values() for problem in prompt.problems]
