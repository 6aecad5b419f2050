"""Gives memory that was freed back to the system; an allocator keeps it for later otherwise."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress

LARGE_BYTES = 256 * 1024
"""Keys and values of some hundred tokens in one layer."""
_LEARNT_BYTES = 32 << 20
"""What glibc's own threshold grows to; it keeps twice as much of what is freed at the heap's end."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


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
    """Lets large blocks go back to the system as soon as they are freed; nothing where glibc does not allocate.

    glibc learns to take larger and larger blocks from its heap, where the gaps that a growing sequence leaves are always too
    small for what comes next. To set the threshold ends that. Each block costs its first touch anew, so that this is for
    engines that keep what they compute with; others want it for keys and values alone, see `blocks_apart`.

    Source: https://man7.org/linux/man-pages/man3/mallopt.3.html.
    """
    _set_threshold(LARGE_BYTES)


@contextmanager
def blocks_apart() -> Generator[None]:
    """Keeps the large blocks apart that are allocated in it, as `keep_large_blocks_apart` does, and no others."""
    _set_threshold(LARGE_BYTES)
    try:
        yield
    finally:
        _set_threshold(_LEARNT_BYTES)


def _set_threshold(size: int) -> None:
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(ctypes.c_int(_M_MMAP_THRESHOLD), ctypes.c_int(size))
        library.mallopt(ctypes.c_int(_M_TRIM_THRESHOLD), ctypes.c_int(2 * size))
