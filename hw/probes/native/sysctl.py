"""sysctlbyname(3): the kernel's values by their names."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from . import libraries

ReadRaw = Callable[[str], "bytes | None"]
"""Takes a name to the bytes that the kernel keeps under it; None where it keeps none, or shows none."""

_MOST_BYTES: Final = 1 << 16
_TEXTS: Final = (".name", ".brand_string", ".model", ".hostname", ".osproductversion", ".osversion", ".version", ".targettype")


def open_sysctl() -> ReadRaw | None:
    """Gives the reader of this machine; None where there is no sysctlbyname."""
    size_type = ctypes.POINTER(ctypes.c_size_t)
    call = libraries.bind(
        libraries.SYSTEM,
        "sysctlbyname",
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_void_p,
        size_type,
        ctypes.c_void_p,
        ctypes.c_size_t,
    )
    return None if call is None else lambda name: read_raw(call, name)


def read_raw(call: libraries.Function, name: str) -> bytes | None:
    """Reads a value by two calls of sysctlbyname: for its size, and for its bytes."""
    size = ctypes.c_size_t(0)
    if call(name.encode(), None, ctypes.byref(size), None, 0) != 0 or not 0 < size.value <= _MOST_BYTES:
        return None
    buffer = ctypes.create_string_buffer(size.value)
    if call(name.encode(), buffer, ctypes.byref(size), None, 0) != 0:
        return None
    return buffer.raw[: size.value]


def to_integer(raw: bytes) -> int | None:
    """Takes a signed number of 4 or 8 bytes, whichever the kernel chose."""
    formats = {4: "<i", 8: "<q"}
    return struct.unpack(formats[len(raw)], raw)[0] if len(raw) in formats else None


def to_text(raw: bytes) -> str:
    """Takes text that ends with a zero byte."""
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace").strip()


def read_keys(read: ReadRaw, names: Sequence[str]) -> Mapping[str, str]:
    """Reads what there is of some names, as the program sysctl would print it; structures are left out."""
    keys: dict[str, str] = {}
    for name in names:
        raw = read(name)
        if raw is None:
            continue
        if name.endswith(_TEXTS):
            keys[name] = to_text(raw)
        elif (number := to_integer(raw)) is not None:
            keys[name] = str(number)
    return keys


def to_swap_used(raw: bytes) -> int | None:
    """Takes the bytes in use from vm.swapusage: u64 total, available, used; u32 page size, encrypted (sys/sysctl.h)."""
    return struct.unpack_from("<3Q", raw)[2] if len(raw) >= struct.calcsize("<3Q") else None
