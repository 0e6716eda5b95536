"""Traced chains run like any other, and nodes that are called on values just run."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from pydantic import BaseModel

from chainette import Chain, ChainError, InputError, RowFailedError, apply, chain, cond, context, gather
from tests.models import Answer, Number, Question, Summary, step


class Text(BaseModel):
    text: str


class A(BaseModel):
    a: Text


class AB(BaseModel):
    a: Text
    b: Text


class ABC(AB):
    c: Text


def spell(id, model):
    """An apply whose value says what it was made of: `id(x)`, `id(a=x,b=y)`."""

    def spelled(row):
        if isinstance(row, Text):
            return Text(text=f"{id}({row.text})")
        return Text(text=f"{id}({','.join(f'{name}={value.text}' for name, value in row)})")

    spelled.__annotations__ = {"row": model, "return": Text}
    return apply(spelled, id=id)


a, b, c, d = (spell(name, Text) for name in "abcd")


def says(traced, expected, **steps):
    result = traced.run([{"text": "x"}, {"text": "y"}])
    assert [list(result.failed), result.rows_dropped] == [[], 0]
    assert [row.text for row in result.outputs] == [expected, expected.replace("x", "y")]
    for id, text in steps.items():
        assert [row.text for row in result.steps[id]] == [text, text.replace("x", "y")]


def test_a_diamond_in_a_diamond():
    inner, outer = spell("inner", AB), spell("outer", AB)

    @chain
    def pipe(t: Text) -> Text:
        first = a(t)
        return outer(a=inner(a=b(first), b=c(first)), b=d(t))

    says(pipe, "outer(a=inner(a=b(a(x)),b=c(a(x))),b=d(x))")


def test_branches_that_share_a_value():
    e, end = spell("e", AB), spell("end", AB)

    @chain
    def pipe(t: Text) -> Text:
        shared = b(a(t))
        return end(a=d(shared), b=e(a=shared, b=c(t)))

    says(pipe, "end(a=d(b(a(x))),b=e(a=b(a(x)),b=c(x)))")


def test_a_value_used_at_several_depths_and_the_input_used_last():
    e, f, end = spell("e", AB), spell("f", ABC), spell("end", ABC)

    @chain
    def pipe(t: Text) -> Text:
        first = a(t)
        second = e(a=first, b=b(first))
        third = f(a=first, b=second, c=t)
        return end(a=t, b=first, c=third)

    says(
        pipe,
        "end(a=x,b=a(x),c=f(a=a(x),b=e(a=a(x),b=b(a(x))),c=x))",
    )


def test_rows_that_fail_where_nothing_is_returned_are_in_the_result_all_the_same():
    end, side = spell("end", AB), spell("side", AB)

    def fragile(row: Text) -> Text:
        raise ValueError("no")

    @chain
    def pipe(t: Text) -> Text:
        first = a(t)
        side(a=apply(fragile)(first), b=t)
        return end(a=first, b=t)

    result = pipe.run([{"text": "x"}])
    assert [row.text for row in result.outputs] == ["end(a=a(x),b=x)"]
    assert "fragile" in {failure.node_id for failure in result.failed}


def test_three_levels_that_are_all_entangled():
    e, f, g, h, end = spell("e", AB), spell("f", AB), spell("g", AB), spell("h", AB), spell("end", AB)

    @chain
    def pipe(t: Text) -> Text:
        one, two, three = a(t), b(t), c(t)
        low, high = e(a=one, b=two), f(a=two, b=three)
        return end(a=g(a=low, b=high), b=h(a=high, b=one))

    low, high = "e(a=a(x),b=b(x))", "f(a=b(x),b=c(x))"
    says(pipe, f"end(a=g(a={low},b={high}),b=h(a={high},b=a(x)))")


def test_one_row_by_keyword_and_one_row_under_two():
    one, two = spell("one", A), spell("two", AB)

    @chain
    def pipe(t: Text) -> Text:
        made = one(a=t)
        return two(a=made, b=made)

    says(pipe, "two(a=one(a=x),b=one(a=x))")


def test_rows_that_lead_nowhere_are_made_all_the_same():
    log, end = spell("log", AB), spell("end", AB)

    @chain
    def pipe(t: Text) -> Text:
        left, right = a(t), b(t)
        log(a=left, b=right)
        c(left)
        return d(end(a=left, b=right))

    says(pipe, "d(end(a=a(x),b=b(x)))", log="log(a=a(x),b=b(x))", c="c(a(x))")


def test_what_leads_nowhere_but_needs_the_result_and_another_row_is_refused():
    log = spell("log", AB)

    @chain
    def pipe(t: Text) -> Text:
        left = a(t)
        right = b(left)
        log(a=left, b=right)
        return right

    with pytest.raises(ChainError, match=r'test_traced_runs.py:\d+: "log" leads nowhere'):
        pipe.run([{"text": "x"}])


def test_control_flow_and_an_inner_chain_on_any_row():
    inner = Chain(name="inner", steps=[c, d])
    end = spell("end", ABC)

    @chain
    def pipe(t: Text) -> Text:
        left, right = a(t), b(t)
        chosen = cond(lambda row: "y" in row.text, spell("yes", Text), spell("no", Text))(left)
        both = spell("both", AB)(a=left, b=right)
        return end(a=chosen, b=inner(right), c=both)

    result = pipe.run([{"text": "x"}, {"text": "y"}])
    assert [row.text for row in result.outputs] == [
        "end(a=no(a(x)),b=d(c(b(x))),c=both(a=a(x),b=b(x)))",
        "end(a=yes(a(y)),b=d(c(b(y))),c=both(a=a(y),b=b(y)))",
    ]


def test_params_of_a_run_reach_the_function_and_the_context():
    seen = []

    def look(n: Number) -> Number:
        seen.append(dict(context().params))
        return n

    def inc(n: Number) -> Number:
        return Number(value=n.value + 1)

    @chain
    def pipe(n: Number, rounds: int = 1) -> Number:
        for number in range(rounds):
            n = apply(inc, id=f"inc_{number}")(n)
        return apply(look)(n)

    assert pipe.run([{"value": 1}], params={"rounds": "3", "k": "v"}).outputs[0].value == 4
    assert seen == [{"rounds": "3", "k": "v"}]
    assert pipe.run([{"value": 1}]).outputs[0].value == 2


def test_a_run_that_goes_on_has_the_parameters_it_began_with(tmp_path):
    def inc(n: Number) -> Number:
        return Number(value=n.value + 1)

    @chain
    def pipe(n: Number, rounds: int) -> Number:
        for number in range(rounds):
            n = apply(inc, id=f"inc_{number}")(n)
        return n

    pipe.run([{"value": 1}], tmp_path / "run", params={"rounds": 2})
    result = pipe.run([{"value": 1}], resume=tmp_path / "run", params={"rounds": 2})
    assert result.nothing_to_do


def test_the_parameters_of_the_function_are_recorded_defaults_among_them(tmp_path):
    @chain
    def pipe(n: Number, tone: str = "plain", rounds: int = 1) -> Number:
        return apply(lambda items: items, id="same", input_model=Number)(n)

    pipe.run([{"value": 1}], tmp_path / "run", params={"rounds": 2})
    assert json.loads((tmp_path / "run" / "graph.json").read_text())["parameters"] == {"tone": "plain", "rounds": "2"}


def test_an_inner_chain_takes_several_rows_by_keyword():
    end = spell("end", AB)

    @chain
    def inner(row: AB) -> Text:
        return c(end(row))

    @chain
    def pipe(t: Text) -> Text:
        return inner(a=a(t), b=b(t))

    result = pipe.run([{"text": "x"}])
    assert [row.text for row in result.outputs] == ["c(end(a=a(x),b=b(x)))"]


qa = step("qa", Question, Answer)


def test_a_step_called_on_a_value_gives_its_answer(engine):
    engine(answers={"2+2": {"answer": "4"}})
    assert qa(Question(text="2+2")) == Answer(answer="4")
    assert qa({"text": "2+2"}) == qa(text="2+2") == Answer(answer="4")


def test_a_call_leaves_no_folder_behind(engine, tmp_path, monkeypatch):
    engine(answers={"2+2": {"answer": "4"}})
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    qa(text="2+2")
    assert list((tmp_path / "temporary").iterdir()) == []
    assert not Path("runs").exists()


async def _ask():
    return await qa(Question(text="2+2"))


def test_a_call_inside_an_event_loop_is_awaited(engine):
    import anyio

    engine(answers={"2+2": {"answer": "4"}})
    assert anyio.run(_ask) == Answer(answer="4")


def test_a_call_that_fails_says_where_and_why(engine):
    engine(answers={"2+2": "no JSON"})
    with pytest.raises(RowFailedError, match='"qa": schema') as caught:
        qa(text="2+2")
    assert (caught.value.kind, caught.value.node_id, caught.value.raw) == ("schema", "qa", "no JSON")


def test_a_value_that_does_not_fit_is_an_input_error():
    with pytest.raises(InputError, match="text"):
        qa({"txt": "2+2"})


def test_applies_control_flow_and_chains_are_called_on_values():
    def half(n: Number) -> Number | None:
        return Number(value=n.value // 2) if n.value % 2 == 0 else None

    def times(n: Number) -> list[Number]:
        return [n] * n.value

    def odd(items: list[Number]) -> list[Number]:
        return [n for n in items if n.value % 2]

    numbers = [Number(value=v) for v in range(4)]
    assert apply(half)(Number(value=4)) == Number(value=2)
    assert apply(half)(Number(value=3)) is None
    assert [len(apply(times)(n)) for n in numbers] == [0, 1, 2, 3]
    assert apply(odd)(numbers) == [numbers[1], numbers[3]]
    assert cond(lambda n: n.value > 1, apply(half))(Number(value=2)) == Number(value=1)
    assert (apply(times) >> gather())(Number(value=2)) == [Number(value=2)] * 2

    @chain
    def pipe(n: Number) -> Number:
        return apply(half, id="again")(apply(half)(n))

    assert pipe(Number(value=8)) == Number(value=2)
    assert Chain("c", [pipe])(Number(value=8)) == Number(value=2)


def test_fields_by_keyword_make_the_row():
    two = spell("two", AB)
    assert two(a=Text(text="x"), b={"text": "y"}).text == "two(a=x,b=y)"


def test_a_function_may_call_a_step(engine):
    engine(answers={"2+2": {"answer": "4"}}, echo=True)

    def ask(q: Question) -> Summary:
        return Summary(summary=qa(q).answer)

    assert apply(ask)(text="2+2").summary == "4"
