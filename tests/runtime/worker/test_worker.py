"""The child process alone, by its pipes."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from engine_tools import ENVIRONMENT, chat, find_starter, is_gone, opened

from impetus.runtime.engines.frame_reader import FrameReader
from impetus.runtime.frames import (
    FromEngine,
    Generate,
    Load,
    LoadRefused,
    Prepare,
    Prepared,
    Ready,
    Shutdown,
    Step,
    ToEngine,
    encode,
)

COMMAND = (sys.executable, "-P", "-m", "impetus.runtime.worker")
ECHO = Load("echo", "m", "echo")


class Worker:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._reader = FrameReader()
        self._frames: list[FromEngine] = []

    def send(self, *frames: ToEngine) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"".join(map(encode, frames)))
        self.process.stdin.flush()

    def read(self, kind: type[FromEngine]) -> FromEngine:
        """Reads up to the first frame of a kind."""
        assert self.process.stdout is not None
        while True:
            while self._frames:
                frame = self._frames.pop(0)
                if isinstance(frame, kind):
                    return frame
            data = self.process.stdout.read1(1 << 16)
            assert data, "the worker left"
            self._frames += self._reader.feed(data)


@contextmanager
def worker(*command: str) -> Iterator[Worker]:
    process = subprocess.Popen(
        command or COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT
    )
    try:
        yield Worker(process)
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()


def test_it_leaves_when_it_is_told() -> None:
    with worker() as child:
        child.send(ECHO)
        child.read(Ready)
        child.send(Shutdown())
        assert child.process.wait(5) == 0


@pytest.mark.parametrize("backend", ["echo", "abacus"])
def test_it_prepares_for_an_engine_and_takes_any_model_then(backend: str) -> None:
    with worker() as child:
        child.send(Prepare(backend))
        child.read(Prepared)
        child.send(ECHO)
        child.read(Ready)


def test_it_leaves_when_it_is_told_before_it_was_given_a_model() -> None:
    with worker() as child:
        child.send(Prepare("echo"))
        child.read(Prepared)
        child.send(Shutdown())
        assert child.process.wait(5) == 0


def test_it_leaves_in_mid_stream_when_its_stdin_ends() -> None:
    with worker() as child:
        child.send(ECHO, Generate(1, chat("word", max_tokens=100_000, echo_tps=20)))
        child.read(Step)
        assert child.process.stdin is not None
        child.process.stdin.close()
        assert child.process.wait(5) == 0


def test_it_leaves_when_its_stdin_ends_while_it_is_blocked_by_a_full_pipe() -> None:
    with worker() as child:
        child.send(ECHO, Generate(1, chat("word", max_tokens=100_000, echo_tps=0)))
        child.read(Ready)
        blocked = psutil.Process(child.process.pid)
        while blocked.status() != psutil.STATUS_SLEEPING:
            pass
        assert child.process.stdin is not None
        child.process.stdin.close()
        assert child.process.wait(5) == 0


def test_it_ends_at_what_is_no_frame() -> None:
    with worker() as child:
        assert child.process.stdin is not None
        child.process.stdin.write(b"\x04\0\0\0{}{}")
        child.process.stdin.flush()
        assert child.process.wait(5) == 70


def test_an_unknown_engine_is_refused() -> None:
    with worker() as child:
        child.send(Load("abacus", "m", "x"))
        refused = child.read(LoadRefused)
        assert isinstance(refused, LoadRefused)
        assert "abacus" in refused.why
        assert child.process.wait(5) == 0


def test_what_a_library_prints_never_mixes_with_frames() -> None:
    # An engine's native code writes to descriptor 1 itself, and knows nothing of sys.stdout.
    noise = (
        "import os, sys; from impetus.runtime.worker import pipe; take = pipe.take_over_pipes\n"
        "def noisy():\n"
        "    ends = take(); print('hello'); os.write(1, b'hello'); assert os.read(0, 1) == b''; return ends\n"
        "pipe.take_over_pipes = noisy\n"
        "from impetus.runtime.worker.__main__ import main; main()"
    )
    with worker(sys.executable, "-P", "-c", noise) as child:
        child.send(ECHO)
        assert isinstance(child.read(Ready), Ready)


async def test_an_idle_worker_takes_no_processor_time() -> None:
    async with asyncio.timeout(30), opened() as engine:
        async for _ in engine.generate(chat("hello")):
            pass
        await engine.until(running=0)
        assert engine.pid is not None
        process = psutil.Process(engine.pid)
        took_s: list[float] = []
        while not took_s or took_s[-1] > 0.02:
            # What was begun before may still come to its end in the first second; a worker that turns idly never rests.
            assert len(took_s) < 5, took_s
            before = process.cpu_times()
            await asyncio.sleep(1)  # the time that is measured
            after = process.cpu_times()
            took_s.append(after.user + after.system - before.user - before.system)


PARENT = """
import asyncio, os, sys
from contextlib import aclosing
from pathlib import Path
from impetus.runtime.engines.process import EngineProcess
from impetus.runtime.frames import LoadOptions
from impetus.runtime.request import GenerateRequest, TextPrompt

async def main(backend, path):
    engine = EngineProcess(model_id="m", path=Path(path), backend=backend, options=LoadOptions(), environment=os.environ)
    await engine.start()
    request = GenerateRequest("m", TextPrompt("Once upon a time " * 400), max_tokens=5000, echo_tps=100)
    async with aclosing(engine.generate(request)) as batches:
        async for batch in batches:
            print(engine.pid, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("backend", ["echo", pytest.param("llama", marks=pytest.mark.engine)])
def test_no_worker_outlives_a_killed_parent(backend: str) -> None:
    path = find_starter() if backend == "llama" else Path("echo")
    command = (sys.executable, "-c", PARENT, backend, str(path))
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT) as parent:
        assert parent.stdout is not None
        # The first line comes with the admission: the llama engine then is deep in the prompt, within native code.
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
        parent.wait(5)
    try:
        child.wait(2)
    except psutil.TimeoutExpired:
        pytest.fail("the worker lives on")
    assert is_gone(child.pid)
