"""The words of vLLM's command line, from a spec. Knows what vLLM takes from `Installed`, and no process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chainette.engine.grammars import COMPACT_GRAMMARS, DEFAULT_GRAMMAR
from chainette.engine.vllm_installed import Installed
from chainette.errors import nearest
from chainette.specs import EngineSpec
from chainette.specs.vllm_arguments import VLLM_ARGUMENTS

OURS = {
    **dict.fromkeys(("model", "model_tag"), "it is the engine's `model`"),
    **dict.fromkeys(("host", "port", "uds", "root_path", "grpc", "grpc_port"), "the address is ours to choose"),
    "api_key": "a server of ours gets a new key at each start",
    **dict.fromkeys(
        ("ssl_keyfile", "ssl_certfile", "ssl_ca_certs", "ssl_cert_reqs", "ssl_ciphers", "enable_ssl_refresh"),
        "a server of ours is reached on this machine only, without TLS",
    ),
    "config": "the engine's own block holds vLLM's arguments",
    "device_ids": "`devices` of the engine says it",
    **dict.fromkeys(("headless", "tokens_only", "api_server_count"), "a server of ours is one that answers chats"),
    **dict.fromkeys(("uvicorn_log_level", "disable_uvicorn_access_log"), "its log is kept for what goes wrong"),
}
"""Arguments that are not the user's to say where the server is ours, and why."""

FIELDS = ("dtype", "revision", "gpu_memory_utilization")
"""Arguments that are fields of the spec, too, which come before `vllm_args`."""

WANTED = {
    "uvicorn_log_level": "warning",
    "disable_uvicorn_access_log": True,
    "disable_log_requests": True,
    "enable_prompt_tokens_details": True,
    "enable_per_request_metrics": True,
}
"""Said where the installed vLLM knows it and the user says nothing: a quiet log, and all that it tells of a call."""


LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Source: https://docs.vllm.ai/en/v0.32.0/api/vllm/config/lora/"""

MAX_LORAS = 8
"""Adapters in one of its batches, unless said: room is taken for each."""


def arguments(spec: EngineSpec, devices: int, found: Installed) -> list[str]:
    """All but the address, which the launcher adds. `devices` is how many this replica has."""
    words = []
    for name, value in _chosen(spec, devices, found).items():
        words += _words(name, value, found)
    return words


def left_out(spec: EngineSpec) -> list[str]:
    """What stands in `vllm_args` and is not passed on."""
    said = [f"`{name}`: {OURS[name]}" for name in spec.vllm_args if name in OURS]
    said += [
        f"`{name}` of `vllm_args`: the engine's own `{name}` comes before it"
        for name in FIELDS
        if name in spec.vllm_args and getattr(spec, name) is not None
    ]
    return said


def unfit(spec: EngineSpec, found: Installed | None) -> str:
    """Why the spec cannot be started on the installed vLLM, or the empty string. Without one, names are held against
    those of a recent release."""
    known = found.arguments if found is not None and found.arguments else VLLM_ARGUMENTS
    which = f"vLLM {found.version}" if found is not None and found.arguments else "vLLM"
    hints = known | set(EngineSpec.model_fields)
    wrong = [
        f'{which} has no argument "{name}" ({nearest(name, hints)})'
        for name in spec.vllm_args
        if name not in known and name not in OURS
    ]
    if spec.endpoint is None:
        wrong += _missing_files(spec)
    parser = spec.vllm_args.get("reasoning_parser")
    parsers = found.reasoning_parsers if found is not None else ()
    if parser and parsers and parser not in parsers and not spec.vllm_args.get("reasoning_parser_plugin"):
        wrong.append(f'{which} has no reasoning parser "{parser}"; it has {", ".join(parsers)}')
    return "; ".join(wrong)


def _missing_files(spec: EngineSpec) -> Iterator[str]:
    if _is_path(spec.model) and not Path(spec.model).expanduser().exists():
        yield f"there is no folder {spec.model}"
    for name, path in spec.adapters.items():
        if _is_path(path) and not Path(path).expanduser().exists():
            yield f'adapter "{name}": there is no folder {path}'


def _is_path(name: str) -> bool:
    return name.startswith(("/", "./", "../", "~"))


def _on_disk(name: str) -> str:
    return str(Path(name).expanduser()) if name.startswith("~") else name


def _chosen(spec: EngineSpec, devices: int, found: Installed) -> dict[str, Any]:
    """Arguments by name, what was said before what is only wanted."""
    said = {name: value for name, value in spec.vllm_args.items() if name not in OURS and value is not None}
    said |= {name: getattr(spec, name) for name in FIELDS if getattr(spec, name) is not None}
    wanted = {name: value for name, value in WANTED.items() if name in found.arguments}
    if said.get("disable_log_stats"):
        wanted.pop("enable_per_request_metrics", None)  # which are taken from those
    parallel = _parallel(said, devices)
    if parallel > 1:
        wanted["tensor_parallel_size"] = parallel
    if not found.arguments or "structured_outputs_config" in found.arguments:
        wanted["structured_outputs_config"] = _grammar(spec)
    names = said.pop("served_model_name", [])
    ours: dict[str, Any] = {"model": _on_disk(spec.model), "served_model_name": _served(spec.model, names)}
    return {**wanted, **said, **ours, **(_lora(spec, said) if spec.adapters else {})}


def _served(model: str, more: Any) -> list[str]:
    """The first is the one that answers carry."""
    more = [more] if isinstance(more, str) else list(more)
    return list(dict.fromkeys([model, *map(str, more)]))


def _parallel(said: dict[str, Any], devices: int) -> int:
    """How many devices a tensor is split over, so that all of the replica's are used."""
    others = 1
    for name in ("pipeline_parallel_size", "data_parallel_size"):
        size = said.get(name)
        others *= size if isinstance(size, int) and size > 0 else 1
    return devices // others


def _grammar(spec: EngineSpec) -> dict[str, Any]:
    backend = DEFAULT_GRAMMAR if spec.grammar == "auto" else spec.grammar
    compact = {"disable_any_whitespace": True} if backend in COMPACT_GRAMMARS else {}
    return {"backend": backend, **compact}


def _lora(spec: EngineSpec, said: dict[str, Any]) -> dict[str, Any]:
    modules = [{"name": name, "path": _on_disk(path)} for name, path in spec.adapters.items()]
    theirs = said.get("lora_modules") or []
    fields: dict[str, Any] = {
        "enable_lora": True,
        "lora_modules": modules + (theirs if isinstance(theirs, list) else [theirs]),
    }
    if "max_lora_rank" not in said and (rank := max(map(_rank, spec.adapters.values()))):
        fields["max_lora_rank"] = next((allowed for allowed in LORA_RANKS if allowed >= rank), rank)
    if "max_loras" not in said and len(modules) > 1:
        fields["max_loras"] = min(len(modules), MAX_LORAS)
    return fields


def _rank(adapter: str) -> int:
    """0 where its configuration is not on this machine."""
    try:
        config = json.loads((Path(adapter).expanduser() / "adapter_config.json").read_bytes())
        return int(config["r"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _words(name: str, value: Any, found: Installed) -> list[str]:
    """As its parser wants them: `--name=value`, also for what begins with a dash; lists word by word."""
    flag = "--" + name.replace("_", "-")
    if value is True:
        return [flag]
    if value is False:
        return [] if name in found.switches else [f"--no-{flag[2:]}"]
    if isinstance(value, (list, tuple, set, frozenset)) and name not in found.json_lists:
        words = [_word(part) for part in value]
        if name in found.repeated:
            return [f"{flag}={word}" for word in words]
        return [flag, *words] if words else []
    return [f"{flag}={_word(value)}"]


def _word(value: Any) -> str:
    return json.dumps(value) if isinstance(value, (dict, list, tuple)) else str(value)
