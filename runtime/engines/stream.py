"""One generation on our side of the pipe: what arrived and was not read yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..frames import Accepted, Begun, Delta, Done

Batch = list[Accepted | Begun | Delta | Done]

HOLD_AT = 512
"""So many unread tokens, and the engine is asked to let the others go on without this one."""


class Stream:
    """Gathers a generation's frames until its reader comes for them.

    A reader that falls behind has its generation held in the engine, so memory stays bounded and no other reader waits
    for it; when it comes back, the generation goes on.
    """

    def __init__(self, stream_id: int, set_held: Callable[[int, bool], None]) -> None:
        self.id = stream_id
        self.finished = False
        """Whether nothing more comes for it from the engine."""
        self._set_held = set_held
        self._held = False
        self._unread: Batch = []
        self._error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None

    def put(self, frame: Accepted | Begun | Delta | Done) -> None:
        """Takes a frame; the reader is woken by `wake`."""
        self._unread.append(frame)

    def wake(self) -> None:
        """Wakes the reader, or holds the generation where its reader has too much to read already."""
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
        if len(self._unread) >= HOLD_AT and not self._held and not self.finished:
            self._held = True
            self._set_held(self.id, True)

    def fail(self, error: Exception) -> None:
        """Ends it with an error, which the reader meets after what arrived before."""
        if not self.finished:
            self.finished = True
            self._error = error
            self.wake()

    async def read(self) -> Batch:
        """Waits for something to arrive and gives all of it; [] when all has been read.

        Raises:
            Exception: what `fail` was given.
        """
        while not self._unread:
            if self._error is not None:
                raise self._error
            if self.finished:
                return []
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        batch, self._unread = self._unread, []
        if self._held:
            self._held = False
            if not self.finished:
                self._set_held(self.id, False)
        return batch
