"""A request that is made again where its engine's process ended before it said anything."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from ..errors import EngineCrashed
from ..events import Admitted, Event, speaks

log = logging.getLogger(__name__)


async def repeat_after_crash(run: Callable[[], AsyncGenerator[list[Event], None]]) -> AsyncGenerator[list[Event], None]:
    """Runs a request, and once more if its engine crashes before the first word: its reader never notices.

    Args:
        run: begins it, each time anew.

    Yields:
        What `run` yields, `Admitted` only once.

    Raises:
        EngineCrashed: it was answered in part already, or the engine crashed again.
    """
    for may_repeat in (True, False):
        spoke = False
        try:
            async with aclosing(run()) as batches:
                async for batch in batches:
                    said: list[Event] = batch if may_repeat else [event for event in batch if not isinstance(event, Admitted)]
                    spoke = spoke or speaks(batch)
                    if said:
                        yield said
            return
        except EngineCrashed as error:
            if spoke or not may_repeat:
                raise
            log.warning("%s Nothing was answered yet, so the request is made again.", error.message)
