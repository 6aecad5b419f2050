"""Runs blocking work that waits for the network, so that neither the event loop nor the program's end waits with it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def start_in_thread(work: Callable[[], T], *, name: str) -> asyncio.Future[T]:
    """Starts blocking work in a thread of its own and gives its future result.

    The thread is a daemon: a look-up or a connection that hangs cannot be interrupted, and a pool would make the
    program wait for it at its end.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # pyright: ignore[reportArgumentType] - without an error there is a result

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:
            failure = error
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:
            # The loop is closed: nobody is waiting any more.
            return

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
