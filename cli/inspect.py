"""`chainette inspect` and `inspect-dag`: a chain seen without engines. Knows the report, not how it is made."""

from __future__ import annotations

import shlex
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chainette.cli.target import Call, chain_target, load, pairs, refuse_empty

if TYPE_CHECKING:
    from rich.text import Text

    from chainette.cli.wording import Glyphs
    from chainette.reports.arrows import Arrow
    from chainette.run import RunOptions

Words = Annotated[
    list[str],
    typer.Argument(metavar="CHAIN", help="module:chain, file.py:chain, chain.yml, or FILE CHAIN.", show_default=False),
]
EnginesFile = Annotated[
    str | None,
    typer.Option("--engines", "-f", metavar="FILE", show_default=False, help="Default: the engines.yml here."),
]
Engine = Annotated[
    list[str] | None,
    typer.Option(metavar="STEP=NAME", show_default=False, help="Another engine for a step; several times."),
]
Param = Annotated[
    list[str] | None,
    typer.Option(metavar="K=V", show_default=False, help="A parameter of a traced chain; several times."),
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
Icons = Annotated[bool, typer.Option("--icons/--no-icons", help="Signs beyond ASCII.")]
MaxBranches = Annotated[
    int | None, typer.Option(min=1, metavar="N", show_default=False, help="Draw at most so many branches of a group.")
]


class Drawing(StrEnum):
    """How a graph is drawn."""

    tree = "tree"
    mermaid = "mermaid"
    dot = "dot"
    json = "json"
    yaml = "yaml"


def inspect(
    *,
    words: Words,
    engines: EnginesFile = None,
    engine: Engine = None,
    param: Param = None,
    as_json: AsJson = False,
    icons: Icons = True,
) -> None:
    """Say everything that a run would refuse, node by node, without engines."""
    target = chain_target(words)
    refuse_empty("inspect", engines=engines)
    from chainette.run import RunOptions

    options = RunOptions(
        engines_file=engines, engines=pairs(engine, "--engine", "inspect"), params=pairs(param, "--param", "inspect")
    )
    raise typer.Exit(say_report(target, options, as_json, icons))


def inspect_dag(
    *,
    words: Words,
    format: Annotated[Drawing, typer.Option("--format", help="How it is drawn.")] = Drawing.tree,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, like --format json.")] = False,
    icons: Icons = True,
    max_branches: MaxBranches = None,
    param: Param = None,
) -> None:
    """Draw a chain's graph, or write it as a chain file."""
    if format is Drawing.yaml and not as_json:
        return _write_yaml(chain_target(words), pairs(param, "--param", "inspect-dag"))
    from chainette.cli import charts
    from chainette.cli.output import write, write_json
    from chainette.reports.arrows import arrows, boxes
    from chainette.reports.mermaid import mermaid
    from chainette.run import check

    checked = check(load(chain_target(words)).for_params(pairs(param, "--param", "inspect-dag")))
    report, outline = checked.report(), checked.graph.outline
    nodes = {node["id"]: (str(node["kind"]), _label(node)) for node in report["nodes"]}
    if as_json or format is Drawing.json:
        ways = [_way(way) for way in arrows(outline)]
        write_json({"chain": report["chain"], "nodes": report["nodes"], "edges": ways, "outline": outline})
    elif format is Drawing.mermaid:
        write(mermaid(report["chain"], nodes, arrows(outline), boxes(outline)))
    elif format is Drawing.dot:
        write(charts.dot(report["chain"], nodes, arrows(outline), boxes(outline)))
    else:
        _print_tree(report, outline, icons, max_branches)
    if not checked.ok:
        sys.stderr.write(f"the chain has problems: chainette inspect {shlex.join(words)}\n")
        raise typer.Exit(2)
    return None


def _write_yaml(target: str, params: dict[str, str]) -> None:
    from chainette.chain.yaml_writer import to_yaml
    from chainette.cli.output import write

    write(to_yaml(load(target).for_params(params)))


def _way(way: Arrow) -> dict[str, Any]:
    drawn = {"from": way.start, "to": way.end, "label": way.label}
    return {**drawn, "back": True} if way.back else drawn


def _label(node: dict[str, Any]) -> str:
    return node["id"] if node["name"] in ("", node["id"]) else f"{node['id']}: {node['name']}"


def _print_tree(report: dict[str, Any], outline: object, icons: bool, max_branches: int | None) -> None:
    from rich.cells import cell_len

    from chainette.cli.drawing import tree_lines
    from chainette.cli.screen import NAME, QUIET, console, glyphs, line
    from chainette.cli.wording import one_line

    signs = glyphs(sys.stdout, icons)
    shown = console(sys.stdout)
    nodes = {node["id"]: node for node in report["nodes"]}
    shown.print(line((one_line(report["chain"]), NAME), (f" {signs.dot} input {one_line(report['input'])}", QUIET)))
    drawn = tree_lines(outline, signs, max_branches)
    wide = max((cell_len(d.prefix + d.text) for d in drawn), default=0) + 4
    for d in drawn:
        if d.node is None:
            shown.print(line((d.prefix, QUIET), (d.text, "italic")))
            continue
        node = nodes[d.node]
        pad = " " * (wide - cell_len(d.prefix + d.text) - 2)
        text = line((d.prefix, QUIET), f"{signs.of(node['kind'])} ", (d.text, NAME))
        if node["kind"] != "join":
            text.append(pad).append(one_line(f"{node['input']} -> {node['output']}"), style=QUIET)
        if about := _kind_words(node):
            text.append(f"  {one_line(about)}", style="italic")
        shown.print(text, soft_wrap=True)


def _kind_words(node: dict[str, Any]) -> str:
    """What a node of control flow does."""
    match node["kind"]:
        case "cond":
            return f"cond: {node['predicate']}"
        case "switch":
            return f"switch on {node['key']}"
        case "while_loop":
            return f"until {node['until']}, at most {node['max_iterations']} times"
        case "scan":
            return f"scan over {node['over']}"
        case "delay":
            return f"{node['seconds']:g} s"
        case "gather":
            return f"gather as {node['alias']}" if node["alias"] else "gather"
    return ""


def say_report(target: str, options: RunOptions, as_json: bool, icons: bool, call: Call | None = None) -> int:
    """Checks a chain, and with `call` the input and folder of a run; says all that was found, returns the exit code."""
    from chainette.cli.output import write_json
    from chainette.errors import ChainError
    from chainette.run import check

    try:
        checked = check(load(target), options)
    except ChainError as error:
        if not as_json:
            raise
        write_json({"chain": target, "nodes": [], "engines": [], "problems": _problems(error), "ok": False})
        return 2
    from chainette.cli.devices import what_is_here

    report = {**checked.report(), "devices": what_is_here(checked.registry.declared_devices)}
    if call is not None:
        from chainette.cli.dry import call_problems

        report["problems"] = [*(found := call_problems(checked, call, options)), *report["problems"]]
        report["ok"] = report["ok"] and not found
    if as_json:
        write_json(report)
        return 0 if report["ok"] else 2
    from chainette.cli.screen import console, glyphs

    signs = glyphs(sys.stdout, icons)
    shown = console(sys.stdout)
    for text in report_lines(report, signs):
        shown.print(text, soft_wrap=True)
    if report["ok"]:
        from chainette.cli.dry import run_command

        shown.print(f"next: {run_command(target, call, options)}", soft_wrap=True)
    return 0 if report["ok"] else 2


def _problems(error: Any) -> list[dict[str, str]]:
    from dataclasses import asdict

    return [asdict(problem) for problem in error.problems]


def report_lines(report: dict[str, Any], signs: Glyphs) -> list[Text]:
    """The report as text: nodes, engines, plan, devices, problems."""
    from chainette.cli.screen import NAME, QUIET, line
    from chainette.cli.wording import counted, one_line

    title = f" {signs.dot} {counted(len(report['nodes']), 'node')} {signs.dot} input {one_line(report['input'])}"
    lines = [line((one_line(report["chain"]), NAME), (title, QUIET)), line()]
    for node in report["nodes"]:
        lines += _node_lines(node, signs)
    if report["engines"]:
        lines += [line(), line(("engines", NAME))]
        lines += [_engine_line(engine) for engine in report["engines"]]
    from chainette.cli.devices import device_words
    from chainette.cli.plan_text import plan_lines

    if plan := plan_lines(report["plan"], report["nodes"], signs):
        lines += [line(), *plan]
    lines += [line(), line(("devices", NAME))]
    lines += [line(f"  {name:<8} {words}") for name, words in device_words(report["devices"])]
    return [*lines, line(), *_problem_lines(report["problems"], signs)]


def _engine_line(engine: dict[str, Any]) -> Text:
    from chainette.cli.screen import NAME, QUIET, line
    from chainette.cli.wording import one_line

    about = one_line(engine.get("description") or engine.get("model") or "")
    return line("  ", (one_line(engine["name"]), NAME), f"  {engine['backend']}  ", (about, QUIET))


def _node_lines(node: dict[str, Any], signs: Glyphs) -> list[Text]:
    from chainette.cli.screen import NAME, QUIET, WARN, line
    from chainette.cli.wording import one_line

    sign = signs.of(node["kind"])
    name = "" if node["name"] == node["id"] else f"  {one_line(node['name'])}"
    lines = [line(f"{sign} ", (one_line(node["id"]), NAME), name, (f"  {node['kind']}", QUIET))]

    def say(what: str, value: object, style: str = "") -> None:
        if value:
            lines.append(line("    ", (f"{what:<9} ", QUIET), (one_line(value), style)))

    if node["kind"] != "join":
        say("types", f"{node['input']} -> {node['output']}")
    say("branches", ", ".join(f"{alias}: {type_}" for alias, type_ in node.get("branches", {}).items()))
    say("cast", node.get("intake"), WARN if "cast" in str(node.get("intake")) else "")
    say("shape", node.get("shape"))
    say("in loop", ", in ".join(reversed(node.get("loops") or [])))
    say("note", node.get("note"), WARN)
    for what, words in _control_words(node):
        say(what, words)
    say("engine", node.get("engine"))
    say("sampling", ", ".join(f"{k}={v}" for k, v in (node.get("sampling") or {}).items()))
    say("templates", ", ".join(node.get("template_names") or []))
    unenforced = ", ".join(node.get("unenforced") or [])
    say("schema", unenforced and f"{unenforced}: not enforced by the engine, validated after", WARN)
    return lines


def _control_words(node: dict[str, Any]) -> list[tuple[str, str]]:
    """What control flow asks, and where rows go."""
    told: list[tuple[str, str]] = [
        (name, str(node[name])) for name in ("predicate", "key", "until", "over", "init") if name in node
    ]
    for name, case in node.get("cases", {}).items():
        through = ", ".join(case["nodes"]) or "as it is"
        told.append(("way", f"{name}: {through} -> {case['output']}"))
    if "body" in node:
        told.append(("body", ", ".join(node["body"]) or "nothing"))
    if "max_iterations" in node:
        first = ", the first before it is asked" if node["at_least_once"] else ""
        told.append(("turns", f"at most {node['max_iterations']}{first}"))
        begins = "the former one gave" if node["feed"] == "result" else "entered the loop"
        told.append(("feed", f"{node['feed']}: a turn begins with what {begins}"))
    if "keep" in node:
        told.append(("keep", "the last turn of each row" if node["keep"] == "last" else "every turn of each row"))
    if "seconds" in node:
        told.append(("waits", f"{node['seconds']:g} s"))
    if "missing" in node:
        missed = "fails its parent too" if node["missing"] == "fail" else "is left out of the list"
        told.append(("gathers", f"the children that {node.get('gathers', '?')} makes; a failed one {missed}"))
        told += [("alias", node["alias"])] if node["alias"] else []
    return told


def _problem_lines(problems: list[dict[str, str]], signs: Glyphs) -> list[Text]:
    from chainette.cli.screen import BAD, GOOD, NAME, QUIET, WARN, line
    from chainette.cli.wording import counted, one_line

    styles = {"error": BAD, "warning": WARN, "note": QUIET}
    lines = []
    for p in problems:
        where = f"{one_line(p['where'])}: " if p["where"] else ""
        severity = (f"{p['severity']:<8}", styles.get(p["severity"], ""))
        lines.append(line(severity, (where, NAME), one_line(p["message"])))
        if p["hint"]:
            lines.append(line(" " * 8, (f"hint: {one_line(p['hint'])}", QUIET)))
    errors = sum(p["severity"] == "error" for p in problems)
    if errors:
        return [*lines, line((f"{signs.failed} {counted(errors, 'error')}: a run would be refused", f"bold {BAD}"))]
    return [*lines, line((f"{signs.done} nothing stands in the way of a run", GOOD))]
