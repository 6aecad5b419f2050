import asyncio
from collections.abc import Sequence

import pytest
from engine_tools import ENVIRONMENT

from impetus.runtime.engines.worker_process import WorkerProcess
from impetus.runtime.frames import FromEngine


class Ends:
    """Takes note of how a worker ended."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def worker_wrote(self, frames: Sequence[FromEngine]) -> None:
        del frames

    def worker_said(self, line: str) -> None:
        del line

    def worker_ended(self, how: str, last_words: tuple[str, ...]) -> None:
        del last_words
        self.told.append(how)


async def test_a_kill_that_is_cancelled_waits_for_the_end_all_the_same() -> None:
    ends = Ends()
    worker = await WorkerProcess.spawn(ENVIRONMENT, ends)
    ending = asyncio.create_task(worker.kill())
    await asyncio.sleep(0)
    assert worker.alive
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert not worker.alive
    assert ends.told == ["SIGKILL"]
