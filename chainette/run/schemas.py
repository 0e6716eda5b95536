"""What the schemas of a chain mean for the engines that answer by them: which grammar backend, what it leaves to
validation, which answers may never end. Starts no engine; the first look at an installed vLLM takes seconds.
"""

from __future__ import annotations

from dataclasses import replace

from chainette.engine.enforced import choose_grammar, unenforced_keywords
from chainette.engine.grammars import grammars, is_hosted
from chainette.engine.live import warm_servers
from chainette.engine.runaways import held_schema, unbounded
from chainette.errors import Problem
from chainette.graph import Graph, Node
from chainette.graph.signature import schema_of
from chainette.plan import Plan

_BY_GRAMMAR = ("vllm", "sglang", "embedded")


def with_grammars(graph: Graph, plan: Plan) -> tuple[Plan, list[Problem]]:
    """The plan in which each vLLM of ours has the backend that suits the schemas of its steps; a warm one has what it
    was started with."""
    engines, problems = dict(plan.engines), []
    for name, spec in plan.engines.items():
        if not is_hosted(spec) or plan.capabilities[name].ready:
            continue
        where = f'engine "{name}"'
        served = [node for node in graph.steps if plan.engine_of.get(node.index) == name]
        warm = warm_servers(spec)
        if warm and spec.grammar == "auto":
            backend, why = warm[0].grammar, "it is warm, and was started so"
        else:
            backend, why = choose_grammar(spec, [schema_of(node.step.output_model) for node in served])
        known = grammars(spec)
        if known.unknown:
            problems.append(Problem(where, f"which keywords answers are held to is not known: {known.unknown}"))
        elif backend in known.features:
            problems.append(Problem(where, f"{backend} holds answers to their schemas: {why}"))
        else:
            problems.append(Problem(where, f"what {backend} holds answers to is not known: it cannot be tried here"))
        if spec.grammar != backend:
            engines[name] = spec.model_copy(update={"grammar": backend})
    return replace(plan, engines=engines), [replace(problem, severity="note") for problem in problems]


def unenforced(plan: Plan, node: Node) -> list[str]:
    """Schema keywords that the step's engine will not hold the model to, so that only validation does."""
    name = plan.engine_of.get(node.index)
    if name is None:
        return []
    return unenforced_keywords(plan.engines[name], schema_of(node.step.output_model))


def schema_problems(plan: Plan, node: Node) -> list[Problem]:
    """At most one line each for what is not enforced and for what has no end."""
    name, where, problems = plan.engine_of.get(node.index), f'step "{node.id}"', []
    if keywords := unenforced(plan, node):
        message = f"the engine does not hold the model to {', '.join(keywords)}; answers are validated after"
        problems.append(Problem(where, message, severity="note"))
    if name is None or plan.engines[name].backend not in _BY_GRAMMAR:
        return problems
    # Of what is sent: a keyword that the backend refuses ends nothing.
    endless = unbounded(held_schema(plan.engines[name], schema_of(node.step.output_model)))
    if not endless:
        return problems
    # The embedded engine's context is small: there a runaway ends by itself.
    ends = node.step.sampling.max_tokens is not None or plan.engines[name].backend == "embedded"
    until = "the answer is cut and the row fails as truncated" if ends else "the model's whole context is full"
    message = f"nothing in the schema bounds {', '.join(endless)}: a model that does not stop fills it until {until}"
    hint = "Field(max_length=…)" if ends else "Field(max_length=…), or at least SamplingParams(max_tokens=…)"
    return [*problems, Problem(where, message, hint, "note" if ends else "warning")]
