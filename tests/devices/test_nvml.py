"""What the driver tells, with a driver that is made up: GPUs that tell all, little, or nothing of themselves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from chainette.devices import Gpu, read_gpus

GIB = 2**30


class NVMLError(Exception):
    pass


class LibraryNotFound(NVMLError):
    pass


class Driver:
    """A GPU or MIG instance is a dictionary; what it does not hold, it does not tell."""

    NVMLError = NVMLError
    NVMLError_LibraryNotFound = LibraryNotFound

    def __init__(self, gpus: list[dict[str, Any]] | None = None, refuses: Exception | None = None) -> None:
        self._gpus = gpus or []
        self._refuses = refuses
        self.open = False

    def nvmlInit(self) -> None:
        if self._refuses:
            raise self._refuses
        self.open = True

    def nvmlShutdown(self) -> None:
        self.open = False

    def nvmlSystemGetDriverVersion(self) -> str:
        return "570.1"

    def nvmlDeviceGetCount(self) -> int:
        return len(self._gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:
        return self._gpus[index]

    def nvmlDeviceGetMaxMigDeviceCount(self, gpu: dict[str, Any]) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, gpu: dict[str, Any], index: int) -> dict[str, Any]:
        if index < len(gpu["parts"]):
            part: dict[str, Any] = gpu["parts"][index]
            return part
        raise NVMLError("not found")

    def nvmlDeviceGetMigMode(self, gpu: dict[str, Any]) -> list[int]:
        return [int("parts" in gpu), 0]

    def nvmlDeviceGetName(self, gpu: dict[str, Any]) -> Any:
        return self._told(gpu, "name")

    def nvmlDeviceGetUUID(self, gpu: dict[str, Any]) -> Any:
        return self._told(gpu, "uuid")

    def nvmlDeviceGetMemoryInfo(self, gpu: dict[str, Any]) -> Any:
        total, free = self._told(gpu, "memory")
        return SimpleNamespace(total=total, free=free)

    def nvmlDeviceGetUtilizationRates(self, gpu: dict[str, Any]) -> Any:
        return SimpleNamespace(gpu=self._told(gpu, "busy"))

    def _told(self, gpu: dict[str, Any], what: str) -> Any:
        if what not in gpu:
            raise NVMLError("Not Supported")
        return gpu[what]


def test_gpus_are_read_with_their_memory_and_the_driver_is_let_go() -> None:
    driver = Driver([{"name": b"A100", "uuid": "GPU-1", "memory": (80 * GIB, 70 * GIB), "busy": 7}])
    here = read_gpus(driver)
    assert here.gpus == (Gpu(0, "A100", "GPU-1", 80 * GIB, 70 * GIB, 7),)
    assert (here.driver, here.said, driver.open) == ("570.1", "", False)


def test_a_gpu_that_shares_the_processors_memory_tells_none_of_it() -> None:
    assert read_gpus(Driver([{"name": "GB10", "uuid": "GPU-1"}])).gpus == (Gpu(0, "GB10", "GPU-1"),)


def test_a_divided_gpu_is_followed_by_its_instances() -> None:
    parts = [{"name": "H100 MIG 1g.10gb", "uuid": "MIG-1", "memory": (10 * GIB, 10 * GIB)}]
    here = read_gpus(Driver([{"name": "H100", "uuid": "GPU-1", "parts": parts}]))
    assert [(gpu.uuid, gpu.divided, gpu.instance) for gpu in here.gpus] == [
        ("GPU-1", True, False),
        ("MIG-1", False, True),
    ]


def test_a_machine_without_a_driver_has_no_gpus_and_no_error() -> None:
    assert read_gpus(Driver(refuses=LibraryNotFound())).said == "no NVIDIA driver here"
    assert read_gpus(Driver(refuses=NVMLError("Driver Not Loaded"))).said == "the NVIDIA driver says: Driver Not Loaded"
    assert read_gpus(Driver()).said == "the NVIDIA driver knows no GPU"
