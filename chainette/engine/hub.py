"""Fetches a GGUF file from the Hugging Face hub. Knows no engine but for its name."""

from __future__ import annotations

from pathlib import Path

from chainette.errors import EngineStartError
from chainette.specs import EngineSpec

PREFERRED = ("Q4_K_M", "Q8_0", "Q4_0", "Q5_K_M", "Q6_K", "F16")


def fetch(spec: EngineSpec) -> Path:
    """The local copy of `org/repo/file.gguf`, or of one file of `org/repo`, the smaller precision first.

    Raises:
        EngineStartError: without a network, or when the hub has no such file.
    """
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    owner, _, rest = spec.model.partition("/")
    name, _, file = rest.partition("/")
    repository = f"{owner}/{name}"
    try:
        if not file:
            file = _choose(spec, huggingface_hub.list_repo_files(repository, revision=spec.revision))
        return Path(huggingface_hub.hf_hub_download(repository, file, revision=spec.revision))
    except HFValidationError as error:
        raise EngineStartError(f'engine "{spec.name}": {error}') from None
    except (HfHubHTTPError, OSError) as error:
        why = str(error).strip().partition("\n")[0]
        raise EngineStartError(
            f'engine "{spec.name}": {spec.model} cannot be fetched from huggingface.co ({why}); download '
            f"https://huggingface.co/{repository}{f'/resolve/main/{file}' if file else ''} where there is a network "
            "and give `model: path.gguf`"
        ) from None


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
