"""Long prompts that are computed beside running answers."""

import logging
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cold_reference import Reference
from random_play import Mix, RandomRequests

from impetus.runtime.frames import LoadOptions, PrefixOptions
from impetus.runtime.request import GenerateRequest, Sampling, TokenPrompt
from impetus.runtime.worker.backends import llama_annex
from impetus.runtime.worker.backends.backend import StepOutcome
from impetus.runtime.worker.backends.llama import LlamaBackend
from impetus.runtime.worker.backends.llama_sequence import Generating

pytestmark = pytest.mark.engine

ENDLESS = Sampling(temperature=0, logit_bias={0: -100.0, 1: -100.0, 2: -100.0})
LONG = tuple(10 + index * 7 % 480 for index in range(1200))
SHORT = (9, *LONG[:39])
STEPS = 4000
"""Far more than any of these takes."""

Open = Callable[..., LlamaBackend]


@pytest.fixture
def open_backend(tiny_models: dict[str, Path]) -> Iterator[Open]:
    opened: list[LlamaBackend] = []

    def load(name: str = "llama", **fields: Any) -> LlamaBackend:
        given: dict[str, Any] = {
            "context_length": 2048,
            "threads": 2,
            "max_sequences": 4,
            "prefix": PrefixOptions(ram_bytes=1 << 26),
        }
        backend = LlamaBackend()
        backend.load(str(tiny_models[name]), LoadOptions(**{**given, **fields}), lambda _: None)
        opened.append(backend)
        return backend

    yield load
    for backend in opened:
        backend.close()


def ask(backend: LlamaBackend, number: int, tokens: tuple[int, ...]) -> Generating:
    request = GenerateRequest("m", TokenPrompt(tokens), ENDLESS)
    backend.start(number, backend.admit(request), request)
    return backend._sequences[number]


def until(backend: LlamaBackend, holds: Callable[[StepOutcome], bool]) -> list[StepOutcome]:
    outcomes: list[StepOutcome] = []
    for _ in range(STEPS):
        outcomes.append(backend.step())
        assert not outcomes[-1].lost
        if holds(outcomes[-1]):
            return outcomes
    raise AssertionError("it never came to that")


def speaks(number: int) -> Callable[[StepOutcome], bool]:
    return lambda outcome: any(token.sequence == number for token in outcome.tokens)


def test_answers_go_on_while_a_long_prompt_is_computed(open_backend: Open) -> None:
    backend = open_backend()
    ask(backend, 1, SHORT)
    until(backend, speaks(1))
    late = ask(backend, 2, LONG)
    until(backend, lambda _: backend._annex.holds(late))
    meanwhile = until(backend, speaks(2))
    assert all(speaks(1)(outcome) for outcome in meanwhile), "no step without the answer's token"
    assert all(outcome.prefill_tokens == 0 for outcome in meanwhile[:-1])
    assert sum(outcome.aside_tokens for outcome in meanwhile) == len(LONG) - 1
    assert sum(outcome.aside_s for outcome in meanwhile) > 0
    assert not backend._annex.is_busy
    assert late.in_cache == len(LONG)
    # A cold context says the same of it, and whoever comes next takes over all that it has.
    beside = late.tokens[len(LONG)]
    backend.drop(1)
    again = ask(backend, 3, (*LONG, 9))
    until(backend, speaks(3))
    assert again.ram_tokens == len(LONG)
    other = open_backend()
    alone = ask(other, 1, LONG)
    until(other, speaks(1))
    assert alone.tokens[len(LONG)] == beside


def test_once_no_answer_runs_the_prompt_goes_back_to_all_cores(open_backend: Open) -> None:
    backend = open_backend()
    ask(backend, 1, SHORT)
    until(backend, speaks(1))
    late = ask(backend, 2, LONG)
    until(backend, lambda _: backend._annex.holds(late))
    backend.drop(1)
    rest = until(backend, speaks(2))
    assert late.in_cache == len(LONG)
    assert sum(outcome.aside_tokens + outcome.prefill_tokens for outcome in rest) == len(LONG)
    assert any(outcome.prefill_tokens for outcome in rest)


def test_what_was_computed_of_a_cancelled_prompt_is_kept(open_backend: Open) -> None:
    backend = open_backend()
    ask(backend, 1, SHORT)
    until(backend, speaks(1))
    ask(backend, 2, LONG)
    until(backend, lambda outcome: outcome.aside_tokens > 0)
    backend.interrupt({2})
    backend.drop(2)
    until(backend, lambda _: not backend._annex.is_busy)
    again = ask(backend, 3, LONG)
    until(backend, speaks(3))
    assert again.ram_tokens >= llama_annex.PIECE_TOKENS


def test_one_that_begins_alike_waits_and_takes_over(open_backend: Open) -> None:
    backend = open_backend()
    ask(backend, 1, SHORT)
    until(backend, speaks(1))
    first = ask(backend, 2, (*LONG, 11))
    until(backend, lambda _: backend._annex.holds(first))
    second = ask(backend, 3, (*LONG, 12))
    until(backend, speaks(3))
    assert second.ram_tokens >= len(LONG) - 1


def test_without_memory_for_it_prompts_are_cut_into_slices(
    open_backend: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    backend = open_backend()
    monkeypatch.setattr(backend._model, "open_beside", lambda **_: None)
    ask(backend, 1, SHORT)
    until(backend, speaks(1))
    ask(backend, 2, LONG)
    with caplog.at_level(logging.WARNING):
        rest = until(backend, speaks(2))
    assert sum(outcome.prefill_tokens for outcome in rest) == len(LONG)
    assert "no memory for a second context" in caplog.text
    third = ask(backend, 3, (7, *LONG[:399]))
    until(backend, speaks(3))
    assert third.in_cache == 400
    assert caplog.text.count("no memory for a second context") == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"threads": 1},
        {"prefix": PrefixOptions()},
        {"prefix": PrefixOptions(ram_bytes=1 << 16)},
        *({"name": name} for name in ("gemma3", "lfm2", "mamba2", "granite_hybrid")),
    ],
)
def test_it_keeps_out_where_it_has_no_core_no_memory_or_no_states_to_move(
    open_backend: Open, fields: dict[str, object]
) -> None:
    backend = open_backend(**fields)
    ask(backend, 1, SHORT)
    until(backend, speaks(1))
    late = ask(backend, 2, LONG)
    until(backend, lambda outcome: speaks(2)(outcome) or backend._annex.is_busy)
    assert not backend._annex.is_busy
    assert late.in_cache == len(LONG)


def test_a_model_can_be_closed_in_the_middle_of_it(open_backend: Open) -> None:
    backend = open_backend()
    ask(backend, 1, SHORT)
    until(backend, speaks(1))
    late = ask(backend, 2, LONG)
    until(backend, lambda _: backend._annex.holds(late))


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_random_requests_are_answered_as_without_it(
    tiny_models: dict[str, Path], open_backend: Open, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(llama_annex, "LEAST_TOKENS", 30)
    monkeypatch.setattr(llama_annex, "PIECE_TOKENS", 32)
    backend = open_backend(name, context_length=512, max_sequences=8, batch_tokens=128, prefix=PrefixOptions(ram_bytes=1 << 20))
    took: list[int] = []
    take = backend._annex.take

    def count(sequence: Generating) -> bool:
        done = take(sequence)
        took.extend([sequence.number] * done)
        return done

    monkeypatch.setattr(backend._annex, "take", count)
    reference = Reference(tiny_models[name], context_length=512)
    try:
        tolerance = 3 * reference.noise([list(LONG[at : at + 120]) for at in range(0, 1080, 90)], random.Random(5))
        play = RandomRequests(backend, reference, seed=4, tolerance=tolerance, mix=Mix(prompt_tokens=(20, 150), limit=300))
        tally = play.play(150)
        play.check_nothing_is_left()
    finally:
        reference.close()
    assert len(took) > 10, str(tally)
    assert tally.compared > 300
