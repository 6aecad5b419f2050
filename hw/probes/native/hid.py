"""Temperatures by IOHID: for Macs whose controller has no keys for them, as an M1 before macOS 14."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

from . import libraries
from .core_foundation import CoreFoundation
from .smc import hottest

_call: Final = partial(libraries.call, libraries.IO_KIT)
_POINTER: Final = libraries.POINTER
_PAGE: Final = {"PrimaryUsagePage": 0xFF00, "PrimaryUsage": 5}
"""kHIDPage_AppleVendor and kHIDUsage_AppleVendor_TemperatureSensor."""
_TEMPERATURE: Final = 15
"""kIOHIDEventTypeTemperature; the field of its value is this, 16 bits to the left."""
_CHIP_SENSORS: Final = ("pACC", "eACC", "GPU MTR", "SOC MTR", "PMGR SOC Die", "PMU tdie", "PMU2 tdie")
"""What is left out: batteries, disks, the case, and `tcal` and `TR0Z`, which read 51.9 °C whatever happens."""


def to_chip_heat(readings: Iterable[tuple[str, float]]) -> float | None:
    """Picks the hottest sensor of the chip, in °C."""
    return hottest(celsius for name, celsius in readings if name.startswith(_CHIP_SENSORS))


class HidSensors:
    """Keeps the client, and asks each sensor at each look."""

    def __init__(self, foundation: CoreFoundation) -> None:
        self._foundation = foundation
        self._client: int | None = _call("IOHIDEventSystemClientCreate", _POINTER, (_POINTER,), None)
        with foundation.numbers(_PAGE) as matching:
            if self._client is not None and matching is not None:
                _call("IOHIDEventSystemClientSetMatching", ctypes.c_int32, (_POINTER, _POINTER), self._client, matching)

    def read_chip_heat(self) -> float | None:
        """Reads the hottest sensor of the chip."""
        return to_chip_heat(self._readings())

    def _readings(self) -> Iterator[tuple[str, float]]:
        if self._client is None:
            return
        services: int | None = _call("IOHIDEventSystemClientCopyServices", _POINTER, (_POINTER,), self._client)
        try:
            for service in self._foundation.items(services):
                name, celsius = self._name(service), self._celsius(service)
                if name is not None and celsius is not None:
                    yield name, celsius
        finally:
            self._foundation.release(services)

    def _name(self, service: int) -> str | None:
        with self._foundation.string("Product") as key:
            name: int | None = _call("IOHIDServiceClientCopyProperty", _POINTER, (_POINTER, _POINTER), service, key)
        try:
            return self._foundation.to_text(name)
        finally:
            self._foundation.release(name)

    def _celsius(self, service: int) -> float | None:
        types = (_POINTER, ctypes.c_int64, ctypes.c_int32, ctypes.c_int64)
        event: int | None = _call("IOHIDServiceClientCopyEvent", _POINTER, types, service, _TEMPERATURE, 0, 0)
        if event is None:
            return None
        try:
            field = _TEMPERATURE << 16
            return _call("IOHIDEventGetFloatValue", ctypes.c_double, (_POINTER, ctypes.c_int32), event, field)
        finally:
            self._foundation.release(event)
