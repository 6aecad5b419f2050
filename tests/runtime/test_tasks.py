import asyncio
import logging

import pytest

from impetus.runtime.tasks import Tasks


async def test_closing_waits_for_what_a_cancelled_task_puts_in_order() -> None:
    tasks, began, ended = Tasks(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.set()

    tasks.begin(work(), name="endless")
    await began.wait()
    assert len(tasks) == 1
    await tasks.close()
    assert ended.is_set()
    assert len(tasks) == 0
    await tasks.close()


async def test_an_error_is_told_with_the_name_of_its_task(caplog: pytest.LogCaptureFixture) -> None:
    tasks, failed = Tasks(), asyncio.Event()

    async def work() -> None:
        failed.set()
        raise RuntimeError("no such thing")

    with caplog.at_level(logging.ERROR):
        tasks.begin(work(), name="doomed")
        await failed.wait()
        await tasks.close()
    [record] = caplog.records
    assert (record.getMessage(), str(record.exc_info and record.exc_info[1])) == ("the task 'doomed' failed", "no such thing")
