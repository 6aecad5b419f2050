"""Threads whose work can wait."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

NICE = 10
"""By Linux's table such a thread gets a tenth of what one with 0 gets, where both want the same core."""
_DARWIN_THREAD = 3
_DARWIN_BACKGROUND = 0x1000
"""PRIO_DARWIN_THREAD and PRIO_DARWIN_BG of sys/resource.h; Python names the first only from 3.12 on."""


def step_back() -> None:
    """Lets the calling thread compute only as far as others leave room; where the system cannot do that, nothing happens."""
    with contextlib.suppress(OSError):
        if sys.platform == "linux":
            # There each thread has a niceness of its own, in spite of POSIX.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        elif sys.platform == "darwin":
            os.setpriority(_DARWIN_THREAD, 0, _DARWIN_BACKGROUND)
