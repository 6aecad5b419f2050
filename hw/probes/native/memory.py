"""host_statistics64(HOST_VM_INFO64): pages by their kind (mach/vm_statistics.h)."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from typing import Final

from . import libraries

_VM_INFO: Final = 4
_FIRST_COUNT: Final = 38
"""Ints of the structure up to macOS 15. More than the kernel knows makes it log an error."""
_NEWER_COUNT: Final = 62
"""Ints of macOS 26's."""
_MOST_COUNT: Final = 256
_TOO_LARGE: Final = -307
"""MIG_ARRAY_TOO_LARGE: a newer kernel's structure is longer, and the count that it returns says how long."""
_OFFSETS: Final = {"wired": 12, "purgeable": 88, "compressor": 128, "internal": 140}
"""Bytes from the start; the beginning of the structure has never changed."""
_LENGTH: Final = 152

Ask = Callable[["ctypes.Array[ctypes.c_int]", ctypes.c_uint], int]
"""Fills the array and sets the count; gives the kernel's return code."""


class HostMemory:
    """Reads the memory in use; None where the kernel does not tell."""

    def __init__(self) -> None:
        self._ask, self.page_bytes = _open()

    def read_used_bytes(self) -> int | None:
        """Reads anonymous memory that cannot be purged, wired memory and the compressor's."""
        raw = read_statistics(self._ask) if self._ask is not None else None
        return to_used_bytes(raw, self.page_bytes) if raw is not None and self.page_bytes is not None else None


def read_statistics(ask: Ask) -> bytes | None:
    """Asks with the old length, and where the kernel wants more, once more with its own."""
    wanted = _FIRST_COUNT
    for _ in range(2):
        values = (ctypes.c_int * _MOST_COUNT)()
        count = ctypes.c_uint(wanted)
        code = ask(values, count)
        if code == 0:
            return bytes(values)[: count.value * 4]
        if code != _TOO_LARGE:
            return None
        # A kernel that leaves the count as it was does not say what it wants.
        wanted = count.value if wanted < count.value <= _MOST_COUNT else _NEWER_COUNT
    return None


def to_used_bytes(raw: bytes, page_bytes: int) -> int | None:
    """Takes the bytes in use from a vm_statistics64; None where it is too short, or tells of no page at all."""
    if len(raw) < _LENGTH or page_bytes <= 0:
        return None
    pages: dict[str, int] = {name: struct.unpack_from("<I", raw, offset)[0] for name, offset in _OFFSETS.items()}
    used = max(0, pages["internal"] - pages["purgeable"]) + pages["wired"] + pages["compressor"]
    return used * page_bytes or None


def _open() -> tuple[Ask | None, int | None]:
    host_self = libraries.bind(libraries.SYSTEM, "mach_host_self", ctypes.c_uint)
    statistics = libraries.bind(
        libraries.SYSTEM,
        "host_statistics64",
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.POINTER(ctypes.c_uint),
    )
    page_size = libraries.bind(libraries.SYSTEM, "host_page_size", ctypes.c_int, ctypes.c_uint, ctypes.POINTER(ctypes.c_size_t))
    if host_self is None or statistics is None or page_size is None:
        return None, None
    # Each call of mach_host_self takes another right to the port.
    host: int = host_self()
    size = ctypes.c_size_t(0)
    known = page_size(host, ctypes.byref(size)) == 0 and size.value > 0
    return lambda values, count: statistics(host, _VM_INFO, values, ctypes.byref(count)), size.value if known else None
