"""Gives memory that was freed back to the system; an allocator keeps it for later otherwise."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

LARGE_BYTES = 256 * 1024
"""Keys and values of some hundred tokens in one layer."""
_M_MMAP_THRESHOLD = -3


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


def keep_large_blocks_apart() -> None:
    """Lets memory for keys and values go back to the system as soon as it is freed; nothing where glibc does not allocate.

    glibc learns to take larger and larger blocks from its heap, where the gaps that a growing sequence leaves are always too
    small for what comes next. To set the threshold ends that.

    Source: https://man7.org/linux/man-pages/man3/mallopt.3.html.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(ctypes.c_int(_M_MMAP_THRESHOLD), ctypes.c_int(LARGE_BYTES))
