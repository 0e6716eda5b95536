from __future__ import annotations

from pydantic import BaseModel

from chainette import Branch, Chain, apply
from chainette.graph import build
from tests.models import Answer, Number, Question, Summary, Translation, step


class Loose(BaseModel):
    answer: str


class Both(BaseModel):
    fr: Translation
    es: Translation
    text: str


def problems_of(*steps, severity="error"):
    return [str(p) for p in build(Chain(name="c", steps=list(steps)))[1] if p.severity == severity]


def node_of(id, *steps):
    return build(Chain(name="c", steps=list(steps)))[0].by_id(id)


def french(**fields):
    return Branch(name="fr", steps=[step("to_fr", Question, Translation, **fields)])


def spanish():
    return Branch(name="es", steps=[step("to_es", Question, Translation)])


def same(items):
    return items


def test_an_empty_chain_is_an_error():
    assert problems_of() == ['chain "c": has no steps']


def test_two_steps_with_one_id_are_an_error_also_when_they_differ_in_spelling():
    found = problems_of(step("qa", Question, Question), step("qa", Question, Question), step("Q-A", Question, Question))
    assert any("a second node with this id" in p for p in found)
    found = problems_of(step("my-step", Question, Question), step("My_Step", Question, Question))
    assert found == ['step "My_Step": differs from "my-step" only in spelling (ids must differ in letters)']


def test_applies_that_share_a_function_are_numbered():
    assert problems_of(apply(same), apply(same)) == []
    assert node_of("same_2", apply(same), apply(same)) is not None


def test_types_that_do_not_fit_name_both_ends_and_the_missing_field():
    found = problems_of(step("a", Question, Answer), step("b", Translation, Summary))
    assert found == ['step "b": takes Translation, but step "a" gives Answer: Answer has no translated']


def test_every_problem_is_reported_in_one_pass():
    found = problems_of(step("a", Question, Answer), step("b", Translation, Summary), step("a", Number, Number), 42)
    assert len(found) == 4


def test_a_subclass_fits_and_a_castable_model_is_cast():
    class Sure(Answer):
        pass

    assert node_of("b", step("a", Question, Sure), step("b", Answer, Summary)).intake.cast is False
    assert node_of("b", step("a", Question, Answer), step("b", Loose, Summary)).intake.cast is True


def test_an_apply_whose_annotations_do_not_fit_is_an_error():
    def count(n: Number) -> Number:
        return n

    assert "takes Number, but step" in problems_of(step("a", Question, Answer), apply(count))[0]


def test_a_bare_function_in_steps_is_told_about_apply():
    assert "apply(same)" in problems_of(same)[0]


def test_steps_in_a_list_inside_steps_are_told_about_branch():
    assert "holds branches" in problems_of([step("a", Question, Answer)])[0]


def test_a_branch_without_steps_is_an_error():
    assert 'branch "fr": has no steps' in problems_of(Branch(name="fr", steps=[]))


def test_two_branches_with_one_alias_are_an_error():
    other = Branch(name="other", steps=[step("x", Question, Translation)]).join("fr")
    assert any('a second branch joined as "fr"' in p for p in problems_of([french().join("fr"), other]))


def test_after_a_group_the_main_line_goes_on_with_what_it_had():
    node = node_of("s", [french().join("fr"), spanish()], step("s", Question, Summary))
    assert node.intake.how == "value"


def test_after_a_group_a_step_may_take_a_joined_type():
    node = node_of("s", [french().join("fr")], step("s", Translation, Summary, "x"))
    assert (node.intake.how, node.intake.alias) == ("alias", "fr")


def test_after_a_group_a_model_may_be_drawn_from_aliases_and_the_rows_own_fields():
    node = node_of("s", [french().join("fr"), spanish().join("es")], step("s", Both, Summary))
    assert node.intake.fields == {"fr": ("alias", "fr"), "es": ("alias", "es"), "text": ("row", "text")}


def test_two_joined_branches_of_one_type_are_a_warning_that_says_which_is_taken():
    group = [french().join("fr"), spanish().join("es")]
    found = problems_of(group, step("s", Translation, Summary, "x"), severity="warning")
    assert 'the row is that of "fr"' in found[0]


def test_an_alias_that_hides_a_step_is_a_warning():
    found = problems_of(step("fr", Question, Question), [french().join("fr")], severity="warning")
    assert 'the alias "fr" hides step "fr"' in found[0]


def test_a_chain_that_contains_itself_is_an_error():
    inner = Chain(name="inner", steps=[step("a", Question, Question)])
    object.__setattr__(inner, "steps", (inner,))
    assert any("contains itself" in p for p in problems_of(inner))


def test_steps_of_a_chain_in_a_chain_carry_its_name():
    inner = Chain(name="inner", steps=[step("a", Question, Answer)])
    assert node_of("inner/a", inner) is not None


def test_an_id_cannot_leave_its_folder():
    assert any("cannot contain" in p for p in problems_of(step("../../etc", Question, Answer)))


def test_the_same_chain_has_the_same_signature_and_a_changed_prompt_another():
    one = build(Chain(name="c", steps=[step("a", Question, Answer)]))[0]
    two = build(Chain(name="c", steps=[step("a", Question, Answer)]))[0]
    three = build(Chain(name="c", steps=[step("a", Question, Answer, "Now: {{ text }}")]))[0]
    assert one.signature == two.signature != three.signature


def test_what_a_function_is_bound_to_is_part_of_its_signature():
    import functools

    def add(n: Number, by: int = 1) -> Number:
        return Number(value=n.value + by)

    def signature(fn):
        return build(Chain(name="c", steps=[apply(fn)]))[0].signature

    assert signature(functools.partial(add, by=1)) == signature(functools.partial(add, by=1))
    assert signature(functools.partial(add, by=1)) != signature(functools.partial(add, by=2))


def test_the_entries_of_branches_are_heard_of_by_nobody():
    graph = build(Chain(name="c", steps=[[french().join("fr")], step("s", Question, Summary)]))[0]
    assert graph.arrows() == [
        ("chain_input", "to_fr"),
        ("chain_input", "join_fr"),
        ("to_fr", "join_fr"),
        ("join_fr", "s"),
    ]
