"""A step's prompts rendered once more from what the run folder holds. Knows `graph.json` and rows, not the chain."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from chainette.reports.outline import flat, last_node, ways_of
from chainette.reports.sight import Entering, Rows, Sight, turns_of

if TYPE_CHECKING:
    from jinja2 import Template

OURS = ("_id", "_turn")
"""What stands in a row beside its fields."""
_LONGEST = 2_000
"""Characters of a picture's path or URL."""


def rendered(
    graph: dict[str, Any], node: dict[str, Any], row_id: str, source: dict[str, Any], sight: Sight
) -> list[tuple[str, str]] | None:
    """(role, text) of each message, or None where the folder does not hold enough to say.

    `sight` is what the step saw of the row. The text is what the templates say now of the values on disk; types that
    were cast on their way into the step may have read differently.
    """
    from jinja2 import TemplateError

    scope, _ = _scope(graph, node, row_id, source, sight)
    if lost(graph, node, row_id, source, sight):
        return None
    try:
        messages = [(role, _compiled(text).render(scope)) for role, text in _templates(node)]
    except (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError):
        return None
    return _instructed(messages, node)


@lru_cache(maxsize=256)
def _compiled(text: str) -> Template:
    """To compile a template takes ten times as long as to render it, and all rows of a step have the same."""
    from chainette.prompts.environment import as_text, make_environment, to_json

    def text_of(value: Any) -> Any:
        # What was a model when it was sent is an object on disk.
        objects = value if isinstance(value, list) else [value]
        return to_json(value) if objects and all(isinstance(o, dict) for o in objects) else as_text(value)

    environment = make_environment()
    environment.finalize = text_of
    return environment.from_string(text)


def image_names(
    graph: dict[str, Any], node: dict[str, Any], row_id: str, source: dict[str, Any], sight: Sight
) -> list[str]:
    """The pictures that went with the last message: paths and URLs as they are, others by their type and size."""
    field = node.get("images")
    if not field:
        return []
    scope, _ = _scope(graph, node, row_id, source, sight)
    return [_picture(value) for value in _pictures(scope.get(str(field)))]


def _pictures(value: Any) -> list[Any]:
    if value is None:
        return []
    return [one for item in value for one in _pictures(item)] if isinstance(value, list) else [value]


def _picture(value: Any) -> str:
    text = str(value)
    if not text.startswith("data:"):
        return text[:_LONGEST]
    kind, _, content = text.partition(",")
    return f"{kind[:100]}, {len(content) * 3 // 4:,} bytes"


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
    return sorted({name for _, text in _templates(node) for name in _names_in(text)})


@lru_cache(maxsize=256)
def _names_in(text: str) -> frozenset[str]:
    from jinja2 import TemplateError, meta

    from chainette.prompts.environment import make_environment

    try:
        return frozenset(meta.find_undeclared_variables(make_environment().parse(text)))
    except TemplateError:
        return frozenset()


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
