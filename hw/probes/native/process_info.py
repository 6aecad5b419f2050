"""Thermal pressure by notify(3), and what NSProcessInfo and Metal's device tell: a few messages to Objective-C objects."""

from __future__ import annotations

import ctypes
from typing import Any, Final

from ...sample import ThermalLevel
from ...thermal import from_process_state, from_raw
from . import libraries

_PRESSURE: Final = b"com.apple.system.thermalpressurelevel"


class ThermalPressure:
    """The level that the system publishes; registered for once, then read for a microsecond."""

    def __init__(self) -> None:
        self._get = libraries.bind(
            libraries.SYSTEM, "notify_get_state", ctypes.c_uint, ctypes.c_int, ctypes.POINTER(ctypes.c_uint64)
        )
        check = libraries.bind(
            libraries.SYSTEM, "notify_register_check", ctypes.c_uint, ctypes.c_char_p, ctypes.POINTER(ctypes.c_int)
        )
        token = ctypes.c_int(-1)
        self._token = token.value
        if check is not None and check(_PRESSURE, ctypes.byref(token)) == 0:
            self._token = token.value

    def read_level(self) -> ThermalLevel | None:
        """Reads the level."""
        state = ctypes.c_uint64()
        if self._get is None or self._token < 0 or self._get(self._token, ctypes.byref(state)) != 0:
            return None
        return from_raw(state.value)


class Objects:
    """Sends messages to Objective-C objects; each with the types of its own, as arm64 passes variadic arguments otherwise."""

    def __init__(self) -> None:
        self._class = libraries.bind(libraries.OBJC, "objc_getClass", libraries.POINTER, ctypes.c_char_p)
        self._selector = libraries.bind(libraries.OBJC, "sel_registerName", libraries.POINTER, ctypes.c_char_p)
        library = libraries.open_library(libraries.OBJC)
        self._send = ctypes.cast(library.objc_msgSend, libraries.POINTER).value if library is not None else None

    def find_class(self, name: bytes) -> int | None:
        """Finds a class by its name."""
        return self._class(name) if self._class is not None else None

    def send(self, receiver: int | None, message: bytes, result: Any) -> Any:
        """Sends a message without arguments; None where there is no receiver, or one that does not know the message."""
        if receiver is None or self._send is None or self._selector is None:
            return None
        knows = ctypes.CFUNCTYPE(ctypes.c_bool, libraries.POINTER, libraries.POINTER, libraries.POINTER)(self._send)
        selector = self._selector(message)
        if not knows(receiver, self._selector(b"respondsToSelector:"), selector):
            return None
        return ctypes.CFUNCTYPE(result, libraries.POINTER, libraries.POINTER)(self._send)(receiver, selector)


class ProcessInfo:
    """NSProcessInfo of this process."""

    def __init__(self, objects: Objects) -> None:
        libraries.open_library(libraries.FOUNDATION)
        self._objects = objects
        self._info: int | None = objects.send(objects.find_class(b"NSProcessInfo"), b"processInfo", libraries.POINTER)

    def read_thermal_state(self) -> ThermalLevel | None:
        """Reads the state, which is coarser than the pressure's level."""
        state: int | None = self._objects.send(self._info, b"thermalState", ctypes.c_long)
        return from_process_state(state) if state is not None else None

    def read_low_power(self) -> bool | None:
        """Reads whether the Mac saves power; macOS 12 and later."""
        return self._objects.send(self._info, b"isLowPowerModeEnabled", ctypes.c_bool)


def read_gpu_limits(objects: Objects) -> tuple[int | None, int | None]:
    """Reads how much memory the GPU may hold at once and in one piece, in bytes, from MTLDevice.

    A program without windows must open CoreGraphics first, or there is no default device.
    """
    libraries.open_library(libraries.CORE_GRAPHICS)
    create = libraries.bind(libraries.METAL, "MTLCreateSystemDefaultDevice", libraries.POINTER)
    device: int | None = create() if create is not None else None
    working_set: int | None = objects.send(device, b"recommendedMaxWorkingSetSize", ctypes.c_uint64)
    buffer: int | None = objects.send(device, b"maxBufferLength", ctypes.c_ulong)
    objects.send(device, b"release", None)
    return working_set or None, buffer or None
