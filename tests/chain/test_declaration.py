from __future__ import annotations

import functools

import pytest
from pydantic import BaseModel

from chainette import Branch, Chain, ChainError, SamplingParams, Step, apply, register_engine
from tests.models import Answer, Number, Question, step


def shape_of(fn, **options):
    return apply(fn, **options).shape


def test_a_step_needs_an_id_models_and_a_prompt_and_says_all_that_is_wrong():
    with pytest.raises(ChainError) as error:
        Step(id=" ", input_model=dict, output_model=Answer, user_prompt="")
    assert len(error.value.problems) == 3


def test_with_gives_a_changed_copy_and_leaves_the_step_as_it_was():
    qa = step("qa", Question, Answer)
    other = qa.with_(id="qa2", retries=5)
    assert (qa.id, qa.retries) == ("qa", 2)
    assert (other.id, other.retries) == ("qa2", 5)


def test_with_names_the_nearest_field():
    with pytest.raises(ChainError, match='did you mean "user_prompt"'):
        step("qa", Question, Answer).with_(user_promt="x")


def test_what_a_user_hands_in_can_change_later_without_changing_the_step():
    metadata, steps = {"owner": "me"}, [step("qa", Question, Answer)]
    qa, chain = step("qa", Question, Answer, metadata=metadata), Chain(name="c", steps=steps)
    metadata["owner"] = "you"
    steps.clear()
    assert qa.metadata["owner"] == "me"
    assert len(chain.steps) == 1


def test_an_unknown_sampling_field_is_refused_with_the_nearest_name():
    with pytest.raises(ChainError, match='did you mean "temperature"'):
        SamplingParams(temprature=0.2)


def test_a_sampling_value_out_of_range_is_refused():
    with pytest.raises(ChainError, match="top_p"):
        SamplingParams(top_p=1.5)


def test_an_unknown_engine_key_is_refused_with_the_nearest_name():
    with pytest.raises(ChainError, match='did you mean "gpu_memory_utilization"'):
        register_engine(name="x", model="m", gpu_memory_utilisation=0.5)


def test_list_to_list_works_on_a_chunk():
    def keep(items: list[Answer]) -> list[Answer]:
        return items

    shape = shape_of(keep)
    assert (shape.takes, shape.makes, shape.input_type, shape.output_type) == ("list", "list", Answer, Answer)


def test_one_to_one_maps_and_one_to_optional_filters_and_one_to_list_expands():
    def double(n: Number) -> Number: ...
    def positive(n: Number) -> Number | None: ...
    def split(q: Question) -> list[Answer]: ...

    assert shape_of(double).makes == "one"
    assert (shape_of(positive).makes, shape_of(positive).output_type) == ("maybe", Number)
    assert (shape_of(split).makes, shape_of(split).output_type) == ("many", Answer)


def test_a_generator_expands_and_an_async_function_is_known_as_such():
    def pieces(q: Question):
        yield q

    async def fetch(q: Question) -> Answer: ...

    assert shape_of(pieces).makes == "many"
    assert (shape_of(fetch).is_async, shape_of(fetch).makes) == (True, "one")


def test_a_function_without_annotations_gets_the_list():
    shape = shape_of(lambda items: items)
    assert (shape.takes, shape.makes, shape.declared) == ("list", "list", False)


def test_models_can_stand_in_for_annotations():
    shape = shape_of(lambda items: items, input_model=Question, output_model=Answer)
    assert (shape.input_type, shape.output_type) == (Question, Answer)


def test_a_partial_and_a_callable_object_are_functions_too():
    def scale(n: Number, factor: int = 2) -> Number: ...

    class Doubler:
        def __call__(self, n: Number) -> Number: ...

    assert apply(functools.partial(scale, factor=3)).id == "scale"
    assert apply(Doubler()).shape.input_type is Number


def test_a_function_of_two_arguments_is_refused():
    with pytest.raises(ChainError, match="must take one argument"):
        apply(lambda a, b: a)


def test_something_that_is_no_function_is_refused():
    with pytest.raises(ChainError, match="needs a function"):
        apply(42)


def test_join_gives_a_copy_and_refuses_an_alias_no_template_can_use():
    branch = Branch(name="fr", steps=[step("t", Question, Answer)])
    assert branch.join("french").alias == "french"
    assert branch.alias is None
    with pytest.raises(ChainError, match="cannot be used in a template"):
        branch.join("my alias")


def test_a_chain_wants_a_list_of_steps():
    with pytest.raises(ChainError, match="steps must be a list"):
        Chain(name="c", steps=step("qa", Question, Answer))


def test_models_defined_inside_functions_can_be_annotated():
    class Local(BaseModel):
        x: int

    def keep(items: list[Number]) -> list[Number]:
        return items

    assert step("s", Local, Local, "{{ x }}").input_model is Local
    assert apply(keep).shape.input_type is Number
