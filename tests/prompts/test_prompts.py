from __future__ import annotations

import base64

import pytest
from pydantic import BaseModel

from chainette import Branch, Chain, apply
from chainette.graph import build
from chainette.prompts import compile_prompts
from chainette.prompts.compiled import PromptError
from chainette.rows import Row
from tests.models import Answer, Question, Summary, Translation, step


class Picture(BaseModel):
    image: str
    note: str | None = None


def compiled(*steps):
    graph, _ = build(Chain(name="c", steps=list(steps)))
    prompts, problems = compile_prompts(graph)
    return graph, prompts, [str(p) for p in problems if p.severity == "error"], problems


def render(decl, value, **row):
    graph, prompts, errors, _ = compiled(decl)
    assert not errors
    return prompts[graph.by_id(decl.id).index].messages(Row("17", (17,), value, 0, None), value)


def test_fields_the_chain_input_and_the_row_id_are_in_scope():
    decl = step(
        "qa", Question, Answer, "{{ row_id }}: {{ text }} = {{ chain_input.text }}", output_format_instruction=""
    )
    assert render(decl, Question(text="é{{ 1 }}")) == [{"role": "user", "content": "17: é{{ 1 }} = é{{ 1 }}"}]


def test_the_schema_is_added_to_the_system_prompt_unless_told_otherwise():
    with_schema = render(step("qa", Question, Answer, system_prompt="Be brief."), Question(text="x"))
    assert with_schema[0]["content"].startswith("Be brief.\n\n")
    assert '"confidence"' in with_schema[0]["content"]
    own = step("qa", Question, Answer, system_prompt="Be brief.", output_format_instruction="As JSON {x}.")
    assert render(own, Question(text="x"))[0]["content"] == "Be brief.\n\nAs JSON {x}."


def test_few_shot_messages_keep_their_order_and_roles():
    shots = [
        {"role": "user", "content": "2+2"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "{{ text }}"},
    ]
    messages = render(step("qa", Question, Answer, shots, output_format_instruction=""), Question(text="3+3"))
    assert [m["role"] for m in messages] == ["user", "assistant", "user"]
    assert messages[-1]["content"] == "3+3"


def test_an_unknown_name_is_an_error_with_the_nearest_name():
    assert 'did you mean "text"' in compiled(step("qa", Question, Answer, "{{ txt }}"))[2][0]


def test_an_unknown_field_of_an_earlier_step_is_an_error_with_the_nearest_name():
    errors = compiled(step("qa", Question, Answer), step("s", Answer, Summary, "{{ qa.answr }}"))[2]
    assert errors == ['step "s" user_prompt: qa has no field "answr" (did you mean "answer"?)']


def test_a_syntax_error_and_an_unknown_filter_name_their_line():
    assert "line 2" in compiled(step("qa", Question, Answer, "a\n{{ text"))[2][0]
    assert 'no filter "uper" (did you mean "upper"?)' in compiled(step("qa", Question, Answer, "{{ text|uper }}"))[2][0]


def test_a_name_in_a_branch_that_is_not_joined_is_out_of_reach_and_says_so():
    branch = Branch(name="fr", steps=[step("to_fr", Question, Translation)])
    errors = compiled([branch], step("s", Question, Summary, "{{ to_fr.translated }}"))[2]
    assert 'it is in branch "fr", which is not joined' in errors[0]


def test_a_step_inside_a_joined_branch_is_in_reach_by_its_id():
    branch = Branch(name="fr", steps=[step("to_fr", Question, Translation)]).join("fr")
    assert compiled([branch], step("s", Question, Summary, "{{ to_fr.translated }} {{ fr.translated }}"))[2] == []


def test_an_expanded_branch_is_a_list_under_its_alias():
    def split(q: Question) -> list[Question]:
        return [q]

    branch = Branch(name="parts", steps=[apply(split)]).join("parts")
    assert "{% for item in parts %}" in compiled([branch], step("s", Question, Summary, "{{ parts.text }}"))[2][0]
    assert compiled([branch], step("s", Question, Summary, "{% for p in parts %}{{ p.text }}{% endfor %}"))[2] == []


def test_a_field_that_hides_a_step_is_a_warning():
    _, _, errors, problems = compiled(step("summary", Question, Summary), step("s", Summary, Answer, "{{ summary }}"))
    assert errors == []
    assert 'it hides step "summary"' in str(problems[0])


def test_templates_cannot_leave_the_sandbox():
    decl = step("qa", Question, Answer, "{{ text.__class__.__mro__ }}", output_format_instruction="")
    with pytest.raises(PromptError):
        render(decl, Question(text="x"))


def test_a_none_in_the_way_fails_the_row_and_not_the_run():
    decl = step("qa", Picture, Answer, "{{ note.upper() }}", output_format_instruction="")
    with pytest.raises(PromptError):
        render(decl, Picture(image="x.png"))


def test_a_model_in_a_prompt_is_its_json():
    decl = step("qa", Question, Answer, "{{ chain_input }}", output_format_instruction="")
    assert render(decl, Question(text="é"))[0]["content"] == '{"text":"é"}'


def test_pictures_go_as_content_parts(tmp_path):
    file = tmp_path / "a.jpg"
    file.write_bytes(b"\xff\xd8data")
    decl = step("look", Picture, Answer, "What is it?", images="image", output_format_instruction="")
    text, picture = render(decl, Picture(image=str(file)))[0]["content"]
    assert text == {"type": "text", "text": "What is it?"}
    assert picture["image_url"]["url"] == "data:image/jpeg;base64," + base64.b64encode(b"\xff\xd8data").decode()


def test_a_picture_that_is_not_there_fails_the_row():
    decl = step("look", Picture, Answer, "What is it?", images="image")
    with pytest.raises(PromptError, match=r"missing\.png"):
        render(decl, Picture(image="missing.png"))
