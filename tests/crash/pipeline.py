"""The chain that is killed: a retry, branches, expand, filter, join, samples. Run as a file, like a user's."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from chainette import Branch, Chain, Step, apply


class Report(BaseModel):
    number: int
    text: str


class Facts(BaseModel):
    product: Literal["lamp", "kettle", "chair", "radio", "clock"]
    stars: int = Field(ge=1, le=5)
    parts: int = Field(ge=0, le=3)


class Part(BaseModel):
    product: str
    part: int


class Label(BaseModel):
    label: str = Field(max_length=24)


class Verdict(BaseModel):
    verdict: str = Field(max_length=40)


class Line(BaseModel):
    line: str = Field(max_length=40)
    urgent: bool


def take_apart(facts: Facts) -> list[Part]:
    return [Part(product=facts.product, part=number) for number in range(facts.parts)]


def not_the_first(part: Part) -> Part | None:
    return part if part.part else None


def not_perfect(facts: Facts) -> Facts | None:
    return facts if facts.stars < 4 else None


def shout(line: Line) -> Line:
    if line.line.startswith("q"):
        raise ValueError(f"no line begins with q: {line.line}")
    return Line(line=line.line.upper(), urgent=line.urgent)


facts = Step(
    id="facts",
    input_model=Report,
    output_model=Facts,
    engine_name="server",
    retries=1,
    output_format_instruction="",
    user_prompt="Facts of report {{ number }}: {{ text }}",
)
label = Step(
    id="label",
    input_model=Part,
    output_model=Label,
    engine_name="server",
    retries=0,
    output_format_instruction="",
    user_prompt="Label part {{ part }} of the {{ product }} in {{ chain_input.text }}",
)
verdict = Step(
    id="verdict",
    input_model=Facts,
    output_model=Verdict,
    engine_name="server",
    retries=0,
    output_format_instruction="",
    user_prompt="Verdict on {{ product }}, {{ stars }} stars, {{ chain_input.number % 50 }}",
)
summary = Step(
    id="summary",
    input_model=Facts,
    output_model=Line,
    engine_name="server",
    n=2,
    retries=1,
    output_format_instruction="",
    user_prompt=(
        "Sum up {{ chain_input.number }}: {{ judged.verdict }}"
        "{% for part in labels or [] %} / {{ part.label }}{% endfor %}"
    ),
)

chain = Chain(
    name="Crash",
    steps=[
        facts,
        apply(not_perfect),
        [
            Branch(name="judged", steps=[verdict]).join("judged"),
            Branch(name="labels", steps=[apply(take_apart), apply(not_the_first), label]).join(
                "labels", missing="none"
            ),
            Branch(name="aside", steps=[apply(take_apart, id="parts")]),
        ],
        summary,
        apply(shout),
    ],
)
