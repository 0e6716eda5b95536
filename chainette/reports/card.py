"""The card of a dataset that a run made: what it is, how it was made, how to make it again. Knows the run, no Hub.

All that rows, prompts and names say stands in it as text: nothing of it can end a block or become markup.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chainette.reports.arrows import arrows, boxes
from chainette.reports.export import FLATTENED, progress_of
from chainette.reports.harmless import one_line
from chainette.reports.markdown import code, fenced, said, table
from chainette.reports.mermaid import mermaid
from chainette.reports.outline import flat, ways_of
from chainette.reports.wording import count, counted, in_words, money, seconds

if TYPE_CHECKING:
    from chainette.files.reading import RunReader

_SHOWN_OF_ENGINE = ("backend", "revision", "dtype", "grammar", "enable_reasoning", "chat_template_kwargs", "vllm_args")
"""What may stand in public: no endpoints, headers, devices, and no scripts."""
_SECRETS = re.compile(r"\b(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|AKIA[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{20,})")
_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
    (1_000_000_000, "100M<n<1B"),
)


@dataclass(frozen=True, slots=True)
class Config:
    """One table of the dataset."""

    name: str
    what: str
    """A step's id, or `flattened`."""
    rows: int
    is_default: bool = False


def card(
    reader: RunReader,
    configs: Sequence[Config],
    repo: str,
    *,
    license: str | None = None,
    tags: Sequence[str] = (),
    empty: Sequence[str] = (),
) -> str:
    """The whole README.md of the dataset `repo`. `empty` are the steps that have no table because they made no row."""
    graph, status = reader.graph(), reader.status()
    parts = [
        _front(graph, configs, license, tags),
        f"# {said(_name(graph), 200) or 'A Chainette run'}\n",
        *_about(reader, graph, status),
        *_data(configs, repo, empty),
        *_counts(reader, status),
        *_engines(graph),
        *_drawing(graph),
        *_steps(graph),
        *_again(graph),
    ]
    return without_secrets("\n".join(parts).rstrip() + "\n", graph)


def without_secrets(text: str, graph: Mapping[str, Any]) -> str:
    """Keys that are known here, and what looks like one, are taken out."""
    names = {"HF_TOKEN", "OPENAI_API_KEY", *(str(e.get("api_key_env")) for e in graph.get("engines") or [])}
    for name in names:
        value = os.environ.get(name, "")
        if len(value) >= 8:
            text = text.replace(value, "***")
    return _SECRETS.sub("***", text)


def _name(graph: Mapping[str, Any]) -> str:
    return one_line(graph.get("chain") or "")


def _front(graph: Mapping[str, Any], configs: Sequence[Config], license: str | None, tags: Sequence[str]) -> str:
    import yaml

    largest = max((config.rows for config in configs), default=0)
    listed = []
    for config in configs:
        entry: dict[str, Any] = {"config_name": config.name}
        entry["data_files"] = [{"split": "train", "path": f"data/{config.name}/*.parquet"}]
        listed.append(entry | ({"default": True} if config.is_default else {}))
    front = {
        "pretty_name": _name(graph)[:200] or "A Chainette run",
        **({"license": license} if license else {}),
        "tags": list(dict.fromkeys(["chainette", "synthetic", *tags])),
        "size_categories": [next((word for most, word in _SIZES if largest < most), "n>1T")],
        **({"configs": listed} if listed else {}),
    }
    return f"---\n{yaml.safe_dump(front, allow_unicode=True, sort_keys=False, width=10**6)}---\n"


def _about(reader: RunReader, graph: Mapping[str, Any], status: Mapping[str, Any]) -> Iterator[str]:
    state, done, read = progress_of(reader)
    steps = [str(node.get("id")) for node in graph.get("nodes") or [] if node.get("type") == "step"]
    models = list(dict.fromkeys(_model(engine) for engine in graph.get("engines") or []))
    made = f"Made by {', '.join(map(code, models))} in " if models else "Made in "
    yield f"{made}{counted(len(steps), 'step')} from {counted(int(status.get('rows_in') or 0), 'input row')}"
    yield f"with Chainette, run {code(graph.get('run_id') or reader.path.name)}.\n"
    if state != "done":
        yield f"**The run is {said(state)}: {count(done)} of {counted(read, 'input row')} are finished.**\n"


def _data(configs: Sequence[Config], repo: str, empty: Sequence[str]) -> Iterator[str]:
    yield "## Data\n"
    if empty:
        yield f"Steps without a table, because they made 0 rows: {', '.join(map(code, empty))}.\n"
    if not configs:
        yield "No table: the run has 0 rows.\n"
        return
    rows = []
    for config in configs:
        is_flat = config.what == FLATTENED and config.is_default
        what = "a row per final row, with the fields of every step" if is_flat else code(config.what)
        rows.append([code(config.name) + (" (default)" if config.is_default else ""), what, count(config.rows)])
    yield table(["config", "holds", "rows:"], rows) + "\n"
    name = configs[-1].name
    yield fenced(
        f"from datasets import load_dataset\n\nload_dataset({json.dumps(repo)})\n"
        f"load_dataset({json.dumps(repo)}, {json.dumps(name)})",
        "python",
    )
    yield "\n`_id` is the row's name in every table: `17.2` was made from `17`.\n"


def _counts(reader: RunReader, status: Mapping[str, Any]) -> Iterator[str]:
    yield "## Figures\n"
    rows = []
    for id, node in (status.get("nodes") or {}).items():
        names = ("rows_in", "rows_out", "failed", "dropped", "calls", "prompt_tokens", "completion_tokens")
        rows.append([code(id), *(count(node.get(name) or 0) for name in names)])
    head = ["node", "in:", "out:", "failed:", "dropped:", "calls:", "prompt tokens:", "completion tokens:"]
    yield table(head, rows) + "\n"
    out, failed, dropped, sent, made = (
        count(status.get(name) or 0)
        for name in ("rows_out", "rows_failed", "rows_dropped", "prompt_tokens", "completion_tokens")
    )
    told = [f"{out} rows came out, {failed} input rows failed, {dropped} were dropped."]
    told.append(f"{sent} prompt and {made} completion tokens in {seconds(float(status.get('seconds') or 0))}.")
    if status.get("cost") is not None:
        told.append(f"Cost, in the currency of the engine's prices: {money(float(status['cost']))}.")
    yield " ".join(told) + "\n"
    failures = Counter((failure.node_id, failure.kind) for failure in reader.failures())
    if failures:
        rows = [[code(id), code(kind), count(times)] for (id, kind), times in failures.most_common()]
        yield table(["failed at", "kind", "rows:"], rows) + "\n"


def _model(engine: Mapping[str, Any]) -> str:
    return str(engine.get("model") or engine.get("description") or engine.get("name"))


def _engines(graph: Mapping[str, Any]) -> Iterator[str]:
    yield "## Models\n"
    for engine in graph.get("engines") or []:
        yield f"- {code(engine.get('name'))}: {code(_model(engine), 300)}"
        for key in _SHOWN_OF_ENGINE:
            if engine.get(key) not in (None, "", {}, []):
                yield f"  - {key}: {code(in_words(engine[key]), 500)}"
    yield ""


def _drawing(graph: Mapping[str, Any]) -> Iterator[str]:
    outline = graph.get("outline")
    nodes = {str(node["id"]): (str(node.get("type")), _label(node)) for node in graph.get("nodes") or []}
    ways = [way for way in arrows(outline) if way.end in nodes and (way.start is None or way.start in nodes)]
    yield "## Graph\n"
    yield fenced("\n".join(_tree(outline, nodes, "")) or "(no nodes)")
    yield ""
    framed = boxes(outline) if set(_named(outline)) <= nodes.keys() else ()
    yield fenced(mermaid(_name(graph), nodes, ways, framed), "mermaid") + "\n"


def _label(node: Mapping[str, Any]) -> str:
    return str(node["id"]) + (f" ({node['type']})" if node.get("type") not in ("step", None) else "")


def _tree(items: object, nodes: Mapping[str, tuple[str, str]], indent: str) -> Iterator[str]:
    """The outline for where nobody draws Mermaid."""
    for item in flat(items):
        if isinstance(item, str):
            yield indent + one_line(nodes.get(item, ("", item))[1])
            continue
        if "compound" in item:
            yield indent + one_line(f"{item['compound']} ({item.get('kind')}, {item.get('label', '')})")
        for way in ways_of(item):
            alias = f" (as {way['alias']})" if way.get("alias") and way["alias"] != way.get("name") else ""
            yield f"{indent}  - {one_line(way.get('name', ''))}{one_line(alias) and ' '}{one_line(alias)}"
            yield from _tree(way.get("items"), nodes, indent + "      ")
        if item.get("join") is not None:
            yield indent + one_line(nodes.get(item["join"], ("", item["join"]))[1])


def _named(items: object) -> Iterator[str]:
    for item in flat(items):
        if isinstance(item, str):
            yield item
            continue
        yield from (str(item[key]) for key in ("compound", "join") if item.get(key) is not None)
        for way in ways_of(item):
            yield from _named(way.get("items"))


def _steps(graph: Mapping[str, Any]) -> Iterator[str]:
    yield "## Steps\n"
    for node in graph.get("nodes") or []:
        if node.get("type") != "step":
            continue
        yield f"### {said(node.get('id'), 200)}\n"
        yield f"{code(node.get('input'))} to {code(node.get('output'))} by {code(node.get('engine'))}\n"
        for title, text in _messages(node):
            yield f"{title}:\n\n{fenced(text, 'jinja')}\n"
        yield f"Schema:\n\n{fenced(json.dumps(node.get('schema'), ensure_ascii=False, indent=2), 'json')}\n"
        sampling = node.get("sampling") or {}
        many = [f"{node['n']} samples"] if int(node.get("n") or 1) > 1 else []
        words = [*(f"{code(key)} {code(in_words(value), 200)}" for key, value in sampling.items()), *many]
        yield f"Sampling: {', '.join(words) or 'as the engine has it'}.\n"


def _messages(node: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if node.get("system_prompt"):
        yield "System", str(node["system_prompt"])
    user = node.get("user_prompt") or ""
    if isinstance(user, str):
        yield "User", user
        return
    for message in user:
        yield said(str(message.get("role")).capitalize(), 40), str(message.get("content"))


def _again(graph: Mapping[str, Any]) -> Iterator[str]:
    yield "## How to make it again\n"
    command = [str(word) for word in graph.get("command") or []]
    if command:
        yield fenced(_at_home(shlex.join([os.path.basename(command[0]), *command[1:]])), "console") + "\n"
    else:
        yield "It was run from Python.\n"
    inputs = graph.get("inputs") or {}
    files = [f for f in inputs.get("files") or [] if isinstance(f, dict)]
    known = [("git commit", graph.get("git_commit")), ("signature", graph.get("signature"))]
    known += [("input", inputs.get("source") or inputs.get("kind"))]
    known += [(f"input, {os.path.basename(str(f.get('path')))}", f"BLAKE2b {f.get('blake2b')}") for f in files[:20]]
    known += [(f"{name} version", version) for name, version in (graph.get("versions") or {}).items()]
    known += [(f"parameter {key}", value) for key, value in (graph.get("parameters") or {}).items()]
    yield table(["", ""], [[said(name, 100), code(_at_home(in_words(value)), 300)] for name, value in known if value])


def _at_home(text: str) -> str:
    """Without the name of the one whose folder it is."""
    home = os.path.expanduser("~")
    return text.replace(f"{home}/", "~/") if len(home) > 1 else text
