from dataclasses import dataclass

import pytest

from impetus.runtime.worker.draft.cost import TILE_TOKENS
from impetus.runtime.worker.slices import EVERY_STEPS, LEAST_SLICE, WELL_KNOWN_STEPS, Attention, Slices


@dataclass
class Prompt:
    pending: int
    since_s: float


def learned(*, prefill_tps: float = 1000, decode_s: float = 0.02) -> Slices:
    slices = Slices(target_s=0.12, most=512)
    slices.note(decode_tokens=4, prefill_tokens=0, took_s=decode_s)
    slices.note(decode_tokens=0, prefill_tokens=500, took_s=500 / prefill_tps)
    return slices


def test_a_prompt_alone_takes_the_whole_step() -> None:
    assert learned(prefill_tps=10).size(0) == 512


def test_a_slice_fills_what_the_answers_leave_of_the_target_with_whole_tiles() -> None:
    assert learned(prefill_tps=2000).size(4) == 3 * TILE_TOKENS - 4
    assert learned().size(4) == TILE_TOKENS - 4
    assert learned(prefill_tps=300).size(4) == pytest.approx(30, abs=1)


def test_a_slow_machine_still_reads_on() -> None:
    assert learned(prefill_tps=10).size(4) == LEAST_SLICE
    assert learned(decode_s=0.5).size(4) == LEAST_SLICE


def test_a_fast_machine_takes_no_more_than_a_batch() -> None:
    assert learned(prefill_tps=1e6).size(4) == 512


def test_nothing_is_measured_yet() -> None:
    slices = Slices(target_s=0.12, most=512)
    assert slices.prefill_tps is None
    assert slices.size(1) == LEAST_SLICE


def test_it_learns_from_mixed_steps() -> None:
    slices = learned(prefill_tps=1000)
    for _ in range(30):
        slices.note(decode_tokens=4, prefill_tokens=50, took_s=0.02 + 50 / 100)
    assert slices.prefill_tps == pytest.approx(100, rel=0.05)
    assert slices.size(4) == LEAST_SLICE


def test_a_stale_guess_of_the_answers_does_not_make_prompts_free() -> None:
    slices = learned(decode_s=1.0)
    slices.note(decode_tokens=4, prefill_tokens=100, took_s=0.2)
    assert slices.prefill_tps is not None
    assert slices.prefill_tps < 1500


def test_the_shortest_prompt_comes_first_and_waiting_counts() -> None:
    slices = learned(prefill_tps=1000)
    long, short = Prompt(10_000, 0.0), Prompt(1000, 0.5)
    assert slices.order([long, short], 1.0) == [short, long]
    newcomers = [Prompt(1000, 9.5)]
    assert slices.order([*newcomers, long], 10.0)[0] is long


def test_of_many_steps_alike_a_few_are_looked_at() -> None:
    attention = Attention()
    due = [attention.is_due(decode_tokens=2, prefill_tokens=0) for _ in range(WELL_KNOWN_STEPS + 40)]
    assert all(due[:WELL_KNOWN_STEPS])
    assert sum(due[WELL_KNOWN_STEPS:]) == 40 // EVERY_STEPS
    assert all(attention.is_due(decode_tokens=3, prefill_tokens=0) for _ in range(WELL_KNOWN_STEPS)), "another size is new"
    assert all(attention.is_due(decode_tokens=3, prefill_tokens=9) for _ in range(60)), "prompts always are"
