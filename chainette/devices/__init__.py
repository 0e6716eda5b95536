"""The devices (GPUs) our processes may use, and which engine gets which. Starts nothing and reserves nothing."""

from chainette.devices.demand import Demand, demand_of
from chainette.devices.device import Device, DevicesHere
from chainette.devices.here import devices_here, visible_gpus
from chainette.devices.nvml import Gpu, GpusHere, read_gpus
from chainette.devices.placing import Lodger, Placement, place, place_lodgers
from chainette.devices.shortage import shortage
from chainette.devices.usage import device_memory_of

__all__ = [
    "Demand",
    "Device",
    "DevicesHere",
    "Gpu",
    "GpusHere",
    "Lodger",
    "Placement",
    "demand_of",
    "device_memory_of",
    "devices_here",
    "place",
    "place_lodgers",
    "read_gpus",
    "shortage",
    "visible_gpus",
]
