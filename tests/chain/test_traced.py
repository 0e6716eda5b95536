"""The traced form: a function becomes the list that a person would write, or says at its line why it cannot."""

from __future__ import annotations

import copy
import inspect
import pickle
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel

from chainette import Branch, Chain, ChainError, TracedChain, apply, chain, cond, gather, scan, while_loop
from chainette.graph import build
from tests.models import Answer, Number, Question, Summary, step


class Both(BaseModel):
    fr: Answer
    es: Answer


class Facts(BaseModel):
    question: Question
    answer: Answer


def inc(n: Number) -> Number:
    return Number(value=n.value + 1)


def times(n: Number) -> list[Number]:
    return [n] * n.value


qa = step("qa", Question, Answer)
fr = step("to_fr", Answer, Answer, "{{ answer }}")
es = step("to_es", Answer, Answer, "{{ answer }}")
agg = step("agg", Both, Summary, "{{ fr.answer }} {{ es.answer }}")
shorten = step("shorten", Summary, Summary, "{{ summary }}")


def line_of(text: str, function: Any) -> str:
    """`file.py:12`, where `text` stands in the source of a function."""
    lines, first = inspect.getsourcelines(getattr(function, "function", function))
    return f"test_traced.py:{first + next(i for i, line in enumerate(lines) if text in line)}"


def refusal(function: Callable[..., Any]) -> str:
    with pytest.raises(ChainError) as caught:
        _ = chain(function).steps
    return str(caught.value)


def same(traced: Chain, listed: list[Any]) -> None:
    graph, problems = build(traced)
    other, others = build(Chain(name=traced.name, steps=listed))
    assert [str(p) for p in problems] == [str(p) for p in others]
    assert [(n.id, n.kind) for n in graph.shown] == [(n.id, n.kind) for n in other.shown]
    assert graph.signature == other.signature


def test_a_straight_function_is_the_list_of_its_steps():
    @chain
    def c(q: Question) -> Answer:
        return fr(qa(q))

    assert list(c.steps) == [qa, fr]
    assert isinstance(c, Chain)
    assert (c.name, c.input_model) == ("c", Question)
    same(c, [qa, fr])


def test_values_taken_by_keyword_are_branches_joined_under_the_keyword():
    @chain
    def c(q: Question) -> Summary:
        answer = qa(q)
        french = fr(answer)
        return shorten(agg(fr=french, es=es(answer)))

    (first, group, *_) = c.steps
    assert first is qa
    assert [(b.name, b.alias, list(b.steps)) for b in group] == [("fr", "fr", [fr]), ("es", "es", [es])]
    same(c, [qa, [Branch("fr", [fr]).join("fr"), Branch("es", [es]).join("es")], agg, shorten])


def test_a_diamond_in_a_diamond_is_branches_in_a_branch():
    inner_agg = agg.with_(id="inner_agg", output_model=Answer)

    @chain
    def c(q: Question) -> Summary:
        answer = qa(q)
        deep = fr(answer)
        both = inner_agg(fr=fr(deep, id="a"), es=es(deep, id="b"))
        return agg(fr=both, es=es(answer))

    a, b = fr.with_(id="a"), es.with_(id="b")
    inside = [fr, [Branch("fr", [a]).join("fr"), Branch("es", [b]).join("es")], inner_agg]
    same(c, [qa, [Branch("fr", inside).join("fr"), Branch("es", [es]).join("es")], agg])


def test_a_row_that_leads_nowhere_is_a_branch_that_is_not_joined():
    @chain
    def c(q: Question) -> Answer:
        answer = qa(q)
        es(fr(answer, id="aside"))
        return fr(answer)

    same(c, [qa, [Branch("to_es", [fr.with_(id="aside"), es])], fr])


def test_control_flow_and_chains_are_called_like_steps():
    inner = Chain(name="inner", steps=[apply(inc)])
    split, again = apply(times), while_loop(apply(inc, id="more"), until=lambda n: n.value > 3)
    even = cond(lambda n: n.value % 2 == 0, apply(inc, id="even"))

    @chain
    def c(n: Number) -> list[Number]:
        return gather()(again(even(inner(split(n)))))

    same(c, [split, inner, even, again, gather()])


def test_python_decides_by_parameters_which_are_real_values():
    @chain
    def c(q: Question, tone: str = "plain", rounds: int = 1) -> Answer:
        answer = qa(q)
        for number in range(rounds):
            answer = fr(answer, id=f"round_{number}")
        return es(answer) if tone == "formal" else answer

    assert [s.id for s in c.steps] == ["qa", "round_0"]
    formal = c.with_params(tone="formal", rounds="3")
    assert [s.id for s in formal.steps] == ["qa", "round_0", "round_1", "round_2", "to_es"]
    assert dict(formal.params) == {"tone": "formal", "rounds": 3}
    assert dict(c.params) == {"tone": "plain", "rounds": 1}


def test_a_parameter_that_is_unknown_missing_or_does_not_fit_is_named():
    @chain
    def c(q: Question, rounds: int) -> Answer:
        return qa(q)

    with pytest.raises(
        ChainError, match=r'chain "c" .*test_traced.py:\d+.*: no parameter round .*did you mean "rounds"'
    ):
        c.with_params(round=3)
    with pytest.raises(ChainError, match=r'chain "c" .*parameter rounds cannot be \'many\''):
        c.with_params(rounds="many")
    with pytest.raises(ChainError, match=r'chain "c" .*parameter rounds has no value .*--param rounds='):
        _ = c.steps

    def outer(q: Question) -> Answer:
        return c(q)  # inner

    assert line_of("# inner", outer) in refusal(outer)
    assert "c.with_params(rounds=…)(row)" in refusal(outer)


def test_the_function_is_called_once_and_not_before_it_is_asked_for():
    calls = []

    @chain
    def c(q: Question) -> Answer:
        calls.append(q)
        return qa(q)

    assert calls == []
    assert c.steps is c.steps
    assert len(calls) == 1


def test_the_package_and_the_decorator_have_one_name():
    import chainette.chain.step

    assert chainette.chain is chain
    assert chainette.chain.step.Step is chainette.Step


def test_fields_of_the_chain_go_to_the_decorator():
    @chain(name="Named", chunk_size=3, deadline_s=5, metadata={"team": "a"})
    def c(q: Question) -> Answer:
        return qa(q)

    assert (c.name, c.chunk_size, c.deadline_s, dict(c.metadata)) == ("Named", 3, 5, {"team": "a"})


USES = {
    "if": (lambda h: 1 if h else 2, "cond"),
    "while": (lambda h: not h, "while_loop"),
    "for": (lambda h: [x for x in h], "scan"),  # noqa: C416
    "unpack": (lambda h: [*h], "scan"),
    "f-string": (lambda h: f"{h}", "template"),
    "str": (lambda h: str(h), "template"),
    "format": (lambda h: "{}".format(h), "template"),  # noqa: UP032
    "percent": (lambda h: "%s" % h, "template"),  # noqa: UP031
    "field": (lambda h: h.answer, "template"),
    "equal": (lambda h: h == 1, "cond"),
    "less": (lambda h: h < 1, "cond"),
    "in": (lambda h: 1 in h, "cond"),
    "isinstance": (lambda h: isinstance(h, Answer), "cond"),
    "plus": (lambda h: h + 1, "apply"),
    "rplus": (lambda h: 1 + h, "apply"),
    "minus": (lambda h: -h, "apply"),
    "index": (lambda h: h[0], "template"),
    "len": (lambda h: len(h), "apply"),
    "int": (lambda h: int(h), "apply"),
    "set field": (lambda h: setattr(h, "answer", 1), "apply"),
    "copy": (lambda h: copy.deepcopy(h), "handle itself"),
    "pickle": (lambda h: pickle.dumps(h), "handle itself"),
    ">>": (lambda h: h >> fr, "apply"),
    "<< step": (lambda h: fr >> h, "called"),
    "|": (lambda h: fr | h, "called"),
}


@pytest.mark.parametrize("use", USES)
def test_what_needs_a_rows_value_raises_at_its_line_and_names_what_to_use(use):
    touch, instead = USES[use]

    def c(q: Question) -> Answer:
        touch(qa(q))
        return fr(qa(q))

    said = refusal(c)
    assert line_of("", touch).rpartition(":")[0] in said
    assert f":{inspect.getsourcelines(touch)[1]}: " in said
    assert instead in said


def test_a_row_can_be_looked_at_in_a_debugger():
    @chain
    def c(q: Question) -> Answer:
        answer = qa(q)
        assert repr(answer).startswith('<the row of step "qa", ')
        assert not callable(answer)
        return answer

    _ = c.steps


def test_a_row_in_a_prompt_is_refused():
    def c(q: Question) -> Answer:
        answer = qa(q)
        return step("again", Answer, Answer, f"Say again: {[answer]}")(answer)

    assert 'a prompt of step "again" has <the row of step "qa"' in refusal(c)


def test_a_row_in_a_function_of_the_chain_is_refused():
    def c(q: Question) -> Answer:
        answer = qa(q)
        return apply(lambda a: (a, answer)[0], id="look")(fr(answer))

    def p(q: Question) -> Answer:
        return apply(partial(lambda x, a: a, q), id="look")(qa(q))

    assert 'apply "look" has <the row of step "qa"' in refusal(c)
    assert 'apply "look" has <the row of input "q"' in refusal(p)


class Holds:
    def __init__(self, row) -> None:
        self.row = row

    def __call__(self, answer: Answer) -> Answer:
        return self.row


@pytest.mark.parametrize(
    "node",
    [
        lambda row: cond("text", [apply(lambda a: row, id="look")]),
        lambda row: Chain(name="inner", steps=[[Branch("b", [apply(lambda a: row, id="look")])]]),
        lambda row: scan(lambda carry, item: row, None, 0),
        lambda row: scan(lambda carry, item: item, None, row),
        lambda row: apply(Holds(row)),
    ],
)
def test_a_row_in_a_function_further_in_is_refused(node):
    def c(q: Question) -> Answer:
        return node(qa(q))(fr(q))

    assert 'has <the row of step "qa"' in refusal(c)


def test_a_row_in_a_prompt_further_in_is_refused():
    def c(q: Question) -> Answer:
        return cond("text", [step("again", Answer, Answer, f"Say again: {[q]}")])(qa(q))

    assert 'a prompt of step "again" has <the row of input "q"' in refusal(c)


def test_rows_and_values_do_not_go_together():
    def loud(q: Question, tone: str) -> Answer:
        return qa(q)

    def mixed(q: Question) -> Summary:
        return agg(fr=qa(q), es=Answer(answer="x"))

    def value(q: Question) -> Answer:
        return qa(Question(text="x"))

    def listed(q: Question) -> Summary:
        return agg([qa(q), fr(qa(q))])

    def two(q: Question) -> Summary:
        return agg(qa(q), q)

    def parameter(q: Question) -> Answer:
        return chain(loud)(q, tone="high")

    assert "not there yet and a value at once" in refusal(mixed)
    assert "loud.with_params(tone=…)(row)" in refusal(parameter)
    assert 'got a value while "value" is traced' in refusal(value)
    assert "rows inside a list" in refusal(listed).replace("a second time", "") or "used a second time" in refusal(
        listed
    )
    assert "agg(fr=fr, es=es)" in refusal(two)


def test_a_step_used_twice_names_both_lines_and_the_way_out():
    def c(q: Question) -> Answer:
        first = qa(q)
        qa(q)  # again
        return first

    said = refusal(c)
    assert line_of("first = qa(q)", c) in said
    assert line_of("# again", c) in said
    assert 'id="second"' in said


def test_a_keyword_that_is_no_field_is_named_with_the_nearest():
    def c(q: Question) -> Summary:
        answer = qa(q)
        return agg(fre=fr(answer), es=es(answer))

    assert 'takes Both, which has no field fre (did you mean "fr"?)' in refusal(c)


@pytest.mark.parametrize("returned", [None, 3, "text"])
def test_what_is_returned_must_be_a_row(returned):
    def c(q: Question) -> Any:
        qa(q)
        return returned

    assert "must return the row of a step, not" in refusal(c)


def test_the_input_itself_and_several_rows_are_no_result():
    def same_row(q: Question) -> Question:
        return q

    def several(q: Question) -> Any:
        return qa(q), q

    assert "returns its input as it is" in refusal(same_row)
    assert "by keyword" in refusal(several)


def test_a_row_without_annotation_is_refused():
    def c(q):
        return qa(q)

    assert "parameter q, has no annotation" in refusal(c)


def test_a_result_that_is_not_what_the_function_says_is_refused():
    def c(q: Question) -> Summary:
        return qa(q)

    assert "says it gives Summary" in refusal(c)


def test_a_row_that_leaked_out_of_its_tracing_is_refused():
    leaked = []

    @chain
    def c(q: Question) -> Answer:
        leaked.append(qa(q))
        return leaked[0]

    _ = c.steps
    with pytest.raises(ChainError, match=r'the tracing of "c" is over'):
        fr(leaked[0])

    def other(q: Question) -> Answer:
        return fr(leaked[0])

    assert 'the tracing of "c" is over' in refusal(other)


def test_a_row_of_an_outer_function_or_another_thread_is_refused():
    said = []

    def outer(q: Question) -> Answer:
        @chain
        def inner(a: Answer) -> Answer:
            return es(q)

        return inner(qa(q))

    def threaded(q: Question) -> Answer:
        def work():
            try:
                qa(q)
            except ChainError as error:
                said.append(str(error))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return qa(q)

    assert "belongs to another function" in refusal(outer)
    _ = chain(threaded).steps
    assert "another thread" in said[0]


def test_a_function_that_calls_itself_is_refused():
    @chain
    def c(q: Question) -> Question:
        return c(q)

    with pytest.raises(ChainError, match=r'test_traced.py:\d+: chain "c" calls itself .*while_loop'):
        _ = c.steps


def test_what_the_function_raises_is_said_with_its_line():
    def c(q: Question) -> Answer:
        return {}["no"]  # here

    said = refusal(c)
    assert line_of("# here", c) in said
    assert "raised KeyError while it was traced" in said


@pytest.mark.parametrize("wrong", ["async", "yield", "none", "args", "no function"])
def test_what_cannot_be_traced_is_refused_where_it_is_decorated(wrong):
    async def waits(q: Question) -> Answer:
        return qa(q)

    def yields(q: Question) -> Any:
        yield qa(q)

    def nothing() -> Any:
        return None

    def starred(q: Question, *more: Any) -> Any:
        return qa(q)

    bad: Any = {"async": waits, "yield": yields, "none": nothing, "args": starred, "no function": qa}[wrong]
    with pytest.raises(ChainError):
        chain(bad)


def test_a_traced_chain_in_another_keeps_its_name_and_may_be_named_anew():
    @chain
    def twice(n: Number) -> Number:
        return apply(inc, id="two")(apply(inc, id="one")(n))

    @chain
    def c(n: Number) -> Number:
        return twice(twice(n), id="again")

    graph, problems = build(c)
    assert problems == []
    assert [node.id for node in graph.shown] == ["twice/one", "twice/two", "again/one", "again/two"]
    assert isinstance(c.steps[1], TracedChain)


def test_a_line_of_operators_is_no_node_for_a_row():
    def c(q: Question) -> Answer:
        return (qa >> fr)(q)

    assert 'line.to_chain("name")(row)' in refusal(c)


def test_nothing_that_is_used_is_changed():
    before = vars(qa).copy()

    @chain
    def c(q: Question) -> Answer:
        return qa(q, id="other")

    assert c.steps[0].id == "other"
    assert vars(qa) == before
