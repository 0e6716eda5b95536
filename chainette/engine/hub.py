"""Fetches a GGUF file from the Hugging Face hub. Knows no engine but for its name."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from chainette.errors import EngineStartError
from chainette.specs import EngineSpec

PREFERRED = ("Q4_K_M", "Q8_0", "Q4_0", "Q5_K_M", "Q6_K", "F16")
"""The smaller precision first."""


def fetch(spec: EngineSpec) -> Path:
    """The local copy of `org/repo/file.gguf`, or of one file of `org/repo`. A copy in the hub's cache needs no network.

    Raises:
        EngineStartError: without a network, or when the hub has no such file.
    """
    import huggingface_hub

    owner, _, rest = spec.model.partition("/")
    name, _, file = rest.partition("/")
    repository = f"{owner}/{name}"
    try:
        _require_network(huggingface_hub.constants.ENDPOINT)
        if not file:
            file = _choose(spec, huggingface_hub.list_repo_files(repository, revision=spec.revision))
        return Path(huggingface_hub.hf_hub_download(repository, file, revision=spec.revision))
    except EngineStartError:
        raise
    except Exception as error:  # the hub's client and its HTTP library each bring a tree of their own
        cached = _cached(Path(huggingface_hub.constants.HF_HUB_CACHE), owner, name, file)
        if cached:
            return cached[_choose(spec, list(cached))]
        why = str(error).strip().partition("\n")[0]
        raise EngineStartError(
            f'engine "{spec.name}": {spec.model} cannot be fetched from huggingface.co ({why}); download '
            f"https://huggingface.co/{repository}{f'/resolve/main/{file}' if file else ''} where there is a network "
            "and give `model: path.gguf`"
        ) from None


def _require_network(endpoint: str) -> None:
    """Without it the client tries again for half a minute before it says that there is no network."""
    host = urlsplit(endpoint).hostname
    if host and not getproxies():
        socket.getaddrinfo(host, 443)


def _cached(cache: Path, owner: str, name: str, file: str) -> dict[str, Path]:
    snapshots = cache / f"models--{owner}--{name}" / "snapshots"
    return {path.name: path for path in snapshots.glob(f"*/{file or '*.gguf'}") if path.is_file()}


def _choose(spec: EngineSpec, files: list[str]) -> str:
    candidates = sorted(f for f in files if f.endswith(".gguf") and "mmproj" not in f and "-of-" not in f)
    if not candidates:
        raise EngineStartError(
            f'engine "{spec.name}": {spec.model} holds no .gguf file; such repositories often end in -GGUF'
        )
    for precision in PREFERRED:
        for file in candidates:
            if precision.lower() in file.lower():
                return file
    return candidates[0]
