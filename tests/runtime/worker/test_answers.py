"""Questions in the worker's loop, beside generations and among themselves."""

import os
import threading
from collections.abc import Callable, Iterator

import pytest
from engine_tools import chat

from impetus.runtime.engines.frame_reader import FrameReader
from impetus.runtime.frames import Answered, Ask, Cancel, FromEngine, Generate, LoadOptions, Refused, Shutdown, Step
from impetus.runtime.questions import Detokenize, Detokenized, Question, Tokenize
from impetus.runtime.worker.backends.backend import PromptTooLong, Refusal, Work
from impetus.runtime.worker.backends.echo import EchoBackend
from impetus.runtime.worker.loop import WorkerLoop
from impetus.runtime.worker.pipe import Inbox, Outlet


class Counting(EchoBackend):
    """An echo that answers after as many slices as the question has tokens, and goes wrong for some first tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.slices: list[int] = []
        self.closed = threading.Event()
        self.begun = threading.Event()

    def answer(self, question: Question) -> Work:
        assert isinstance(question, Detokenize)
        kind, *rest = question.token_ids
        try:
            for _ in rest:
                self.slices.append(kind)
                self.begun.set()
                yield
        finally:
            self.closed.set()
        match kind:
            case 1:
                raise Refusal("invalid", "not this one", param="tokens")
            case 2:
                raise PromptTooLong(9, 5, param="input[3]")
            case 3:
                raise RuntimeError("out of ideas")
            case _:
                return Detokenized(str(kind))


class Deep(Counting):
    """Its only slice lasts until nobody waits for it any more."""

    def __init__(self) -> None:
        super().__init__()
        self.abandoned = threading.Event()

    def answer(self, question: Question) -> Work:
        self.begun.set()
        assert self.abandoned.wait(5)
        yield
        return Detokenized("too late")

    def abandon(self) -> None:
        self.abandoned.set()


class Pipe:
    """The other end of a loop."""

    def __init__(self, inbox: Inbox, descriptor: int) -> None:
        self.inbox = inbox
        self._descriptor = descriptor
        self._reader = FrameReader()
        self._frames: list[FromEngine] = []

    def cancel(self, number: int) -> None:
        """As the thread does that reads frames."""
        self.inbox.put(Cancel(number))
        assert self.inbox.on_cancel is not None
        self.inbox.on_cancel(number)

    def next(self) -> FromEngine:
        while not self._frames:
            self._frames = self._reader.feed(os.read(self._descriptor, 1 << 16))
        return self._frames.pop(0)

    def ending(self) -> Answered | Refused:
        while not isinstance(frame := self.next(), Answered | Refused):
            pass
        return frame


Serve = Callable[[EchoBackend], Pipe]


@pytest.fixture
def serve() -> Iterator[Serve]:
    inbox = Inbox()
    source, target = os.pipe()
    threads: list[threading.Thread] = []

    def run(backend: EchoBackend) -> Pipe:
        loaded = backend.load("", LoadOptions(echo_tps=200), lambda _: None)
        threads.append(threading.Thread(target=WorkerLoop(backend, loaded, inbox, Outlet(target)).run))
        threads[0].start()
        return Pipe(inbox, source)

    yield run
    inbox.put(Shutdown())
    threads[0].join(5)
    assert not threads[0].is_alive()
    os.close(source)
    os.close(target)


def question(kind: int, slices: int = 0) -> Detokenize:
    return Detokenize((kind, *[0] * slices))


def test_an_answer_comes_after_its_last_slice(serve: Serve) -> None:
    backend = Counting()
    pipe = serve(backend)
    pipe.inbox.put(Ask(1, question(7, 3)))
    assert pipe.ending() == Answered(1, Detokenized("7"))
    assert backend.slices == [7, 7, 7]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (1, Refused(4, "invalid", "not this one", "tokens")),
        (2, Refused(4, "overflow", "9 tokens do not fit into a context of 5.", "input[3]", 9, 5)),
        (3, Refused(4, "failed", "The engine could not answer: out of ideas")),
    ],
)
def test_what_goes_wrong_ends_that_question_alone(kind: int, expected: Refused, serve: Serve) -> None:
    pipe = serve(Counting())
    pipe.inbox.put(Ask(4, question(kind, 1)))
    assert pipe.ending() == expected
    pipe.inbox.put(Ask(5, question(8)))
    assert pipe.ending() == Answered(5, Detokenized("8"))


def test_a_short_question_overtakes_a_long_one_and_a_generation_goes_on(serve: Serve) -> None:
    backend = Counting()
    pipe = serve(backend)
    pipe.inbox.put(Ask(1, question(7, 10_000_000)))
    assert backend.begun.wait(5)
    pipe.inbox.put(Generate(2, chat("a b")))
    pipe.inbox.put(Ask(3, question(8, 2)))
    assert pipe.ending() == Answered(3, Detokenized("8"))
    while not (isinstance(frame := pipe.next(), Step) and frame.done):
        pass
    pipe.inbox.put(Cancel(1))
    assert backend.closed.wait(5)


def test_a_cancelled_question_is_closed_and_never_answered(serve: Serve) -> None:
    backend = Counting()
    pipe = serve(backend)
    pipe.inbox.put(Ask(1, question(7, 10_000_000)))
    assert backend.begun.wait(5)
    pipe.inbox.put(Cancel(1))
    assert backend.closed.wait(5)
    pipe.inbox.put(Ask(2, question(8)))
    assert pipe.ending() == Answered(2, Detokenized("8"))


def test_a_slice_ends_early_once_nobody_waits_for_any_answer(serve: Serve) -> None:
    backend = Deep()
    pipe = serve(backend)
    pipe.inbox.put(Ask(1, question(7)))
    assert backend.begun.wait(5)
    pipe.cancel(2)
    assert not backend.abandoned.is_set(), "that one is not in it"
    pipe.cancel(1)
    assert backend.abandoned.is_set()


def test_a_backend_that_only_writes_says_so(serve: Serve) -> None:
    pipe = serve(EchoBackend())
    pipe.inbox.put(Ask(1, Tokenize(("a",))))
    assert pipe.ending() == Refused(1, "invalid", "The engine of this model only writes text.")
