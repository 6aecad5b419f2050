"""The loop over an engine that goes wrong in ways no healthy engine can be brought to."""

import os
import threading
from collections.abc import Callable, Iterator

import pytest
from engine_tools import chat

from impetus.runtime.engines.frame_reader import FrameReader
from impetus.runtime.frames import Accepted, Cancel, Done, FromEngine, Generate, Limits, LoadOptions, Refused, Shutdown, Step
from impetus.runtime.request import GenerateRequest
from impetus.runtime.worker.backends.backend import Admission, Lost, StepOutcome
from impetus.runtime.worker.backends.echo import EchoBackend
from impetus.runtime.worker.loop import WorkerLoop
from impetus.runtime.worker.pipe import Inbox, Outlet


class Failing(EchoBackend):
    """An echo that fails where it is told to."""

    def __init__(self, fail: Callable[[EchoBackend, StepOutcome], None], *, refuse: bool = False) -> None:
        super().__init__()
        self._fail = fail
        self._refuse = refuse

    def admit(self, request: GenerateRequest) -> Admission:
        if self._refuse:
            self._refuse = False
            raise RuntimeError("out of ideas")
        return super().admit(request)

    def step(self) -> StepOutcome:
        outcome = super().step()
        self._fail(self, outcome)
        return outcome


class Reader:
    """The other end of the loop's pipe."""

    def __init__(self, inbox: Inbox, descriptor: int) -> None:
        self.inbox = inbox
        self._descriptor = descriptor
        self._reader = FrameReader()
        self._frames: list[FromEngine] = []

    def next(self) -> FromEngine:
        while not self._frames:
            self._frames = self._reader.feed(os.read(self._descriptor, 1 << 16))
        return self._frames.pop(0)

    def ending(self) -> Refused | Done:
        while True:
            frame = self.next()
            if isinstance(frame, Refused):
                return frame
            if isinstance(frame, Step) and frame.done:
                return frame.done[0]


Serve = Callable[..., Reader]


@pytest.fixture
def serve() -> Iterator[Serve]:
    inbox = Inbox()
    source, target = os.pipe()
    threads: list[threading.Thread] = []

    def run(backend: EchoBackend, *, echo_tps: float = 200, end_loops: bool = False) -> Reader:
        loaded = backend.load("", LoadOptions(echo_tps=echo_tps), lambda _: None)
        loop = WorkerLoop(backend, loaded, inbox, Outlet(target), end_loops=end_loops)
        threads.append(threading.Thread(target=loop.run))
        threads[0].start()
        return Reader(inbox, source)

    yield run
    inbox.put(Shutdown())
    threads[0].join(5)
    assert not threads[0].is_alive()
    os.close(source)
    os.close(target)


def test_a_step_that_fails_ends_its_generations_and_no_others(serve: Serve) -> None:
    steps = iter(range(100))

    def fail(backend: EchoBackend, outcome: StepOutcome) -> None:
        if next(steps) == 2:
            raise RuntimeError("no more compute")

    reader = serve(Failing(fail))
    reader.inbox.put(Generate(1, chat("a b c d e f g")))
    refused = reader.ending()
    assert isinstance(refused, Refused)
    assert (refused.id, refused.kind) == (1, "failed")
    assert "no more compute" in refused.message
    reader.inbox.put(Generate(2, chat("a b")))
    done = reader.ending()
    assert isinstance(done, Done)
    assert (done.id, done.reason, done.completion_tokens) == (2, "stop", 2)


@pytest.mark.parametrize(
    ("kind", "after", "ending"), [("overloaded", 0, "overloaded"), ("overloaded", 3, "length"), ("failed", 3, "failed")]
)
def test_a_lost_sequence_ends_as_honestly_as_it_can(serve: Serve, kind: str, after: int, ending: str) -> None:
    given = 0

    def fail(backend: EchoBackend, outcome: StepOutcome) -> None:
        nonlocal given
        room = max(0, after - given)
        given += len(outcome.tokens)
        if given > after:
            # On a busy machine several tokens are due at once.
            del outcome.tokens[room:]
            backend.drop(1)
            outcome.lost.append(Lost(1, kind, "no room"))  # type: ignore[arg-type]

    reader = serve(Failing(fail))
    reader.inbox.put(Generate(1, chat("a b c d e f g")))
    end = reader.ending()
    assert (end.kind if isinstance(end, Refused) else end.reason) == ending
    if isinstance(end, Done):
        assert end.completion_tokens == after


def test_a_request_that_breaks_the_engines_tokenizer_harms_nobody(serve: Serve) -> None:
    reader = serve(Failing(lambda backend, outcome: None, refuse=True))
    reader.inbox.put(Generate(1, chat("a")))
    reader.inbox.put(Generate(2, chat("a")))
    refused, accepted = reader.next(), reader.next()
    assert isinstance(refused, Refused)
    assert (refused.kind, refused.message) == ("failed", "The engine could not take the request: out of ideas")
    assert isinstance(accepted, Accepted)
    assert isinstance(reader.ending(), Done)


class Shrinkable(EchoBackend):
    """An echo that remembers how much room it was left."""

    def __init__(self) -> None:
        super().__init__()
        self.shares: list[float] = []

    def shrink(self, share: float) -> None:
        self.shares.append(share)


def test_under_limits_fewer_run_at_once_and_all_are_answered(serve: Serve) -> None:
    backend = Shrinkable()
    reader = serve(backend)
    reader.inbox.put(Limits(most_running=1, prefill_duty=0.5, decode_duty=0.5, cache_share=0.25, background=False))
    for number in (1, 2):
        reader.inbox.put(Generate(number, chat("a b c")))
    first, second = reader.ending(), reader.ending()
    assert [(end.id, end.reason) for end in (first, second) if isinstance(end, Done)] == [(1, "stop"), (2, "stop")]
    reader.inbox.put(Limits())
    reader.inbox.put(Generate(3, chat("a")))
    assert isinstance(reader.ending(), Done)
    assert backend.shares == [0.25, 1.0]


def test_an_engine_that_rests_still_takes_what_it_is_told(serve: Serve) -> None:
    reader = serve(EchoBackend())
    reader.inbox.put(Limits(prefill_duty=0.001, decode_duty=0.001))
    reader.inbox.put(Generate(1, chat("a " * 500)))
    assert isinstance(reader.next(), Accepted)
    reader.inbox.put(Cancel(1))
    reader.inbox.put(Limits())
    reader.inbox.put(Generate(2, chat("a")))
    end = reader.ending()
    assert isinstance(end, Done)
    assert end.id == 2


@pytest.mark.parametrize(
    ("text", "end_loops", "ends"),
    [
        ("the same and again " * 300, True, True),
        ("the same and again " * 300, False, False),
        (" ".join(str(number) for number in range(1500)), True, False),
    ],
)
def test_an_answer_that_only_repeats_itself_is_ended(serve: Serve, text: str, *, end_loops: bool, ends: bool) -> None:
    reader = serve(EchoBackend(), echo_tps=0, end_loops=end_loops)
    reader.inbox.put(Generate(1, chat(text)))
    done = reader.ending()
    assert isinstance(done, Done)
    assert done.reason == "stop"
    assert (done.completion_tokens < done.prompt_tokens - 50) is ends
