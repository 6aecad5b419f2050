import statistics
from dataclasses import dataclass

import pytest

from impetus.runtime.worker.draft.cost import TILE_TOKENS
from impetus.runtime.worker.slices import LEAST_SLICE, Slices


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


def in_steps(slices: Slices, *, part_tps: float, tile_tps: float, steps: int = 60) -> list[int]:
    """Lets it cut a prompt on a machine of these speeds."""
    sizes = [slices.size(4)]
    for _ in range(steps):
        speed = tile_tps if (sizes[-1] + 4) % TILE_TOKENS == 0 else part_tps
        slices.note(decode_tokens=4, prefill_tokens=sizes[-1], took_s=0.02 + sizes[-1] / speed)
        sizes.append(slices.size(4))
    return sizes


def test_a_tile_that_gains_nothing_is_tried_and_left() -> None:
    sizes = in_steps(learned(prefill_tps=300), part_tps=300, tile_tps=300)
    assert 30 <= statistics.median(sizes) <= 33
    assert 1 <= sizes.count(TILE_TOKENS - 4) <= 6


def test_a_tile_that_is_faster_may_take_longer_than_the_target() -> None:
    sizes = in_steps(learned(prefill_tps=300), part_tps=200, tile_tps=300)
    assert statistics.median(sizes) == TILE_TOKENS - 4
    assert any(16 <= size <= 30 for size in sizes), "the other kind is looked at again"


def test_a_tile_that_takes_too_long_is_never_tried() -> None:
    sizes = in_steps(learned(prefill_tps=100), part_tps=100, tile_tps=150)
    assert TILE_TOKENS - 4 not in sizes


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
