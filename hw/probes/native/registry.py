"""The IORegistry: the GPU's cores and load, and the clocks it can take."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from . import libraries
from .core_foundation import CoreFoundation

_call: Final = partial(libraries.call, libraries.IO_KIT)
_NAME_LENGTH: Final = 128
_LEAST_HZ: Final = 50_000_000
_MOST_HZ: Final = 20_000_000_000


@dataclass(frozen=True, slots=True)
class GpuLoad:
    """What the driver tells of the GPU."""

    busy_percent: float | None = None
    memory_bytes: int | None = None
    """In use, by every program."""


class Registry:
    """Finds services by their class, and reads their properties."""

    def __init__(self, foundation: CoreFoundation) -> None:
        self._foundation = foundation

    def read_gpu_cores(self) -> int | None:
        """Reads how many cores the GPU has; a virtual machine's and Intel's say nothing."""
        with self._service("AGXAccelerator") as service, self._property(service, "gpu-core-count") as value:
            cores = self._foundation.to_integer(value)
        return cores if cores is not None and cores > 0 else None

    def read_gpu_load(self) -> GpuLoad:
        """Reads how busy the GPU is, and how much memory it holds."""
        with self._service("IOAccelerator") as service, self._property(service, "PerformanceStatistics") as statistics:
            busy = self._foundation.to_integer(self._foundation.find(statistics, "Device Utilization %"))
            memory = self._foundation.to_integer(self._foundation.find(statistics, "In use system memory"))
        fits = busy is not None and 0 <= busy <= 100
        return GpuLoad(float(busy) if busy is not None and fits else None, memory if memory is None or memory >= 0 else None)

    def read_gpu_clocks(self) -> tuple[float, ...]:
        """Reads the clocks of the GPU's states in MHz, in their order, without that of OFF."""
        for service in self._services("AppleARMIODevice"):
            if self._name(service) == "pmgr":
                with self._property(service, "voltage-states9") as value:
                    return to_clocks(self._foundation.to_bytes(value) or b"")
        return ()

    def connect(self, kind: str) -> int | None:
        """Opens a connection to the first service of a class that takes one; it is kept until the process ends."""
        for service in self._services(kind):
            connection = self._open(service)
            if connection is not None:
                return connection
        return None

    def exchange(self, connection: int, request: bytes) -> bytes | None:
        """Sends a structure to a connection's method 2, and gives the one that it answers with."""
        answer = ctypes.create_string_buffer(len(request))
        size = ctypes.c_size_t(len(request))
        pointer = libraries.POINTER
        types = (ctypes.c_uint, ctypes.c_uint, pointer, ctypes.c_size_t, pointer, ctypes.POINTER(ctypes.c_size_t))
        arguments = (connection, 2, request, len(request), answer, ctypes.byref(size))
        code = _call("IOConnectCallStructMethod", ctypes.c_int, types, *arguments)
        return answer.raw if code == 0 else None

    def _open(self, service: int) -> int | None:
        system = libraries.open_library(libraries.SYSTEM)
        if system is None:
            return None
        task = ctypes.c_uint.in_dll(system, "mach_task_self_").value
        connection = ctypes.c_uint(0)
        types = (ctypes.c_uint, ctypes.c_uint, ctypes.c_uint, ctypes.POINTER(ctypes.c_uint))
        code = _call("IOServiceOpen", ctypes.c_int, types, service, task, 0, ctypes.byref(connection))
        return connection.value if code == 0 and connection.value else None

    @contextmanager
    def _service(self, kind: str) -> Generator[int | None]:
        """Takes the first service of a class."""
        services = self._services(kind)
        try:
            yield next(services, None)
        finally:
            services.close()

    def _services(self, kind: str) -> Generator[int]:
        """Goes through the services of a class; each is given back when the next one is asked for."""
        types = (ctypes.c_uint, libraries.POINTER, ctypes.POINTER(ctypes.c_uint))
        iterator = ctypes.c_uint(0)
        matching: int | None = _call("IOServiceMatching", libraries.POINTER, (ctypes.c_char_p,), kind.encode())
        if matching is None:
            return
        # The description is used up by the search.
        code = _call("IOServiceGetMatchingServices", ctypes.c_int, types, 0, matching, ctypes.byref(iterator))
        if code != 0:
            return
        try:
            yield from self._each(iterator.value)
        finally:
            _call("IOObjectRelease", ctypes.c_int, (ctypes.c_uint,), iterator.value)

    def _each(self, iterator: int) -> Iterator[int]:
        while True:
            service: int = _call("IOIteratorNext", ctypes.c_uint, (ctypes.c_uint,), iterator)
            if not service:
                return
            try:
                yield service
            finally:
                _call("IOObjectRelease", ctypes.c_int, (ctypes.c_uint,), service)

    def _name(self, service: int) -> str:
        buffer = ctypes.create_string_buffer(_NAME_LENGTH)
        code = _call("IORegistryEntryGetName", ctypes.c_int, (ctypes.c_uint, ctypes.c_char_p), service, buffer)
        return buffer.value.decode("utf-8", "replace") if code == 0 else ""

    @contextmanager
    def _property(self, service: int | None, name: str) -> Generator[int | None]:
        """Reads a property of a service; it is given back when the context ends."""
        value: int | None = None
        types = (ctypes.c_uint, libraries.POINTER, libraries.POINTER, ctypes.c_uint)
        with self._foundation.string(name) as key:
            if service is not None and key:
                value = _call("IORegistryEntryCreateCFProperty", libraries.POINTER, types, service, key, None, 0)
        try:
            yield value
        finally:
            self._foundation.release(value)


def to_clocks(raw: bytes) -> tuple[float, ...]:
    """Takes clocks in MHz from pmgr's `voltage-states`: pairs of u32, Hz and mV, little-endian; a clock of 0 is the state OFF.

    Tables of CPUs count in kHz since the M4; those of GPUs in Hz on every chip.
    """
    pairs = [struct.unpack_from("<2I", raw, at) for at in range(0, len(raw) - 7, 8)]
    clocks = [hz if hz >= _LEAST_HZ else hz * 1000 for hz, _ in pairs if hz]
    return tuple(hz / 1e6 for hz in clocks) if all(_LEAST_HZ <= hz <= _MOST_HZ for hz in clocks) else ()
