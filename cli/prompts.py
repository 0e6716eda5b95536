"""A step's prompts rendered once more from what the run folder holds. Knows `graph.json` and rows, not the chain."""

from __future__ import annotations

from typing import Any

from chainette.cli.drawing import flat, last_node, tree_lines
from chainette.cli.wording import PLAIN

Rows = list[dict[str, Any]]


def rendered(
    graph: dict[str, Any], node: dict[str, Any], row_id: str, source: dict[str, Any], rows: dict[str, Rows]
) -> list[tuple[str, str]] | None:
    """(role, text) of each message, or None where the folder does not hold enough to say.

    `rows` are the row's rows at every node. It is what the templates say now of the values on disk; types that were
    cast on their way into the step may have read differently.
    """
    from jinja2 import TemplateError

    from chainette.prompts.environment import as_text, make_environment, to_json

    def text_of(value: Any) -> Any:
        # What was a model when it was sent is an object on disk.
        objects = value if isinstance(value, list) else [value]
        return to_json(value) if objects and all(isinstance(o, dict) for o in objects) else as_text(value)

    environment = make_environment()
    environment.finalize = text_of
    scope = _scope(graph, node, row_id, source, rows)
    try:
        messages = [(role, environment.from_string(text).render(scope)) for role, text in _templates(node)]
    except (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError):
        return None
    return _instructed(messages, node)


def _templates(node: dict[str, Any]) -> list[tuple[str, str]]:
    user = node.get("user_prompt") or ""
    system = [("system", str(node["system_prompt"]))] if node.get("system_prompt") else []
    if isinstance(user, list):
        return [*system, *((str(m.get("role")), str(m.get("content"))) for m in user)]
    return [*system, ("user", str(user))]


def _instructed(messages: list[tuple[str, str]], node: dict[str, Any]) -> list[tuple[str, str]]:
    from chainette.prompts import FORMAT_INSTRUCTION
    from chainette.prompts.environment import to_json

    said = node.get("output_format_instruction")
    instruction = FORMAT_INSTRUCTION + to_json(node.get("schema")) if said is None else said
    if not instruction:
        return messages
    if messages[0][0] != "system":
        return [("system", instruction), *messages]
    text = messages[0][1]
    return [("system", f"{text}\n\n{instruction}" if text else instruction), *messages[1:]]


def _scope(
    graph: dict[str, Any], node: dict[str, Any], row_id: str, source: dict[str, Any], rows: dict[str, Rows]
) -> dict[str, Any]:
    """The names a template sees, the nearer over the farther."""
    from chainette.graph.build import identifier

    before = {line.node: line.before for line in tree_lines(graph.get("outline"), PLAIN) if line.node}
    joins = {n["id"] for n in graph.get("nodes", []) if n.get("type") == "join"}
    scope: dict[str, Any] = {"chain_input": _value(source), "row_id": row_id}
    scope |= {identifier(id_): _values(found) for id_, found in rows.items() if found and id_ != node["id"]}
    aliases = {alias: _values(rows[last]) for alias, last in _aliases(graph.get("outline")) if rows.get(last)}
    scope |= aliases
    above = before.get(node["id"])
    while above is not None and above in joins:
        above = before.get(above)
    entering = _value(source) if above is None else _values(rows.get(above) or [{}])
    for alias, value in aliases.items():
        if str(node.get("intake", "")).startswith(f'takes "{alias}"'):
            entering = value
    return {**scope, **(entering if isinstance(entering, dict) else {})}


def _aliases(items: Any) -> list[tuple[str, str]]:
    """(alias, last node) of every joined branch."""
    found: list[tuple[str, str]] = []
    for item in flat(items):
        for branch in item.get("branches", []) if isinstance(item, dict) else []:
            found += _aliases(branch.get("items"))
            last = last_node(branch.get("items"))
            if branch.get("alias") and last is not None:
                found.append((str(branch["alias"]), last))
    return found


def _values(rows: Rows) -> Any:
    return _value(rows[0]) if len(rows) == 1 else [_value(row) for row in rows]


def _value(row: dict[str, Any]) -> Any:
    fields = {key: _recorded(value) for key, value in row.items() if key != "_id"}
    return fields["value"] if fields.keys() == {"value"} else _Record(fields)


def _recorded(value: Any) -> Any:
    if isinstance(value, list):
        return [_recorded(item) for item in value]
    return _Record({key: _recorded(item) for key, item in value.items()}) if isinstance(value, dict) else value


class _Record(dict[str, Any]):
    """A row's object, read as the model was that made it: a field called `items` is the field, no method."""

    def __getattribute__(self, name: str) -> Any:
        return self[name] if not name.startswith("_") and name in self else super().__getattribute__(name)
