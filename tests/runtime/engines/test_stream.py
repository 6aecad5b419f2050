import asyncio

import pytest

from impetus.runtime.engines.stream import HOLD_AT, Stream
from impetus.runtime.frames import Delta, Done


def done() -> Done:
    return Done(1, "stop", 1, 1, 0, 0.0, 0.0)


class Holds:
    def __init__(self) -> None:
        self.told: list[bool] = []

    def __call__(self, stream_id: int, held: bool) -> None:
        self.told.append(held)


async def test_what_arrived_is_read_at_once() -> None:
    stream = Stream(1, Holds())
    reader = asyncio.create_task(stream.read())
    await asyncio.sleep(0)
    stream.put(Delta(1, "a"))
    stream.put(Delta(1, "b"))
    stream.wake()
    assert await reader == [Delta(1, "a"), Delta(1, "b")]


async def test_an_error_comes_after_what_arrived_before_it() -> None:
    stream = Stream(1, Holds())
    stream.put(Delta(1, "a"))
    stream.fail(ValueError("no"))
    stream.fail(KeyError("a second one is too late"))
    assert await stream.read() == [Delta(1, "a")]
    with pytest.raises(ValueError, match="no"):
        await stream.read()


async def test_a_finished_stream_is_read_to_its_end() -> None:
    stream = Stream(1, Holds())
    stream.put(done())
    stream.finished = True
    stream.wake()
    assert await stream.read() == [done()]
    assert await stream.read() == []


async def test_a_reader_far_behind_is_held_until_it_comes() -> None:
    holds = Holds()
    stream = Stream(1, holds)
    for _ in range(HOLD_AT):
        stream.put(Delta(1, "a"))
    stream.wake()
    stream.put(Delta(1, "b"))
    stream.wake()
    assert holds.told == [True]
    assert len(await stream.read()) == HOLD_AT + 1
    assert holds.told == [True, False]


async def test_a_finished_stream_is_not_held() -> None:
    holds = Holds()
    stream = Stream(1, holds)
    for _ in range(HOLD_AT):
        stream.put(Delta(1, "a"))
    stream.put(done())
    stream.finished = True
    stream.wake()
    await stream.read()
    assert holds.told == []
