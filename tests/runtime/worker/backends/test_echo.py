import time
from typing import Any

import pytest
from engine_tools import chat
from hypothesis import given
from hypothesis import strategies as st

from impetus.runtime.frames import LoadOptions
from impetus.runtime.request import GenerateRequest, TextPrompt, TokenPrompt
from impetus.runtime.worker.backends import echo, playing
from impetus.runtime.worker.backends.backend import Loaded, PromptTooLong, Refusal
from impetus.runtime.worker.backends.echo import EchoBackend
from impetus.runtime.worker.backends.playing import split_words


class Clock:
    """Stands in for `time` in the echo engine's modules."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(echo, "time", clock)
    monkeypatch.setattr(playing, "time", clock)
    return clock


def loaded(**options: Any) -> EchoBackend:
    backend = EchoBackend()
    ready = backend.load("", LoadOptions(**options), lambda _: None)
    assert isinstance(ready, Loaded)
    return backend


def start(backend: EchoBackend, number: int, request: GenerateRequest) -> None:
    backend.start(number, backend.admit(request), request)


def pieces(backend: EchoBackend, number: int) -> list[bytes]:
    return [token.piece for token in backend.step().tokens if token.sequence == number]


@given(st.text())
def test_words_joined_are_the_text(text: str) -> None:
    assert "".join(split_words(text)) == text


def test_the_text_is_repeated_once_where_no_length_is_asked() -> None:
    backend = loaded()
    start(backend, 1, chat("Hello, big world!"))
    assert pieces(backend, 1) == [b"Hello", b",", b" big", b" world", b"!"]
    assert [(token.piece, token.end) for token in backend.step().tokens] == [(b"", True)]


def test_the_text_goes_round_where_a_length_is_asked() -> None:
    backend = loaded()
    start(backend, 1, chat("a b", max_tokens=100))
    assert b"".join(pieces(backend, 1) + pieces(backend, 1) + pieces(backend, 1)) == b"a b a b a b"


def test_silence_is_answered_too() -> None:
    backend = loaded()
    start(backend, 1, chat(""))
    assert pieces(backend, 1) == [b"nothing"]


@pytest.mark.parametrize("tps", [3.0, 50.0, 1000.0])
def test_tokens_come_at_the_asked_speed(clock: Clock, tps: float) -> None:
    backend = loaded(echo_tps=7.0)
    start(backend, 1, chat("a b c d", max_tokens=10_000, echo_tps=tps))
    given, waited_s = 0, 0.0
    while waited_s < 5:
        given += len(backend.step().tokens)
        wait_s = backend.wait_s()
        assert wait_s is not None
        clock.now_s += wait_s + 1e-6
        waited_s += wait_s + 1e-6
    assert given == pytest.approx(5 * tps, abs=1 + tps * 0.004)


def test_streams_that_are_due_together_go_out_together(clock: Clock) -> None:
    backend = loaded(echo_tps=10.0)
    start(backend, 1, chat("a b c d"))
    clock.now_s += 0.001
    start(backend, 2, chat("a b c d"))
    backend.step()
    clock.now_s += backend.wait_s() or 0
    assert [token.sequence for token in backend.step().tokens] == [1, 2]


def test_a_held_stream_is_silent_and_makes_up_for_nothing(clock: Clock) -> None:
    backend = loaded(echo_tps=10.0)
    start(backend, 1, chat("a b c d e f g h"))
    assert len(pieces(backend, 1)) == 1
    backend.hold(1, True)
    assert backend.wait_s() is None
    clock.now_s += 60
    assert pieces(backend, 1) == []
    backend.hold(1, False)
    assert len(pieces(backend, 1)) == 1
    assert backend.wait_s() == pytest.approx(0.1)


def test_a_step_is_bounded_however_fast_it_may_be() -> None:
    backend = loaded()
    for number in range(64):
        start(backend, number, chat("a b c d", max_tokens=100_000))
    assert 0 < len(backend.step().tokens) <= echo.TOKENS_PER_STEP


def test_a_prompt_beyond_the_context_overflows() -> None:
    backend = loaded(context_length=10)
    with pytest.raises(PromptTooLong) as caught:
        backend.admit(GenerateRequest("m", TextPrompt("word " * 10)))
    assert (caught.value.prompt_tokens, caught.value.context_length) == (11, 10)


@pytest.mark.parametrize(
    "request_", [chat("a", echo_tps=-1.0), chat("a", echo_tps=float("nan")), GenerateRequest("m", TokenPrompt((-1,)))]
)
def test_nonsense_is_refused(request_: GenerateRequest) -> None:
    with pytest.raises(Refusal) as caught:
        loaded().admit(request_)
    assert caught.value.kind == "invalid"


def test_logprobs_are_dummies_of_the_right_shape() -> None:
    backend = loaded()
    start(backend, 1, chat("a b", top_logprobs=1))
    for token in backend.step().tokens:
        assert token.logprob is not None
        assert (token.logprob.text, token.logprob.logprob) == (token.piece, 0.0)
        assert [one.token_id for one in token.logprob.top] == [token.logprob.token_id]


def test_its_clock_is_the_real_one() -> None:
    assert echo.time is time
