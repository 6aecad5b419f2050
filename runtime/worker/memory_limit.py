"""Keeps a worker that a damaged file leads astray from taking the machine's memory."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

GPU_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/kfd"))
"""Where one of these is, a driver may reserve addresses by the hundred gigabytes without taking memory."""
ROOM_BYTES = 64 * 1024**2
"""At least so much beyond what the process has already."""
MIB = 1024**2

log = logging.getLogger(__name__)


def limit_memory(limit_bytes: int | None) -> bool:
    """Lets every later allocation beyond the limit fail, as if the machine had no more memory.

    Files that are mapped to be read, as weights are, do not count. Only Linux counts private memory apart (RLIMIT_DATA,
    https://man7.org/linux/man-pages/man2/setrlimit.2.html); macOS ignores its limits for what is mapped.

    Returns:
        Whether the limit holds.
    """
    if limit_bytes is None or sys.platform != "linux" or any(device.exists() for device in GPU_DEVICES):
        return False
    import resource

    limit = max(limit_bytes, _allocated_bytes() + ROOM_BYTES)
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if most != resource.RLIM_INFINITY:
        limit = min(limit, most)
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, most))
    except (OSError, ValueError) as error:
        log.warning("no limit of memory: %s", error)
        return False
    log.info("may allocate %d MiB", limit // MIB)
    return True


def _allocated_bytes() -> int:
    """The private memory that counts already; 0 where it cannot be read."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
    except (OSError, StopIteration, ValueError):
        return 0
