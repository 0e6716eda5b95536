"""Whether a file has the form of a chain, and what is wrong with it, in words without pydantic's."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from chainette.chain.yaml_document import At, Document
from chainette.chain.yaml_format import FORM_OF, ChainForm
from chainette.errors import nearest


def check_form(document: Document) -> None:
    """What has not the form of a chain is in the document's problems, and where in its misfits."""
    if document.data is None:
        document.say((), "is empty", "name: …, steps: […]")
        document.misfits.append(())
    elif not isinstance(document.data, dict):
        hint = "one chain a file: name: …, steps: […]"
        document.say((), f"must be a mapping with `name` and `steps`, not a {_kind(document.data)}", hint)
        document.misfits.append(())
    else:
        try:
            ChainForm.model_validate(document.data)
        except ValidationError as error:
            _say(document, [dict(one) for one in error.errors(include_url=False)])


def _say(document: Document, errors: list[dict[str, Any]]) -> None:
    """Pydantic's errors in our words: one for each place, without the arms of its unions."""
    values: dict[At, list[str]] = {}
    given: dict[At, Any] = {}
    unknown: dict[At, tuple[str, str]] = {}
    missing: list[tuple[At, str]] = []
    for error in errors:
        at, form = _place(document.data, error["loc"])
        if error["type"] == "missing":
            missing.append((at, str(error["loc"][-1])))
        elif error["type"] == "extra_forbidden":
            unknown[at] = (str(at[-1]), nearest(str(at[-1]), form.model_fields))
        else:
            values.setdefault(at, []).append(_wanted(error))
            given[at] = error["input"]
    document.misfits += [*unknown, *values, *((*at, key) for at, key in missing)]
    meant = {(at[:-1], hint) for at, (_, hint) in unknown.items()}
    for at, (key, hint) in unknown.items():
        document.say(at, f'no such key "{key}"' if isinstance(at[-1], str) else f"no such key {at[-1]!r}", hint)
    for at, key in missing:
        if (at, f'did you mean "{key}"?') not in meant:
            document.say(at, f"needs `{key}`")
    for at, wanted in values.items():
        if at in document.unread:
            continue
        document.say(at, f"must be {' or '.join(dict.fromkeys(wanted))}, not {_shown(given[at])}")


def _place(data: Any, loc: tuple[Any, ...]) -> tuple[At, type[BaseModel]]:
    """Where in the file an error is, and the form that stands there. `loc` names arms of unions in between."""
    at: list[Any] = []
    form: type[BaseModel] = ChainForm
    for part in loc:
        if isinstance(part, str) and part.startswith("<"):
            form = FORM_OF.get(part[1:-1], form)
            continue
        held = part in data if isinstance(data, dict) else isinstance(data, list) and isinstance(part, int)
        if held:
            data = data[part]
            at.append(part)
    return tuple(at), form


_WANTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "too_short": "one with something in it",
    "union_tag_invalid": "something else",
}
_ARMS = {
    "takes": "an alias or field: alias",
    "user_prompt": "a template or a list of messages",
    "init": "a value",
    "engines": "an engine's block or its name",
}


def _wanted(error: dict[str, Any]) -> str:
    kind = error["type"]
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        names = [part for part in error["loc"] if isinstance(part, str) and not part.startswith("<")]
        if names[-1:] and names[-1] in _ARMS:
            return _ARMS[names[-1]]
        last = next(
            (part for part in reversed(error["loc"]) if part in ("<fields>", "input_model", "output_model")), ""
        )
        if last or names[:1] == ["models"]:
            return "a type or a mapping of fields"
        return "a step: a mapping, module:name, or a list of branches"
    if kind == "literal_error":
        return str(error["ctx"]["expected"]).replace("'", '"').replace("True", "true")
    return _WANTED.get(kind) or str(error["msg"]).replace("Input should be ", "")


def _kind(value: Any) -> str:
    return "list" if isinstance(value, list) else "text" if isinstance(value, str) else "plain value"


def _shown(value: Any) -> str:
    if value is None:
        return "empty"
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
