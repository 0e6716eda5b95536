"""A step's calls as OpenAI batch files: the requests as they were sent, the results as they came.

Knows the run folder and the file's format; sends nothing.
Source: https://platform.openai.com/docs/api-reference/batch
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from chainette.errors import RunFolderError, nearest
from chainette.files.json_text import encode
from chainette.files.names import INPUT_NODE
from chainette.graph.signature import digest
from chainette.reports.export import node_of
from chainette.reports.sight import Turns, sight_of, turns_of
from chainette.reports.spool import Spool

if TYPE_CHECKING:
    from chainette.files.reading import RunReader
    from chainette.rows import Failure

URL = "/v1/chat/completions"
MOST_REQUESTS = 50_000
"""That OpenAI takes in one file."""
_FOREIGN = (
    "top_k",
    "min_p",
    "repetition_penalty",
    "stop_token_ids",
    "include_stop_str_in_output",
    "bad_words",
    "ignore_eos",
    "min_tokens",
    "prompt_logprobs",
    "allowed_token_ids",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "truncate_prompt_tokens",
)
"""Sampling fields of vLLM's: OpenAI refuses each request that has one."""


def step_of(reader: RunReader, step: str | None) -> dict[str, Any]:
    """What `graph.json` says of the step that is meant; without a name, of the only one.

    Raises:
        RunFolderError: there is none of that name, or several and none is named.
    """
    graph = reader.graph()
    steps = [str(node["id"]) for node in graph.get("nodes") or [] if node.get("type") == "step"]
    if step is None:
        if len(steps) == 1:
            return node_of(graph, steps[0])
        known = f"it has {', '.join(steps[:12])}" if steps else "it has none"
        raise RunFolderError(f"{reader.path.name}: which step's calls? ({known}; --step ID)")
    if step not in steps:
        kind = node_of(graph, step).get("type")
        hint = nearest(step, steps) or "it has no steps"
        what = f"{'an' if str(kind)[0] in 'aeiou' else 'a'} {kind} and no" if kind else "no"
        raise RunFolderError(f'"{step}" is {what} step of {reader.path.name} ({hint})')
    return node_of(graph, step)


def custom_id(row_id: str, turns: Turns) -> str:
    """The row's id; in a loop with the turn behind it: `17@2`, in nested loops `17@2.1`."""
    return f"{row_id}@{'.'.join(map(str, turns))}" if turns else row_id


class Requests:
    """The step's prompts, one request for each row (in loops each turn) that was asked, in input order."""

    def __init__(self, reader: RunReader, node: dict[str, Any], model: str | None = None) -> None:
        """
        Raises:
            RunFolderError: no call was made, or the requests would name no model.
        """
        self._reader = reader
        self._graph = reader.graph()
        self._node = node
        self._body, self._left_out = _constant(self._graph, node, model)
        self._key_head = _key_head(self._graph, node)
        _require_calls(reader, node)

    def write(self, stream: BinaryIO) -> dict[str, Any]:
        """`rows`, and of them those `unconfirmed`; `left_out`: rows whose prompt the folder cannot tell any more."""
        written = unconfirmed = left_out = 0
        example = ""
        with Spool() as spool:
            looped = self._fill(spool)
            for _, asked in spool.marks():
                messages = self._messages(spool, asked, looped)
                if messages is None:
                    left_out += 1
                    example = example or asked["_id"]
                    continue
                turns = turns_of(asked)
                unconfirmed += asked["key"] != digest(self._key_head, messages, *([turns] if turns else []))
                id = custom_id(asked["_id"], turns)
                body = {**self._body, "messages": messages}
                stream.write(encode({"custom_id": id, "method": "POST", "url": URL, "body": body}) + b"\n")
                written += 1
        notes = []
        if left_out:
            notes.append(f'{left_out:,} rows are left out: the folder does not hold their prompts (e.g. "{example}")')
        if unconfirmed:
            notes.append(f"{unconfirmed:,} prompts may differ from what was sent: their calls have other keys")
        if self._left_out:
            notes.append(f"left out of the requests, as OpenAI refuses it: {', '.join(self._left_out)}")
        if written > MOST_REQUESTS:
            notes.append(f"OpenAI takes {MOST_REQUESTS:,} requests a file: split -l {MOST_REQUESTS} FILE")
        return {"rows": written, "unconfirmed": unconfirmed, "left_out": left_out, "notes": notes}

    def _fill(self, spool: Spool) -> set[str]:
        """Puts in what the prompts may be made of, and who was asked. Returns the nodes of which calls are told."""
        order = [str(node["id"]) for node in self._graph.get("nodes") or []]
        own = set(self._node.get("loops") or [])
        before = set(order[: order.index(self._node["id"])])
        inside = {n["id"] for n in self._graph["nodes"] if own & {*(n.get("loops") or []), n["id"]}}
        spool.put(INPUT_NODE, self._reader.inputs())
        for id in self._reader.step_ids():
            if id in before | inside:
                spool.put(id, self._reader.rows(id))
        looped = {id for id in inside if node_of(self._graph, id).get("type") == "step"}
        for id in looped:
            spool.put(f"calls of {id}", ({"_id": call.get("_id")} for call in self._reader.calls(id)))
        spool.index()
        for call in self._reader.calls(self._node["id"]):
            row_id, turns = str(call.get("_id")), turns_of(call)
            turn = {"turn": call["turn"]} if turns else {}
            asked = {"_id": row_id, **turn, "key": call.get("key")}
            spool.mark(custom_id(row_id, turns), _place(spool, row_id, turns), asked)
        return looped

    def _messages(self, spool: Spool, asked: dict[str, Any], looped: set[str]) -> list[dict[str, Any]] | None:
        from chainette.reports.prompts import rendered

        row_id, turn = asked["_id"], turns_of(asked)
        stops = []
        for id in self._reader.step_ids():
            calls = spool.related(f"calls of {id}", row_id) if id in looped else []
            stops.append({"id": id, "rows": spool.related(id, row_id), "calls": calls})
        sources = spool.related(INPUT_NODE, row_id)
        source = sources[-1] if sources else {}
        sight = sight_of(self._graph, stops, self._node["id"], turn)
        said = rendered(self._graph, self._node, row_id, source, sight)
        if said is None:
            return None
        messages: list[dict[str, Any]] = [{"role": role, "content": text} for role, text in said]
        if self._node.get("images"):
            return _with_images(messages, self._graph, self._node, (source, sight))
        return messages


class Results:
    """What the step's calls gave: a chat completion for each row that it answered, an error for each that failed."""

    def __init__(self, reader: RunReader, node: dict[str, Any]) -> None:
        """
        Raises:
            RunFolderError: the step has neither calls nor failed rows.
        """
        self._reader = reader
        self._graph = reader.graph()
        self._node = node
        self._samples = int(node.get("n") or 1)
        if not len(reader.failures(node["id"])):
            _require_calls(reader, node)

    def write(self, stream: BinaryIO) -> dict[str, Any]:
        """`rows`, and of them those that `failed`. In the order in which the calls ended; errors last."""
        answered = failed = 0
        with Spool() as spool:
            for number, call in enumerate(self._reader.calls(self._node["id"])):
                if self._is_answer(call):
                    spool.mark(custom_id(str(call.get("_id")), turns_of(call)), "", number)
            for number, call in enumerate(self._reader.calls(self._node["id"])):
                id = custom_id(str(call.get("_id")), turns_of(call))
                if spool.marked(id) == number:
                    stream.write(encode(self._answer(id, call)) + b"\n")
                    answered += 1
            for failure in self._reader.failures(self._node["id"]):
                row_id = failure.row_id.rpartition(".")[0] if self._samples > 1 else failure.row_id
                id = custom_id(row_id or failure.row_id, failure.turns)
                if spool.marked(id) is None:
                    spool.mark(id, "", -1)
                    stream.write(encode(self._error(id, failure)) + b"\n")
                    failed += 1
        return {"rows": answered + failed, "failed": failed, "notes": []}

    def _is_answer(self, call: dict[str, Any]) -> bool:
        """Whether something of it was taken."""
        return "error" not in call and len(call.get("refused") or []) < self._samples

    def _line(self, id: str, response: dict[str, Any] | None, error: dict[str, Any] | None) -> dict[str, Any]:
        name = digest(self._graph.get("run_id"), self._node["id"], id)
        return {"id": f"batch_req_{name}", "custom_id": id, "response": response, "error": error}

    def _error(self, id: str, failure: Failure) -> dict[str, Any]:
        return self._line(id, None, {"code": failure.kind, "message": failure.message})

    def _answer(self, id: str, call: dict[str, Any]) -> dict[str, Any]:
        usage = call.get("usage") or {}
        sent, made = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
        body = {
            "id": f"chatcmpl-{call.get('key')}",
            "object": "chat.completion",
            "created": int(call.get("started_s") or 0),
            "model": _model(self._graph, self._node) or self._node.get("engine"),
            "choices": list(_choices(call)),
            "usage": {
                "prompt_tokens": sent,
                "completion_tokens": made,
                "total_tokens": sent + made,
                "prompt_tokens_details": {"cached_tokens": usage.get("cached_tokens") or 0},
            },
        }
        return self._line(id, {"status_code": 200, "request_id": call.get("key"), "body": body}, None)


def _choices(call: dict[str, Any]) -> Iterator[dict[str, Any]]:
    texts = call.get("texts", [call.get("text")])
    reasonings = call.get("reasonings", [call.get("reasoning")])
    ends = call.get("finish_reasons", [call.get("finish_reason")])
    declined = call.get("declined") or [None] * len(texts)
    for index, (text, thought, end, why) in enumerate(zip(texts, reasonings, ends, declined, strict=True)):
        message = {"role": "assistant", "content": text, "refusal": why}
        message |= {"reasoning_content": thought} if thought is not None else {}
        logprobs = call.get("logprobs") if index == 0 else None
        yield {"index": index, "message": message, "logprobs": logprobs, "finish_reason": end}


def _require_calls(reader: RunReader, node: dict[str, Any]) -> None:
    if next(iter(reader.calls(node["id"])), None) is None:
        raise RunFolderError(f'no call of "{node["id"]}" was made in {reader.path.name}: there is nothing to export')


def _place(spool: Spool, row_id: str, turns: Turns) -> str:
    """Sorts as the rows of the input stand, a row's children by number; rows of no input row come last, by id."""
    parts = row_id.split(".")
    for n in range(len(parts), 0, -1):
        root = spool.place(INPUT_NODE, ".".join(parts[:n]))
        if root is not None:
            break
    else:
        root, n = 10**15, 0
    below = ".".join(part.zfill(12) for part in parts[n:])
    return f"{root:016d} {below} {' '.join(f'{turn:09d}' for turn in turns)}"


def _engine(graph: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    return next((e for e in graph.get("engines") or [] if e.get("name") == node.get("engine")), {})


def _model(graph: dict[str, Any], node: dict[str, Any]) -> str:
    """What a request calls the model."""
    return str(node.get("lora") or _engine(graph, node).get("model") or "")


def _sampling(node: dict[str, Any]) -> dict[str, Any]:
    samples = int(node.get("n") or 1)
    return {**(node.get("sampling") or {}), **({"n": samples} if samples > 1 else {})}


def _key_head(graph: dict[str, Any], node: dict[str, Any]) -> str:
    """The part of a call's key that all calls of a step share: what they were sent with beside the messages."""
    engine = _engine(graph, node)
    adapter = [node["lora"]] if node.get("lora") is not None else []
    return digest(node.get("schema"), _sampling(node), engine.get("model", ""), engine.get("revision"), *adapter)


def _constant(graph: dict[str, Any], node: dict[str, Any], model: str | None) -> tuple[dict[str, Any], list[str]]:
    """What all requests have in common, `messages` left out; and which sampling fields are not among it."""
    from chainette.engine import openai
    from chainette.specs import EngineSpec, SamplingParams

    name = model or _model(graph, node)
    if not name:
        engine = f'engine "{node.get("engine")}"'
        raise RunFolderError(f"the requests need a model's name, and {engine} has none (--model NAME)")
    given = _sampling(node)
    left_out = [field for field in _FOREIGN if field in given]
    sampling = SamplingParams(**{field: value for field, value in given.items() if field not in left_out})
    schema = node.get("schema")
    spec = EngineSpec(name="batch", backend="openai", model=name)
    body = openai.body(spec, schema if isinstance(schema, dict) else None, sampling)
    body.pop("stream", None)
    return body, left_out


def _with_images(
    messages: list[dict[str, Any]], graph: dict[str, Any], node: dict[str, Any], seen: tuple[dict[str, Any], Any]
) -> list[dict[str, Any]] | None:
    """The last message with the row's pictures; None where they cannot be found any more."""
    import base64
    import binascii

    from chainette.files.json_text import BASE64
    from chainette.prompts.images import image_parts
    from chainette.reports.sight import Entering

    source, sight = seen
    rows = Entering(graph, source, sight).of(node["id"]) or []
    value = rows[-1].get(node["images"]) if rows else None
    pictures = value if isinstance(value, list) else [value]
    try:
        pictures = [
            base64.b64decode(p.removeprefix(BASE64)) if isinstance(p, str) and p.startswith(BASE64) else p
            for p in pictures
        ]
        parts = image_parts(pictures)
    except (OSError, ValueError, binascii.Error):
        return None
    last = messages[-1]
    return [*messages[:-1], {**last, "content": [{"type": "text", "text": last["content"]}, *parts]}]
