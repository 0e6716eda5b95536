"""What the grammar backends of an installed vLLM hold a model to, tried once per installation and kept in a file.
Knows the schemas of nobody.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chainette.engine.vllm_installed import NoVllm, installed, python_of
from chainette.specs import EngineSpec

COMPACT_GRAMMARS = ("xgrammar", "guidance")
"""Those that can leave no room for blanks, which a weak model writes until its tokens are gone. The faster first."""
DEFAULT_GRAMMAR = COMPACT_GRAMMARS[0]
"""Of a server that is started for no chain in particular."""
PROBE_TIMEOUT_S = 60.0
"""It takes 10 to 15 s, most of them vLLM's imports."""
_PROBE = Path(__file__).with_name("grammar_probe.py")


@dataclass(frozen=True)
class Grammars:
    """What was found; `features` holds backend -> feature -> `enforced`, `ignored`, `refused` or `broken`."""

    features: Mapping[str, Mapping[str, str]]
    runaways: Mapping[str, Mapping[str, bool]]
    """Backend -> what its grammar lets happen: `integer`, `number`, `blanks`, `more_properties`."""
    cuts_repetition: bool
    """Whether the server ends an answer that repeats itself, when asked to."""
    unknown: str = ""
    """Why nothing is known; the rest is empty then."""

    def verdict(self, backend: str, feature: str) -> str:
        """`unknown` for what was not tried."""
        return self.features.get(backend, {}).get(feature, "unknown")


def is_hosted(spec: EngineSpec) -> bool:
    """Whether it is a vLLM of ours, whose grammar backend is ours to choose."""
    return spec.backend == "vllm" and spec.endpoint is None


def grammars(spec: EngineSpec) -> Grammars:
    """Of the vLLM the engine would be started with. The first time for an installation takes seconds."""
    if not is_hosted(spec):
        return _nothing("it is no vLLM of ours")
    try:
        found = installed(python_of(spec.python))
    except NoVllm as none:
        return _nothing(str(none))
    return _grammars(found.python, found.versions)


@functools.cache
def _grammars(python: str, versions: tuple[tuple[str, str], ...]) -> Grammars:
    kept = _kept_at(versions)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return _read(json.loads(kept.read_text(encoding="utf-8")))
    try:
        found = _tried(python)
        result = _read(found)
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError, IndexError) as error:
        return _nothing(f"what its grammar backends enforce could not be tried ({_last_line(error)})")
    with contextlib.suppress(OSError):
        _keep(kept, {**found, "versions": dict(versions)})
    return result


def _nothing(why: str) -> Grammars:
    return Grammars({}, {}, cuts_repetition=False, unknown=why)


def _read(found: dict[str, Any]) -> Grammars:
    backends = found["backends"]
    features = {name: dict(backend["features"]) for name, backend in backends.items()}
    runaways = {name: dict(backend["runaways"]) for name, backend in backends.items()}
    return Grammars(features, runaways, bool(found["cuts_repetition"]))


def _tried(python: str) -> dict[str, Any]:
    """Its source goes by standard input and it runs in the root folder, so that none of our files or the user's is
    taken for a library (`openai.py`). It sees no GPU: it needs none, and must not take memory of one."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "VLLM_LOGGING_LEVEL": "CRITICAL"}
    ran = subprocess.run(
        [python, "-"],
        input=_PROBE.read_bytes(),
        capture_output=True,
        timeout=PROBE_TIMEOUT_S,
        check=True,
        cwd=os.sep,
        env={**environment, "LLGUIDANCE_LOG_LEVEL": "0"},
    )
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def _kept_at(versions: tuple[tuple[str, str], ...]) -> Path:
    """By what is installed and by what was asked of it."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    key = hashlib.blake2b(_PROBE.read_bytes() + json.dumps(sorted(versions)).encode(), digest_size=8)
    return Path(home, "chainette", f"grammars-{key.hexdigest()}.json")


def _keep(path: Path, found: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".grammars-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(found, file, indent=1)
    Path(temporary).replace(path)


def _last_line(error: Exception) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"no answer in {PROBE_TIMEOUT_S:.0f} s"
    said = getattr(error, "stderr", None) or b""
    lines = said.decode("utf-8", "replace").strip().splitlines() or [f"{type(error).__name__}: {error}"]
    return str(lines[-1])[:200]
