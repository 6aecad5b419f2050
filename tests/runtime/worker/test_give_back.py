"""What becomes of memory that an engine frees."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

COUNT = """
import ctypes, sys
from impetus.runtime.worker.give_back import blocks_apart, keep_large_blocks_apart
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.free.argtypes = [ctypes.c_void_p]
class Told(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")]
    _fields_ += [(name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]
library.mallinfo2.restype = Told
if sys.argv[1] == "apart":
    keep_large_blocks_apart()
library.free(library.malloc(ctypes.c_size_t(8 << 20)))
if sys.argv[1] == "apart for a while":
    with blocks_apart():
        library.free(library.malloc(ctypes.c_size_t(8 << 20)))
before = library.mallinfo2().hblks
block = library.malloc(ctypes.c_size_t(4 << 20))
print(library.mallinfo2().hblks - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="another allocator than glibc's")
@pytest.mark.parametrize(("how", "apart"), [("apart", 1), ("as glibc likes", 0), ("apart for a while", 0)])
def test_large_blocks_stay_apart_after_larger_ones_were_freed(how: str, apart: int) -> None:
    """By itself glibc takes them from its heap from then on, and keeps them when they are freed."""
    done = subprocess.run([sys.executable, "-c", COUNT, how], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) == apart


WITHIN = """
import ctypes
from impetus.runtime.worker.give_back import blocks_apart
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.free.argtypes = [ctypes.c_void_p]
library.free(library.malloc(ctypes.c_size_t(8 << 20)))
with open("/proc/self/statm") as before:
    pages = int(before.read().split()[0])
with blocks_apart():
    block = library.malloc(ctypes.c_size_t(4 << 20))
library.free(block)
with open("/proc/self/statm") as after:
    print((int(after.read().split()[0]) - pages) * 4096 < 1 << 20)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="another allocator than glibc's")
def test_a_block_that_was_kept_apart_goes_back_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", WITHIN], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "True"
