"""The frozen recipe of an engine. Does not start anything and does not know the backends' command lines."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from chainette.errors import ChainError, Problem, nearest
from chainette.specs.vllm_arguments import VLLM_ARGUMENTS

BackendName = Literal["vllm", "openai", "ollama", "sglang", "embedded", "scripted"]


SURELY_MISSPELT = 0.9
"""As likeness of a key to a known name. Below, it may be an argument that vLLM has gained since."""


class Prices(BaseModel):
    """In any currency, per million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)
    cached: float | None = Field(None, ge=0)
    """Of prompt tokens that the endpoint had cached; without it they cost what all do."""


class EngineSpec(BaseModel):
    """One block of `engines.yml`. Equal specs mean the same engine."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    name: str = Field(min_length=1)
    backend: BackendName = "vllm"
    model: str = ""
    """A hub name, a folder or, for `embedded`, a `.gguf` file. Empty with `embedded`: the demo model."""
    endpoint: str | None = None
    """Base URL of a server that is not ours, up to and with `/v1`."""
    api_key: SecretStr | None = None
    """Better left out: `api_key_env` keeps the key out of files."""
    api_key_env: str = "OPENAI_API_KEY"
    """The environment variable that holds the key for `endpoint`."""
    headers: dict[str, str] = Field(default_factory=dict)
    revision: str | None = None
    dtype: str | None = None
    gpu_memory_utilization: float | None = Field(None, gt=0, le=1)
    """Share of each of its devices that a server takes; without it vLLM's own default, 0.9."""
    devices: tuple[int, ...] | None = None
    """Pinned to these, counted within CUDA_VISIBLE_DEVICES. Without it the plan chooses."""
    replicas: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] | None = None
    """Servers. None: as many as `devices` hold when `tensor_parallel_size` is said, else one. `auto`: as many as there
    is room for."""
    python: str | None = None
    """`vllm`: the interpreter that has vLLM; without it `$CHAINETTE_VLLM_PYTHON`, else our own."""
    grammar: Literal["auto", "xgrammar", "guidance", "outlines", "lm-format-enforcer"] = "auto"
    """`vllm`: what holds answers to their schema. `auto`: what the schemas of the chain need."""
    adapters: dict[str, str] = Field(default_factory=dict)
    """`vllm`: LoRA adapters, name to folder or hub name; a step takes one with `Step(lora=name)`."""
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    """`vllm`, `sglang`: sent with every request, e.g. `enable_thinking: false`."""
    enable_reasoning: bool = False
    """The model thinks before it answers: needs a `reasoning_parser`, and answers keep the thinking apart."""
    lazy: bool = True
    idle_timeout_s: float = Field(180, ge=0)
    start_timeout_s: float = Field(600, gt=0)
    unresponsive_timeout_s: float = Field(30, gt=0)
    """After which a server of ours that has calls and answers nothing at all is ended and started again."""
    request_timeout_s: float = Field(600, gt=0)
    """For one call on the wire; `Step.timeout_s` is the tighter limit of a step."""
    max_concurrency: int | None = Field(None, ge=1)
    """Calls in flight at once; without it what the engine says it can take, or 128 for an endpoint."""
    max_retries: int = Field(6, ge=0)
    """Times a call is sent again after 408, 409, 429, 5xx or a broken connection."""
    retry_wait_s: float = Field(0.5, ge=0)
    """Before the first of them, on average; doubles each time up to 30 s. `Retry-After` comes before it."""
    requests_per_minute: float | None = Field(None, gt=0)
    """What an endpoint of somebody else's allows; over all steps."""
    tokens_per_minute: float | None = Field(None, gt=0)
    """Prompt and completion tokens together."""
    prices: Prices | None = None
    """What an endpoint costs; makes `cost` appear in `status.json`."""
    slots: int | None = Field(None, ge=1)
    """`embedded`: answers made at the same time; without it one per core, at least 4."""
    context_length: int | None = Field(None, ge=1)
    """`embedded`: tokens of prompt and answer per slot."""
    script: dict[str, Any] = Field(default_factory=dict)
    """`scripted`: how the stand-in answers; see `chainette.engine.scripted.Script`."""
    vllm_args: dict[str, Any] = Field(default_factory=dict)
    """vLLM arguments by their own names. Keys of a `vllm` block that are no field land here, unless they look like a
    misspelt one; whether the installed vLLM takes them is for the backend to say."""

    @classmethod
    def parse(cls, fields: dict[str, Any], where: str = "") -> EngineSpec:
        """A spec from a block of YAML or keyword arguments.

        Raises:
            ChainError: unknown keys (with the nearest name) and values that do not fit, all of them at once.
        """
        fields = dict(fields)
        where = where or f'engine "{fields.get("name", "?")}"'
        problems: list[Problem] = []
        if fields.get("backend") is None:
            fields["backend"] = _backend_of(fields)
        passed: dict[str, Any] = dict(fields.pop("vllm_args", None) or {})
        for key in sorted(set(fields) - set(cls.model_fields)):
            known = set(cls.model_fields) | (VLLM_ARGUMENTS if fields["backend"] == "vllm" else set())
            if fields["backend"] == "vllm" and (key in VLLM_ARGUMENTS or not _is_misspelt(str(key), known)):
                passed[key] = fields.pop(key)
                continue
            problems.append(Problem(where, f'no such key "{key}"', nearest(str(key), known)))
            fields.pop(key)
        if passed:
            fields["vllm_args"] = passed
        if isinstance(fields.get("devices"), int):
            fields["devices"] = (fields["devices"],)
        try:
            spec = cls(**fields)
        except ValidationError as error:
            for e in error.errors():
                key = ".".join(str(part) for part in e["loc"])
                given = "" if e["loc"][:1] in (("api_key",), ("headers",)) else f", not {e['input']!r}"
                problems.append(Problem(where, f"{key}: {e['msg']}{given}"))
            raise ChainError(problems) from None
        problems += _meaningless(spec, where)
        if spec.backend != "embedded" and spec.backend != "scripted" and not spec.model:
            problems.append(Problem(where, "needs a `model`", "the name the server knows it by"))
        hosted = spec.backend == "vllm" and spec.endpoint is None
        if hosted and spec.enable_reasoning and not spec.vllm_args.get("reasoning_parser"):
            hint = "e.g. `reasoning_parser: qwen3` or `deepseek_r1`; the model's card names its own"
            problems.append(Problem(where, "`enable_reasoning` needs a `reasoning_parser`", hint))
        if spec.model in spec.adapters:
            problems.append(Problem(where, f'adapter "{spec.model}" is called like the model', "another name"))
        if spec.backend == "embedded" and _is_missing_file(spec.model):
            problems.append(Problem(where, f"there is no file {spec.model}"))
        if spec.endpoint is not None and (wrong := _wrong_with_url(spec.endpoint)):
            shown = re.sub(r"//[^/]*@", "//", spec.endpoint)
            problems.append(Problem(where, f'endpoint "{shown}" is no URL: {wrong}', "e.g. http://localhost:8000/v1"))
        if problems:
            raise ChainError(problems)
        return spec

    def adapter_problem(self, name: str) -> str:
        """Why a step cannot have the LoRA adapter `name` on this engine, or the empty string."""
        if self.backend != "vllm":
            return f"`lora` means nothing to backend {self.backend}; it is for vllm"
        if self.endpoint is not None or name in self.adapters:
            return ""
        hint = nearest(name, self.adapters) or "engines.yml: `adapters: {name: folder}`"
        return f'engine "{self.name}" has no adapter "{name}" ({hint})'

    def public(self) -> dict[str, Any]:
        """The spec as it may stand in `graph.json`: no secrets, no defaults. Secrets are header values, the endpoint's
        user, password and query, and vLLM arguments by whose name one logs in."""
        shown = self.model_dump(mode="json", exclude_defaults=True, exclude={"api_key"})
        if self.headers:
            shown["headers"] = dict.fromkeys(self.headers, "***")
        if self.endpoint is not None:
            shown["endpoint"] = re.sub(r"\?.*", "?***", re.sub(r"//[^/?#]*@", "//***@", self.endpoint))
        if self.vllm_args:
            secret = dict.fromkeys(self.vllm_args.keys() & _SECRET_ARGUMENTS, "***")
            shown["vllm_args"] = {**shown["vllm_args"], **secret}
        return {"name": self.name, "backend": self.backend, **shown}


_SECRET_ARGUMENTS = {"hf_token", "api_key"}
_ONLY_FOR: dict[str, tuple[str, ...]] = {
    "dtype": ("vllm",),
    "gpu_memory_utilization": ("vllm", "scripted"),
    "devices": ("vllm", "scripted"),
    "enable_reasoning": ("vllm", "sglang"),
    "python": ("vllm",),
    "grammar": ("vllm",),
    "adapters": ("vllm",),
    "chat_template_kwargs": ("vllm", "sglang"),
    "requests_per_minute": ("vllm", "openai", "ollama", "sglang", "scripted"),
    "tokens_per_minute": ("vllm", "openai", "ollama", "sglang", "scripted"),
    "prices": ("vllm", "openai", "ollama", "sglang", "scripted"),
    "revision": ("vllm", "embedded"),
    "endpoint": ("vllm", "openai", "ollama", "sglang"),
    "slots": ("embedded",),
    "context_length": ("embedded",),
    "script": ("scripted",),
}


def _meaningless(spec: EngineSpec, where: str) -> list[Problem]:
    """Keys that were given and that the backend has no use for: better said than silently without effect."""
    return [
        Problem(where, f'"{key}" means nothing to backend {spec.backend}', f"it is for {', '.join(backends)}")
        for key, backends in _ONLY_FOR.items()
        if getattr(spec, key) != _default(key) and spec.backend not in backends
    ]


def _default(key: str) -> Any:
    return EngineSpec.model_fields[key].get_default(call_default_factory=True)


def _is_misspelt(key: str, known: set[str]) -> bool:
    """Whether it is so near to a known name, or so unlike any argument, that it is surely a mistake."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", key):
        return True
    return bool(difflib.get_close_matches(key, known, n=1, cutoff=SURELY_MISSPELT))


def _is_missing_file(model: str) -> bool:
    """Whether `model` means a file that is not there; `org/repo/file.gguf` means one on the hub."""
    if not model.endswith(".gguf") or Path(model).expanduser().is_file():
        return False
    return model.count("/") != 2 or model.startswith((".", "/", "~"))


def _wrong_with_url(url: str) -> str:
    """Why no request can be sent there, or the empty string."""
    if not url.startswith(("http://", "https://")):
        return "it must begin with http:// or https://"
    if re.search(r"[\s\x00-\x1f\x7f\ud800-\udfff]", url):
        return "it holds white space or control characters"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        return str(error)
    if not host:
        return "it names no host"
    if port == 0 or not all(0 < len(label) < 64 for label in host.rstrip(".").split(".")):
        return "port 0 is none" if port == 0 else f"{host} is no host"
    return ""


def _backend_of(fields: dict[str, Any]) -> str:
    """A `.gguf` file is for llama.cpp; an endpoint that is not vLLM's own is plain OpenAI; the rest is vLLM."""
    if str(fields.get("model", "")).endswith(".gguf"):
        return "embedded"
    return "openai" if fields.get("endpoint") else "vllm"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend takes, said before anything is started."""

    sampling: frozenset[str]
    """The `SamplingParams` fields that reach the engine."""
    images: bool
    ready: str = ""
    """Why this engine cannot be used on this machine, or the empty string."""
    description: str = ""
    """What it is, in words for a person."""
    on_devices: bool = False
    """Whether it is a server of ours that takes devices (GPUs); the plan then says which."""
    on_cpu: bool = False
    """Whether such a server can do without: where there are no devices, it then takes none."""
