"""A step that picks a tool, the tool, and again, until the step answers: an agent's loop as plain nodes of the graph.

The tool is a `Literal` in the step's output model, so the engine cannot name another one. `switch` sends the row to it,
a Python function; what it found is a note on the row, which the step reads in the next turn. The calculator takes
numbers and + - * / only, and the look-up reads tool_use_prices.csv.

Choosing tools is more than the demo model can do, so a script answers in its place and the example runs anywhere. With
a real model only the engine changes: the block of `agent` in scripted.yml or in your engines.yml.

    chainette run examples.tool_use:chain -i examples/tool_use.jsonl -f examples/scripted.yml
"""

from __future__ import annotations

import ast
import csv
import operator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from chainette import Branch, Chain, Step, apply, switch, while_loop

PRICES = Path(__file__).with_name("tool_use_prices.csv")
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


class Work(BaseModel):
    """A question, what the tools found so far, and in the end the answer."""

    question: str
    notes: list[str] = []
    answer: str | None = None


class Choice(BaseModel):
    tool: Literal["calculate", "look_up", "answer"]
    input: str = Field(max_length=200, description="An expression, the name of a product, or the answer itself.")


class Found(BaseModel):
    note: str = ""
    answer: str | None = None


class Turn(Work):
    """What a turn ends with: the work, and beside it what the tool found."""

    found: Found


def calculate(choice: Choice) -> Found:
    try:
        value = value_of(ast.parse(choice.input.strip(), mode="eval").body)
        return Found(note=f"{choice.input} = {value:.12g}")
    except (SyntaxError, ValueError, ArithmeticError) as error:
        return Found(note=f"{choice.input} cannot be calculated: {error}")


def value_of(node: ast.expr) -> float:
    """
    Raises:
        ValueError: something else than numbers, brackets and + - * /.
    """
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -value_of(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](value_of(node.left), value_of(node.right))
    raise ValueError(f"only numbers and + - * /, not {ast.unparse(node)}")


def look_up(choice: Choice) -> Found:
    with PRICES.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["product"] == choice.input:
                return Found(note=f"a {row['product']} costs {row['euros']} euros, {row['in_stock']} in stock")
    return Found(note=f"{choice.input} is not in the price list")


def give_answer(choice: Choice) -> Found:
    return Found(answer=choice.input)


def note_down(turn: Turn) -> Work:
    notes = [*turn.notes, turn.found.note] if turn.found.note else turn.notes
    return Work(question=turn.question, notes=notes, answer=turn.found.answer)


def is_answered(work: Work) -> bool:
    return work.answer is not None


choose = Step(
    id="choose",
    name="Choose a tool",
    input_model=Work,
    output_model=Choice,
    engine_name="agent",
    system_prompt=(
        "Work towards the answer one tool at a time. calculate: an expression of numbers and + - * /. "
        "look_up: the price and stock of a product. answer: when the notes have all it takes."
    ),
    user_prompt="Question: {{ question }}\n{% for note in notes %}Note {{ loop.index }}: {{ note }}\n{% endfor %}",
)
use = switch("tool", {"calculate": [apply(calculate)], "look_up": [apply(look_up)], "answer": [apply(give_answer)]})
turn = [[Branch(name="found", steps=[choose, use]).join("found")], apply(note_down)]

chain = Chain(name="Tool use", steps=[while_loop(turn, until=is_answered, max_iterations=5)], input_model=Work)
