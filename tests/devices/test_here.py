"""Which GPUs are ours: CUDA_VISIBLE_DEVICES as CUDA reads it, and devices that are only declared."""

from __future__ import annotations

import pytest

from chainette.devices import Device, Gpu, GpusHere, devices_here
from chainette.specs import DeclaredDevice

GIB = 2**30
GPUS = (
    Gpu(0, "A100", "GPU-aaaa-1111", 80 * GIB, 79 * GIB),
    Gpu(1, "A100", "GPU-aabb-2222", 80 * GIB, 10 * GIB),
    Gpu(2, "L4", "GPU-cccc-3333", 24 * GIB, 24 * GIB),
)
DIVIDED = (
    Gpu(0, "H100", "GPU-dddd-4444", 80 * GIB, divided=True),
    Gpu(0, "H100 MIG 3g.40gb", "MIG-eeee-5555", 40 * GIB),
    Gpu(0, "H100 MIG 3g.40gb", "MIG-ffff-6666", 40 * GIB),
)


def look(gpus=GPUS, outer=None, declared=None, said=""):
    environment = {} if outer is None else {"CUDA_VISIBLE_DEVICES": outer}
    return devices_here(declared, environment, lambda: GpusHere(tuple(gpus), "999.1", said))


@pytest.mark.parametrize(
    ("outer", "visible"),
    [
        (None, ["0", "1", "2"]),
        ("", []),
        ("-1", []),
        ("2,0", ["2", "0"]),
        (" 1 , 2 ", ["1", "2"]),
        ("0,-1,1", ["0"]),
        ("0,7,1", ["0"]),
        ("none", []),
        ("1,1", []),
        ("GPU-cccc-3333,GPU-aaaa-1111", ["GPU-cccc-3333", "GPU-aaaa-1111"]),
        ("GPU-c,GPU-aab", ["GPU-c", "GPU-aab"]),
        ("GPU-c,GPU-aa", ["GPU-c"]),
        ("GPU-zzzz,0", []),
        ("MIG-GPU-9999/1/0,0", ["MIG-GPU-9999/1/0", "0"]),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_reads_it(outer: str | None, visible: list[str]) -> None:
    found = look(outer=outer).devices
    assert [device.visible for device in found] == visible
    assert [device.index for device in found] == list(range(len(visible)))


def test_a_device_has_the_name_and_memory_of_the_gpu_behind_its_entry() -> None:
    assert look(outer="2,1").devices == (
        Device(0, "L4", 24 * GIB, 24 * GIB, "2", uuid="GPU-cccc-3333"),
        Device(1, "A100", 80 * GIB, 10 * GIB, "1", uuid="GPU-aabb-2222"),
    )


def test_of_a_gpu_in_mig_mode_the_instances_are_the_devices() -> None:
    assert [device.visible for device in look(DIVIDED).devices] == ["MIG-eeee-5555", "MIG-ffff-6666"]
    (one,) = look(DIVIDED, "MIG-ffff-6666").devices
    assert (one.visible, one.memory_bytes) == ("MIG-ffff-6666", 40 * GIB)


def test_why_there_are_none_is_said() -> None:
    assert look((), said="no NVIDIA driver here").said == "no NVIDIA driver here"
    hidden = look(outer="")
    assert hidden.said == "CUDA_VISIBLE_DEVICES=(empty) shows none of the 3 GPUs of this machine"
    assert look().said == ""


def test_declared_devices_stand_in_for_those_that_are_not_found() -> None:
    found = look((), declared=[DeclaredDevice(0, "A", 24 * GIB), DeclaredDevice(1)], said="no NVIDIA driver here")
    assert found.said == ""
    assert found.devices == (
        Device(0, "A", 24 * GIB, None, "0", declared=True),
        Device(1, "", None, None, "1", declared=True),
    )


def test_declared_devices_are_fewer_or_others_of_those_that_are_found() -> None:
    (one,) = look(outer="2,0,1", declared=[DeclaredDevice(1)]).devices
    assert one == Device(1, "A100", 80 * GIB, 79 * GIB, "0", declared=True, uuid="GPU-aaaa-1111")
    assert look(declared=[]).devices == ()
    assert "declares none" in look(declared=[]).said


def test_a_declared_device_never_leaves_cuda_visible_devices() -> None:
    found = look((), "3,4", [DeclaredDevice(index) for index in range(3)]).devices
    assert [device.visible for device in found] == ["3", "4"]
