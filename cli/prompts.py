"""A step's prompts rendered once more from what the run folder holds. Knows `graph.json` and rows, not the chain."""

from __future__ import annotations

from typing import Any

from chainette.cli.drawing import flat, last_node, ways_of
from chainette.cli.sight import Entering, Rows, Sight, turns_of

OURS = ("_id", "_turn")
"""What stands in a row beside its fields."""


def rendered(
    graph: dict[str, Any], node: dict[str, Any], row_id: str, source: dict[str, Any], sight: Sight
) -> list[tuple[str, str]] | None:
    """(role, text) of each message, or None where the folder does not hold enough to say.

    `sight` is what the step saw of the row. The text is what the templates say now of the values on disk; types that
    were cast on their way into the step may have read differently.
    """
    from jinja2 import TemplateError

    from chainette.prompts.environment import as_text, make_environment, to_json

    def text_of(value: Any) -> Any:
        # What was a model when it was sent is an object on disk.
        objects = value if isinstance(value, list) else [value]
        return to_json(value) if objects and all(isinstance(o, dict) for o in objects) else as_text(value)

    environment = make_environment()
    environment.finalize = text_of
    scope, _ = _scope(graph, node, row_id, source, sight)
    if lost(graph, node, row_id, source, sight):
        return None
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


def lost(graph: dict[str, Any], node: dict[str, Any], row_id: str, source: dict[str, Any], sight: Sight) -> list[str]:
    """The names in a step's templates whose values of that turn the folder does not hold any more."""
    from chainette.graph.scope import identifier

    scope, entering = _scope(graph, node, row_id, source, sight)
    gone = {identifier(id_) for id_ in sight.gone}
    names = _names(node)
    return [name for name in names if name in gone or (sight.turn and not entering and name not in scope)]


def _names(node: dict[str, Any]) -> list[str]:
    from jinja2 import TemplateError, meta

    from chainette.prompts.environment import make_environment

    environment = make_environment()
    found: set[str] = set()
    for _, text in _templates(node):
        try:
            found |= meta.find_undeclared_variables(environment.parse(text))
        except TemplateError:
            continue
    return sorted(found)


def _scope(
    graph: dict[str, Any], node: dict[str, Any], row_id: str, source: dict[str, Any], sight: Sight
) -> tuple[dict[str, Any], bool]:
    """The names a template sees, the nearer over the farther; and whether what entered the step is known."""
    from chainette.graph.scope import identifier

    rows = sight.rows
    scope: dict[str, Any] = {"chain_input": _value(source), "row_id": row_id}
    scope |= {identifier(id_): None for id_ in sight.not_yet}
    scope |= {
        identifier(id_): _values(found) for id_, found in rows.items() if found and (sight.turn or id_ != node["id"])
    }
    scope |= {"turn": sight.turn[-1]} if sight.turn else {}
    scope |= _turn_counts(graph, rows)
    aliases = {alias: _values(rows[last]) for alias, last in _aliases(graph.get("outline")) if rows.get(last)}
    scope |= aliases
    way = Entering(graph, source, sight)
    scope |= {identifier(id_): _values(made) for id_ in way.control_before(node["id"]) if (made := way.out_of(id_))}
    found = way.of(node["id"])
    entering = _values(found) if found else {}
    for alias, value in aliases.items():
        if str(node.get("intake", "")).startswith(f'takes "{alias}"'):
            entering = value
    return {**scope, **(entering if isinstance(entering, dict) else {})}, bool(found)


def _turn_counts(graph: dict[str, Any], rows: dict[str, Rows]) -> dict[str, int]:
    """`loop_turns`, by what the loop's nodes have of the row."""
    from chainette.graph.scope import identifier

    counts: dict[str, int] = {}
    for node in graph.get("nodes") or []:
        for loop, turn in zip(node.get("loops") or [], _last_turn(rows.get(node["id"]) or []), strict=False):
            name = f"{identifier(loop)}_turns"
            counts[name] = max(counts.get(name, 0), turn)
    return counts


def _last_turn(rows: Rows) -> tuple[int, ...]:
    return max(map(turns_of, rows), default=())


def _aliases(items: Any) -> list[tuple[str, str]]:
    """(alias, last node) of every joined branch."""
    found: list[tuple[str, str]] = []
    for item in flat(items):
        for branch in ways_of(item) if isinstance(item, dict) else []:
            found += _aliases(branch.get("items"))
            last = last_node(branch.get("items"))
            if branch.get("alias") and last is not None:
                found.append((str(branch["alias"]), last))
    return found


def _values(rows: Rows) -> Any:
    return _value(rows[0]) if len(rows) == 1 else [_value(row) for row in rows]


def _value(row: dict[str, Any]) -> Any:
    fields = {key: _recorded(value) for key, value in row.items() if key not in OURS}
    return fields["value"] if fields.keys() == {"value"} else _Record(fields)


def _recorded(value: Any) -> Any:
    if isinstance(value, list):
        return [_recorded(item) for item in value]
    return _Record({key: _recorded(item) for key, item in value.items()}) if isinstance(value, dict) else value


class _Record(dict[str, Any]):
    """A row's object, read as the model was that made it: a field called `items` is the field, no method."""

    def __getattribute__(self, name: str) -> Any:
        return self[name] if not name.startswith("_") and name in self else super().__getattribute__(name)
