"""The llama engine step by step: what ends a step early, and what of ended sequences stays in which memory."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from random_play import Interrupter
from small_llama import open_backend, options

from impetus.runtime.frames import PrefixOptions
from impetus.runtime.request import GenerateRequest, Sampling, TokenPrompt
from impetus.runtime.worker.backends.backend import StepOutcome
from impetus.runtime.worker.backends.llama import LlamaBackend

pytestmark = pytest.mark.engine

GREEDY = Sampling(temperature=0)
T = TypeVar("T")

LONGEST = tuple(10 + index * 7 % 480 for index in range(3500))


def ask(backend: LlamaBackend, number: int, *tokens: int, sampling: Sampling = GREEDY) -> None:
    request = GenerateRequest("m", TokenPrompt(tokens), sampling)
    backend.start(number, backend.admit(request), request)


def until_it_speaks(backend: LlamaBackend, number: int) -> list[StepOutcome]:
    outcomes: list[StepOutcome] = []
    for _ in range(500):
        outcomes.append(backend.step())
        if any(token.sequence == number for token in outcomes[-1].tokens):
            return outcomes
    raise AssertionError("it says nothing")


@pytest.mark.parametrize("name", ["llama", "gemma3", "granite_hybrid"])
def test_a_long_prompt_that_nobody_waits_for_ends_within_a_node(
    tiny_models: dict[str, Path], make: Callable[[T], T], name: str
) -> None:
    backend = make(open_backend(tiny_models[name], options(4096, batch_tokens=4096)))
    ask(backend, 1, *LONGEST)
    began_s = time.perf_counter()
    until_it_speaks(backend, 1)
    whole_s = time.perf_counter() - began_s
    backend.drop(1)
    backend.forget()
    computing = threading.Event()
    decode = backend._batch.decode

    def decode_and_tell(context: object) -> int:
        computing.set()
        return decode(context)  # type: ignore[arg-type]

    backend._batch.decode = decode_and_tell
    ended = threading.Thread(target=lambda: computing.wait(10) and backend.interrupt({2, 9}))
    ended.start()
    ask(backend, 2, 5, *LONGEST)
    began_s = time.perf_counter()
    outcome = compute(backend)
    took_s = time.perf_counter() - began_s
    ended.join()
    assert not outcome.tokens
    assert not outcome.lost
    assert took_s < whole_s / 3
    held = backend._sequences[2]
    assert held.in_cache == 0
    assert not held.active or backend._cells.memory.length(held.slot) == 0
    backend.drop(2)
    assert backend.occupancy().kept_tokens == 0
    backend._batch.decode = decode
    ask(backend, 3, *LONGEST[:100])
    assert until_it_speaks(backend, 3)[-1].tokens
    assert backend._cells.memory.length(backend._sequences[3].slot) == 100


def test_a_step_that_others_wait_for_is_not_ended(tiny_models: dict[str, Path], make: Callable[[T], T]) -> None:
    backend = make(open_backend(tiny_models["llama"], options()))
    interrupter = Interrupter(backend)
    ask(backend, 1, *LONGEST[:50])
    ask(backend, 2, *LONGEST[200:250])
    assert len(backend.step().begun) == 2
    interrupter.arm(5, [2])
    assert {token.sequence for token in backend.step().tokens} == {1, 2}
    interrupter.arm(5, [1, 2])
    assert not backend.step().tokens
    assert {token.sequence for token in backend.step().tokens} == {1, 2}


def compute(backend: LlamaBackend) -> StepOutcome:
    """Steps until something was computed: the step in which a prompt begins only says where it comes from."""
    while (outcome := backend.step()).begun:
        pass
    return outcome


def kept_tokens(backend: LlamaBackend) -> list[int]:
    return [len(kept.tokens) for kept in backend._cells.kept]


def begun(outcomes: list[StepOutcome]) -> tuple[int, int, int]:
    (one,) = [begun.report for outcome in outcomes for begun in outcome.begun]
    return one.ram_tokens, one.disk_tokens, one.computed_tokens


def test_ended_sequences_leave_the_cells_where_they_would_slow_running_ones(
    tiny_models: dict[str, Path], make: Callable[[T], T]
) -> None:
    backend = make(
        open_backend(tiny_models["llama"], options(4096, batch_tokens=1024, prefix=PrefixOptions(ram_bytes=1 << 23)))
    )
    ask(backend, 1, *LONGEST[:2500])
    until_it_speaks(backend, 1)
    backend.drop(1)
    assert kept_tokens(backend) == [2500]
    ask(backend, 2, 5, *LONGEST[3000:3050])
    until_it_speaks(backend, 2)
    assert kept_tokens(backend) == []
    assert backend._cells.store(()).ram_bytes > 2400 * 512
    ask(backend, 3, *LONGEST[:2500], 5, 6, 7)
    ram_tokens, _, computed = begun(until_it_speaks(backend, 3))
    # The end of a prompt is kept too.
    assert (ram_tokens, computed) == (2500, 3)


def test_what_no_store_has_room_for_stays_in_the_cells(tiny_models: dict[str, Path], make: Callable[[T], T]) -> None:
    backend = make(
        open_backend(tiny_models["llama"], options(4096, batch_tokens=1024, prefix=PrefixOptions(ram_bytes=1 << 18)))
    )
    ask(backend, 1, *LONGEST[:2500])
    until_it_speaks(backend, 1)
    backend.drop(1)
    ask(backend, 2, 5, *LONGEST[3000:3090])
    until_it_speaks(backend, 2)
    assert kept_tokens(backend) == [2500]
    ask(backend, 3, *LONGEST[:2500], 5, 6, 7)
    assert begun(until_it_speaks(backend, 3)) == (2500, 0, 3)


def test_what_took_least_to_compute_is_evicted_first(tiny_models: dict[str, Path], make: Callable[[T], T]) -> None:
    backend = make(open_backend(tiny_models["llama"], options(prefix=PrefixOptions())))
    for number, (begin, end) in enumerate([(0, 200), (220, 260), (300, 420)], 1):
        ask(backend, number, *LONGEST[begin:end])
        until_it_speaks(backend, number)
        backend.drop(number)
    assert kept_tokens(backend) == [200, 40, 120]
    assert backend._cells.evict()
    assert kept_tokens(backend) == [200, 120]
    assert backend._cells.evict(spare=next(iter(backend._cells.kept)).slot)
    assert kept_tokens(backend) == [200]
    assert backend._cells.evict()
    assert not backend._cells.evict()


def test_a_prompt_that_leaves_a_kept_state_halfway_takes_the_half(tiny_models: dict[str, Path], make: Callable[[T], T]) -> None:
    backend = make(open_backend(tiny_models["llama"], options(1024, prefix=PrefixOptions(ram_bytes=1 << 20))))
    ask(backend, 1, *LONGEST[:600])
    until_it_speaks(backend, 1)
    backend.drop(1)
    while backend.rest():
        pass
    backend.forget()
    ask(backend, 2, *LONGEST[:300], 5, 6, 7)
    assert begun(until_it_speaks(backend, 2)) == (300, 0, 3)
    slot = backend._sequences[2].slot
    assert backend._cells.memory.length(slot) == 303
    # Of the second segment only what is shared came along.
    assert backend._cells.memory.length(backend._cells._scratch) == 0


def test_a_state_that_has_gone_meanwhile_is_computed(tiny_models: dict[str, Path], make: Callable[[T], T]) -> None:
    backend = make(open_backend(tiny_models["llama"], options(1024, prefix=PrefixOptions(ram_bytes=1 << 20))))
    ask(backend, 1, *LONGEST[:600])
    until_it_speaks(backend, 1)
    backend.drop(1)
    while backend.rest():
        pass
    backend.forget()
    store = backend._cells.store(())
    hits = store.match(LONGEST[:599], prefill_tps=None)
    assert [hit.begin for hit in hits] == [0, 256, 512]
    store.memory.discard(hits[1].key)
    ask(backend, 2, *LONGEST[:600], 5)
    assert begun(until_it_speaks(backend, 2)) == (256, 0, 345)


def test_a_prompt_kept_from_the_cache_neither_takes_nor_gives(tiny_models: dict[str, Path], make: Callable[[T], T]) -> None:
    backend = make(open_backend(tiny_models["llama"], options()))

    def ask_apart(number: int) -> None:
        request = GenerateRequest("m", TokenPrompt(LONGEST[:80]), GREEDY, cache_prompt=False)
        backend.start(number, backend.admit(request), request)

    ask(backend, 1, *LONGEST[:80])
    until_it_speaks(backend, 1)
    ask_apart(2)
    assert begun(until_it_speaks(backend, 2)) == (0, 0, 80)
    backend.drop(1)
    backend.forget()
    ask(backend, 3, *LONGEST[:80])
    assert begun(until_it_speaks(backend, 3)) == (0, 0, 80)
    backend.drop(2)
    assert kept_tokens(backend) == []


def test_a_sequence_that_another_one_continues_is_kept_once(tiny_models: dict[str, Path], make: Callable[[T], T]) -> None:
    backend = make(open_backend(tiny_models["llama"], options()))
    for number, end in ((1, 40), (2, 80), (3, 60)):
        ask(backend, number, *LONGEST[:end])
        until_it_speaks(backend, number)
        backend.drop(number)
    assert kept_tokens(backend) == [80]
    assert backend.occupancy().kept_tokens == 80


@pytest.mark.parametrize("name", ["gemma3", "lfm2", "mamba2", "granite_hybrid"])
def test_a_state_is_taken_over_whole_or_not_at_all(tiny_models: dict[str, Path], make: Callable[[T], T], name: str) -> None:
    backend = make(open_backend(tiny_models[name], options(prefix=PrefixOptions())))
    ask(backend, 1, *LONGEST[:50])
    until_it_speaks(backend, 1)
    backend.drop(1)
    ask(backend, 2, *LONGEST[:40], 5)
    assert begun(until_it_speaks(backend, 2)) == (0, 0, 41)
    ask(backend, 3, *LONGEST[:50], 5)
    assert begun(until_it_speaks(backend, 3)) == (50, 0, 1)


def test_one_that_was_sent_away_says_once_where_its_prompt_is_from(
    tiny_models: dict[str, Path], make: Callable[[T], T]
) -> None:
    backend = make(open_backend(tiny_models["llama"], options()))
    ask(backend, 1, *LONGEST[:100])
    until_it_speaks(backend, 1)
    backend.hold(1, True)
    ask(backend, 2, *LONGEST[100:500])
    outcomes = until_it_speaks(backend, 2)
    assert not backend._sequences[1].active
    backend.drop(2)
    backend.hold(1, False)
    outcomes = until_it_speaks(backend, 1)
    assert not any(outcome.begun for outcome in outcomes)
    assert backend._cells.memory.length(backend._sequences[1].slot) == 101


@pytest.mark.parametrize("nodes", [1, 12, 40])
@pytest.mark.parametrize("name", ["lfm2", "mamba2", "granite_hybrid"])
def test_no_state_outlives_a_step_that_was_ended(
    tiny_models: dict[str, Path], make: Callable[[T], T], name: str, nodes: int
) -> None:
    """The engine moves states of others in a step's graph, and counts free ones as zeroed before they are."""
    backend = make(open_backend(tiny_models[name], options()))
    interrupter = Interrupter(backend)
    ask(backend, 1, *LONGEST[:60])
    ask(backend, 2, *LONGEST[100:160])
    ask(backend, 3, *LONGEST[200:260])
    for number in (1, 2, 3):
        until_it_speaks(backend, number)
    backend.drop(1)
    backend.hold(2, True)
    ask(backend, 4, *LONGEST[300:340])
    assert backend.step().begun
    interrupter.arm(nodes, [3, 4])
    assert not backend.step().tokens
    assert kept_tokens(backend) == []
    assert not any(sequence.active for sequence in backend._sequences.values())
    assert all(backend._cells.memory.length(slot) == 0 for slot in range(backend._model.slots))
    backend.drop(3)
    backend.drop(4)
    backend.hold(2, False)
    until_it_speaks(backend, 2)
    assert backend._cells.memory.length(backend._sequences[2].slot) == len(backend._sequences[2].tokens) - 1
