"""The GPUs of this machine, read from NVIDIA's driver. Knows neither CUDA_VISIBLE_DEVICES nor engines."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU of the machine, or one MIG instance of one that is divided."""

    index: int
    """As the driver counts; a MIG instance has that of its GPU."""
    name: str
    uuid: str
    memory_bytes: int | None = None
    free_bytes: int | None = None
    busy_percent: int | None = None
    divided: bool = False
    """In MIG mode: its instances are what can be used."""

    @property
    def instance(self) -> bool:
        return self.uuid.startswith("MIG-")


@dataclass(frozen=True)
class GpusHere:
    """All GPUs of the machine, whether we may use them or not."""

    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    said: str = ""
    """Why there are none, or the empty string."""


def read_gpus(nvml: Any = None) -> GpusHere:
    """A look at the driver, through `pynvml` or what stands in for it."""
    nvml = nvml or import_module("pynvml")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        missing = isinstance(error, nvml.NVMLError_LibraryNotFound)
        return GpusHere(said="no NVIDIA driver here" if missing else f"the NVIDIA driver says: {error}")
    try:
        gpus = tuple(gpu for index in range(nvml.nvmlDeviceGetCount()) for gpu in _gpu(nvml, index))
        driver = _text(_told(nvml, nvml.nvmlSystemGetDriverVersion))
    except nvml.NVMLError as error:
        return GpusHere(said=f"the NVIDIA driver says: {error}")
    finally:
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()
    return GpusHere(gpus, driver, "" if gpus else "the NVIDIA driver knows no GPU")


def _gpu(nvml: Any, index: int) -> Iterator[Gpu]:
    """The GPU, and then its MIG instances."""
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    mode = _told(nvml, nvml.nvmlDeviceGetMigMode, handle)
    divided = bool(mode and mode[0])
    yield _described(nvml, handle, index, divided)
    for place in range(_told(nvml, nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0 if divided else 0):
        part = _told(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, place)
        if part is not None:
            yield _described(nvml, part, index, False)


def _described(nvml: Any, handle: Any, index: int, divided: bool) -> Gpu:
    memory = _told(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    rates = _told(nvml, nvml.nvmlDeviceGetUtilizationRates, handle)
    return Gpu(
        index=index,
        name=_text(_told(nvml, nvml.nvmlDeviceGetName, handle)),
        uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
        memory_bytes=None if memory is None else int(memory.total),
        free_bytes=None if memory is None else int(memory.free),
        busy_percent=None if rates is None else int(rates.gpu),
        divided=divided,
    )


def _told(nvml: Any, ask: Any, *of: Any) -> Any:
    """What the driver answers, None where this GPU does not tell: memory shared with the processor, MIG instances."""
    try:
        return ask(*of)
    except nvml.NVMLError:
        return None


def _text(told: str | bytes | None) -> str:
    return told.decode(errors="replace") if isinstance(told, bytes) else told or ""
