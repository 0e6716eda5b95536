"""What processes take of the GPUs' memory, as the driver tells. Knows no engines."""

from __future__ import annotations

import contextlib
from collections.abc import Collection


def device_memory_of(pids: Collection[int]) -> int | None:
    """Bytes over all GPUs; None where the driver is not there or does not tell, as inside containers."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    total: int | None = None
    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle):
                if process.pid in pids and process.usedGpuMemory is not None:
                    total = (total or 0) + int(process.usedGpuMemory)
    except pynvml.NVMLError:
        return total
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
    return total
