import os
import sys
import threading

import pytest

from impetus.runtime.worker.background import NICE, step_back


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell a thread's niceness")
def test_only_the_thread_that_asks_steps_back() -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    seen: list[int] = []

    def run() -> None:
        step_back()
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    assert seen == [max(before, NICE)]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_where_the_system_refuses_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def refuse(*given: int) -> None:
        asked.extend(given)
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse)
    for platform in ("linux", "darwin", "win32"):
        monkeypatch.setattr(sys, "platform", platform)
        step_back()
    assert asked == [os.PRIO_PROCESS, threading.get_native_id(), NICE, 3, 0, 0x1000]
