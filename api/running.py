"""Responses that are being made: found by their ids, and ended by somebody else's request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, contextmanager, suppress

from ..runtime.events import Event
from .dialects.responses_stream import ResponseStream

CANCEL_S = 5.0
"""How long a cancellation is waited for; it goes on without us."""


class Run:
    """One response on its way."""

    def __init__(self, response: ResponseStream) -> None:
        self.response = response
        self._cancelled = False
        self._limit: asyncio.Timeout | None = None
        """Around the wait for the next batch, while there is one."""
        self._over = asyncio.Event()

    async def cancel(self) -> None:
        """Ends the generation and waits until it has come to its end."""
        self._cancelled = True
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time())
        with suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_S):
                await self._over.wait()

    async def follow(self, batches: AsyncGenerator[list[Event], None]) -> AsyncGenerator[list[Event], None]:
        """Gives what comes, until it ends or is cancelled.

        Yields:
            The batches as they are.
        """
        try:
            async with aclosing(batches):
                while not self._cancelled:
                    batch = await self._next(batches)
                    if batch is None:
                        break
                    yield batch
        finally:
            self._over.set()

    async def _next(self, batches: AsyncGenerator[list[Event], None]) -> list[Event] | None:
        try:
            async with asyncio.timeout(None) as self._limit:
                return await anext(batches)
        except StopAsyncIteration:
            return None
        except TimeoutError:
            if not self._cancelled:
                raise
            return None
        finally:
            self._limit = None


class Running:
    """All of them, by id."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}

    def find(self, id_: str) -> Run | None:
        """Finds one; None where it is over or never was."""
        return self._runs.get(id_)

    @contextmanager
    def entry(self, response: ResponseStream) -> Generator[Run]:
        """Lists a response for as long as it is made."""
        run = self._runs[response.id] = Run(response)
        try:
            yield run
        finally:
            del self._runs[response.id]
