"""Tells how much of a model's files is in memory, while an engine reads them in one long call that says nothing.

Engines map the files instead of reading them: the bytes come when the mapping is made, or when the first token needs them,
and neither is a step that an engine reports. What the system holds of a file is known all the time.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from ..formats.gguf import SHARD_NAME

SAMPLES = 256
"""At so many places of each file it is looked whether they are in memory."""
EVERY_S = 0.1

log = logging.getLogger(__name__)


class ReadingWatch:
    """Looks again and again, in a thread of its own, for as long as the block lasts."""

    def __init__(self, path: Path, report: Callable[[float], None]) -> None:
        """Takes what to look at.

        Args:
            path: the model's file, the first of its shards, or its folder.
            report: told the share that is in memory, 0..1, in the thread; not called where the system does not tell.
        """
        self._paths = files_of(path)
        self._report = report
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reading", daemon=True)

    def __enter__(self) -> Self:
        """Starts to look."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Ends looking; nothing is reported any more."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while (share := cached_share(self._paths)) is not None:
            self._report(share)
            if self._over.wait(EVERY_S):
                return


def files_of(path: Path) -> tuple[Path, ...]:
    """The files of a model that is a file, the first of several shards, or a folder."""
    if path.is_dir():
        return tuple(sorted(file for file in path.iterdir() if file.is_file()))
    name = SHARD_NAME.fullmatch(path.name)
    if name is None:
        return (path,)
    count = int(name["count"])
    shards = (path.with_name(f"{name['stem']}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1))
    return tuple(shard for shard in shards if shard.is_file())


def cached_share(paths: Sequence[Path]) -> float | None:
    """Samples which share of some files is in memory; None where the system does not tell, or none of them has bytes."""
    total_bytes = 0
    cached_bytes = 0.0
    for path in paths:
        try:
            # Linux keeps from others what it holds of a file: all of it seems to be in memory then.
            if not os.access(path, os.W_OK):
                return None
            with path.open("rb", buffering=0) as file:
                size_bytes = os.fstat(file.fileno()).st_size
                if size_bytes:
                    cached_bytes += size_bytes * _sample(file.fileno(), size_bytes)
                    total_bytes += size_bytes
        except OSError as error:
            log.debug("%s: what is in memory cannot be told: %s", path, error)
            return None
    return cached_bytes / total_bytes if total_bytes else None


def _sample(descriptor: int, size_bytes: int) -> float:
    """The share of a file's pages that is in memory; raises OSError where that cannot be told.

    Sources: https://man7.org/linux/man-pages/man2/mincore.2.html,
    https://developer.apple.com/library/archive/documentation/System/Conceptual/ManPages_iPhoneOS/man2/mincore.2.html
    """
    libc = ctypes.CDLL(None, use_errno=True)
    state = ctypes.c_ubyte()
    pages = -(-size_bytes // mmap.PAGESIZE)
    samples = min(SAMPLES, pages)
    cached = 0
    with mmap.mmap(descriptor, size_bytes, access=mmap.ACCESS_READ) as mapping:
        # numpy gives the address of memory that must not be written, which ctypes refuses.
        view = np.frombuffer(mapping, dtype=np.uint8)
        begin = view.ctypes.data
        # A mapping that is still looked at cannot be closed.
        del view
        for number in range(samples):
            address = ctypes.c_void_p(begin + pages * number // samples * mmap.PAGESIZE)
            if libc.mincore(address, ctypes.c_size_t(1), ctypes.byref(state)) != 0:
                raise OSError(ctypes.get_errno(), "mincore failed")
            cached += state.value & 1
    return cached / samples
