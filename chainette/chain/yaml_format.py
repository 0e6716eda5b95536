"""What may stand in a chain file, as pydantic models: they refuse what does not fit and give the JSON Schema for
editors. Does not know what the words mean."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    Tag,
    create_model,
)
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import CoreSchema
from typing_extensions import TypeAliasType

from chainette.chain.apply import apply
from chainette.errors import nearest
from chainette.specs import EngineSpec, SamplingParams


def _either(kind: Callable[[Any], str | None], **arms: Any) -> Any:
    """A union of which `kind` says the arm, so that errors speak of one arm only."""
    tagged = tuple(Annotated[arm, Tag(f"<{name}>")] for name, arm in arms.items())
    return Annotated[Union[tagged], Discriminator(lambda value: None if (k := kind(value)) is None else f"<{k}>")]  # noqa: UP007


def _by_type(**arms: str) -> Callable[[Any], str | None]:
    """`text`, `list` and `mapping` are the kinds of values; what is said for one is the arm's name."""
    kinds: dict[type, str] = {str: arms.get("text", "text"), list: arms.get("list", "list"), dict: arms["mapping"]}
    return lambda value: kinds.get(type(value))


class _Like:
    """Says to editors what another model takes; what the values are is checked where that model is made."""

    def __init__(self, model: type[BaseModel], required: list[str], open_: bool) -> None:
        self.model, self.required, self.open = model, required, open_

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        found = handler(self.model.__pydantic_core_schema__)
        schema = handler.resolve_ref_schema(found)
        schema["description"] = str(schema.get("description", "")).partition("\n")[0]
        schema["additionalProperties"] = self.open
        schema["required"] = self.required
        return found


class Form(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, use_attribute_docstrings=True, protected_namespaces=(), regex_engine="python-re"
    )


class FieldForm(Form):
    """One field of a model."""

    type: str | None = None
    """`str`, `list[str]`, `str | None`, an entry of `models`, `module:Class`."""
    enum: list[str | int | float | bool | None] | None = Field(None, min_length=1)
    """The only values there are."""
    default: Any = None
    description: str | None = None
    """Goes into the schema that the model of the engine sees."""
    title: str | None = None
    examples: list[Any] | None = None
    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None
    multiple_of: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None


# What the types of the fields below are is made at run time, and nothing but pydantic reads it.
if TYPE_CHECKING:
    TypeForm: TypeAlias = Any
    Sampling: TypeAlias = Any
    Engine: TypeAlias = Any
    Prompt: TypeAlias = Any
    Takes: TypeAlias = Any
    First: TypeAlias = Any
    Item: TypeAlias = Any
    Steps: TypeAlias = Any
else:
    FieldMapForm = dict[str, _either(_by_type(mapping="field"), text=str, field=FieldForm)]
    TypeForm = TypeAliasType("TypeForm", _either(_by_type(mapping="fields"), text=str, fields=FieldMapForm))
    Sampling = Annotated[dict[str, Any], _Like(SamplingParams, [], False)]
    Engine = _either(
        _by_type(mapping="engine"), text=str, engine=Annotated[dict[str, Any], _Like(EngineSpec, ["name"], True)]
    )
    Prompt = _either(_by_type(list="messages", mapping="none"), text=str, messages="list[MessageForm]")
    Takes = _either(_by_type(mapping="drawn"), text=str, drawn=dict[str, str])
    First = _either(
        lambda value: "valued" if isinstance(value, dict) else "plain",
        valued="ValueForm",
        plain=str | int | float | bool | list[Any] | None,
    )


class MessageForm(Form):
    """One message of a few-shot prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


class NodeForm(Form):
    takes: Takes | None = None
    """The alias whose value is worked on, or field: alias; "" is the main line's row. Left out: found by type."""


class StepForm(NodeForm):
    """One LLM task."""

    id: str
    input_model: TypeForm
    output_model: TypeForm
    user_prompt: Prompt
    """A Jinja2 template, or messages."""
    name: str = ""
    engine_name: str | None = None
    sampling: Sampling = {}
    system_prompt: str = ""
    output_format_instruction: str | None = None
    """Added to the system prompt. Left out: the JSON schema; "": nothing."""
    emoji: str = ""
    yield_output: bool = True
    """false: not written to steps/, still visible to templates."""
    n: int | None = None
    """Answers per row."""
    retries: int = 2
    timeout_s: float | None = None
    priority: int = 0
    metadata: dict[str, Any] = {}
    lora: str | None = None
    images: str | None = None
    """Field of the input with an image or a list of them."""


class ReferenceForm(NodeForm):
    """What is declared in Python: a step, apply, branch, chain or control flow."""

    step: str
    """`module:name` or `./file.py:name`."""


class BranchForm(Form):
    """Steps beside the main line."""

    branch: str
    steps: list[Item]
    join: str | Literal[True] | None = None
    """The alias of its last output in every later template; true: the branch's name."""
    missing: Literal["fail", "none"] = "fail"
    """What happens to a row that the branch has no value for."""


class ChainInside(NodeForm):
    """A chain in the chain; its steps appear as name/step."""

    chain: str
    steps: list[Item]
    input_model: TypeForm | None = None
    chunk_size: int | None = None
    deadline_s: float | None = None
    metadata: dict[str, Any] = {}


class ControlForm(NodeForm):
    id: str | None = None
    name: str = ""
    emoji: str = ""


class CondForm(ControlForm):
    """Rows for which a predicate holds go one way, the others another."""

    cond: str
    """`module:predicate`, or the name of a field."""
    then: Steps
    otherwise: Steps = []
    output_model: TypeForm | None = None
    metadata: dict[str, Any] = {}


class SwitchForm(ControlForm):
    """Each row goes through the steps of the case its key names."""

    switch: str
    """`module:function`, or the name of a field."""
    cases: dict[Any, Steps] = Field(min_length=1)
    default: Steps | None = None
    """Left out: a row whose key is no case fails."""
    output_model: TypeForm | None = None
    metadata: dict[str, Any] = {}


class LoopForm(ControlForm):
    """Each row goes through the steps until it is done."""

    while_loop: Steps
    until: str
    """`module:predicate`, or the name of a field."""
    max_iterations: int = 3
    at_least_once: bool = False
    feed: Literal["result", "input"] = "result"
    keep: Literal["last", "all"] = "last"
    metadata: dict[str, Any] = {}


class ValueForm(Form):
    """A value, of a model where one is named."""

    value: Any
    model: TypeForm | None = None


class ScanForm(ControlForm):
    """A carry on its way through the list in a field, or through the rows."""

    scan: Steps
    """Steps, or `module:function` of (carry, item)."""
    over: str | None
    """The field with the list; null: through the rows."""
    init: First
    """The first carry: a value, `module:name`, or {model: …, value: …}."""
    keep: Literal["last", "all"] = "last"
    metadata: dict[str, Any] = {}


class DelayForm(ControlForm):
    """Each row waits here."""

    delay: float
    """Seconds."""


class GatherForm(ControlForm):
    """The children of a row back to one."""

    gather: str | None
    """The alias of the list; null: the list is the row."""
    missing: Literal["fail", "skip"] = "fail"


def _of_apply() -> type[BaseModel]:
    """The keyword arguments of `apply`, as they are there."""
    hints = typing.get_type_hints(apply)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(apply).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        type_: Any = TypeForm | None if name.endswith("_model") else hints[name]
        if name == "metadata":
            type_ = dict[str, Any] | None
        fields[name] = (type_, parameter.default)
    about = "A Python function in the chain."
    return create_model("ApplyForm", __base__=_ApplyBase, __doc__=about, __module__=__name__, **fields)


class _ApplyBase(NodeForm):
    apply: str
    """`module:function` or `module:Class`."""
    bind: dict[str, Any] = {}
    """Arguments bound to the function, or that the class is built with."""


ApplyForm = _of_apply()

FORMS: dict[str, type[BaseModel]] = {
    "step": ReferenceForm,
    "apply": ApplyForm,
    "branch": BranchForm,
    "chain": ChainInside,
    "cond": CondForm,
    "switch": SwitchForm,
    "while_loop": LoopForm,
    "scan": ScanForm,
    "delay": DelayForm,
    "gather": GatherForm,
}
"""What a mapping in `steps` is, by the key that it has; a step where it has none of these."""


def kind_of(item: Any) -> str | None:
    """Which arm of `Item` it is; None: none."""
    if not isinstance(item, dict):
        return "text" if isinstance(item, str) else "branches" if isinstance(item, list) else None
    for key in FORMS:
        if key in item:
            return key
    if not item.keys() & {"id", "user_prompt", "input_model", "output_model"}:
        meant = [key for word in item if isinstance(word, str) and (key := _nearest_form(word))]
        if meant:
            return meant[0]
    return "inline"


def _nearest_form(word: str) -> str:
    hint = nearest(word, FORMS)
    return hint.split('"')[1] if hint.startswith("did you mean") else ""


if not TYPE_CHECKING:
    Item = TypeAliasType("Item", _either(kind_of, text=str, branches="list[BranchForm]", inline=StepForm, **FORMS))
    Steps = TypeAliasType(
        "Steps",
        _either(
            lambda value: "several" if isinstance(value, list) else "one",
            several=list[Item],
            one=_either(kind_of, text=str, inline=StepForm, **FORMS),
        ),
    )


class ChainForm(Form):
    """A chain: what `chainette run chain.yml` runs."""

    name: str
    steps: list[Item]
    input_model: TypeForm | None = None
    """The type of a row as it comes in. Left out: what the first node takes."""
    chunk_size: int | None = None
    deadline_s: float | None = None
    metadata: dict[str, Any] = {}
    models: dict[str, TypeForm] = {}
    """Models by name: `Name: {field: type}`, or `Name: module:Class`."""
    engines: list[Engine] = []
    """As in engines.yml, before which they come; or names of engines that it has."""


_all: list[type[BaseModel]] = [*FORMS.values(), StepForm, ChainForm]
for _form in _all:
    _form.model_rebuild()

FORM_OF: dict[str, type[BaseModel]] = {
    **FORMS,
    "inline": StepForm,
    "branches": BranchForm,
    "messages": MessageForm,
    "field": FieldForm,
    "valued": ValueForm,
}
"""Arm -> the form whose keys it has."""


class _Lean(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a chain file; `chain.schema.json` is this."""
    schema = ChainForm.model_json_schema(schema_generator=_Lean)
    return {"$schema": _Lean.schema_dialect, **schema, "title": "Chainette chain"}


def write_schema() -> None:
    """Writes `chain.schema.json` anew, where this file lies."""
    text = json.dumps(json_schema(), indent=2, ensure_ascii=False)
    Path(__file__).with_name("chain.schema.json").write_text(text + "\n", encoding="utf-8")
