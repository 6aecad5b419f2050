"""Gives memory that was freed back to the system; an allocator keeps it for later otherwise."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress


def give_back_memory() -> None:
    """Asks the allocator to let go of what it does not use; nothing where it cannot be asked.

    Sources: https://man7.org/linux/man-pages/man3/malloc_trim.3.html; `malloc_zone_pressure_relief` in macOS' malloc/malloc.h.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        if sys.platform == "darwin":
            library.malloc_zone_pressure_relief(ctypes.c_void_p(None), ctypes.c_size_t(0))
        else:
            library.malloc_trim(ctypes.c_size_t(0))
