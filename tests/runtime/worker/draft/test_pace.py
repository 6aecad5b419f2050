import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from impetus.runtime.worker.draft.cost import StepCost
from impetus.runtime.worker.draft.pace import LOOKUP_CHANCES, MODEL_CHANCES, Pace

CPU_MS = {1: 8.2, 2: 15.1, 4: 20.3, 8: 32.5, 16: 58.3, 32: 108.7, 64: 211.7}
"""Steps of the starter model on two cores, by their tokens."""
GPU_MS = {1: 10.0, 2: 10.2, 8: 11.0, 16: 12.0, 64: 20.0}


def took_s(curve: dict[int, float], tokens: int, generator: random.Random) -> float:
    sizes = sorted(curve)
    low = max(size for size in sizes if size <= tokens)
    high = min((size for size in sizes if size >= tokens), default=low)
    share = 0.0 if low == high else (tokens - low) / (high - low)
    return (curve[low] + share * (curve[high] - curve[low])) / 1000 * generator.lognormvariate(0, 0.1)


def replay(
    chance: Callable[[int], float],
    *,
    curve: dict[int, float] = CPU_MS,
    most: int = 32,
    tokens: int = 3000,
    others: int = 0,
    cost: StepCost | None = None,
    free: bool = False,
    token_s: float = 0.0,
) -> float:
    """Gives how much faster a text of so many tokens is than without guesses.

    Args:
        chance: how probable it is that the guess of the token at a place is right.
        free: whether a guess is compared also where the engine does not check it, as by lookup.
    """
    generator = random.Random(11)
    cost = cost or StepCost()
    pace = Pace(most, cost, chances=LOOKUP_CHANCES if free else MODEL_CHANCES)
    right = [generator.random() < chance(place) for place in range(tokens)]
    place = run = 0
    spent_s = 0.0
    while place < tokens:
        count = pace.wanted(others=others, agreement=run if free else None, token_s=token_s)
        accepted = 0
        while accepted < count and place + accepted < tokens and right[place + accepted]:
            accepted += 1
        step_s = took_s(curve, 1 + others + count, generator)
        cost.note(1 + others + count, step_s)
        spent_s += step_s + count * token_s
        if free:
            for hit in right[place : place + accepted + 1]:
                pace.learn(hit, run)
                run = run + 1 if hit else 0
        else:
            pace.note(count, accepted)
        place += accepted + 1
    return tokens * took_s(curve, 1 + others, random.Random(1)) / took_s(curve, 1, random.Random(1)) * curve[1] / 1000 / spent_s


@pytest.mark.parametrize("free", [True, False], ids=["lookup", "model"])
@pytest.mark.parametrize("chance", [0.0, 0.2, 0.5, 0.7])
def test_bad_guesses_cost_little(chance: float, free: bool) -> None:
    assert replay(lambda _: chance, free=free) > 0.95


@pytest.mark.parametrize("free", [True, False], ids=["lookup", "model"])
def test_good_guesses_pay_on_two_cores(free: bool) -> None:
    assert replay(lambda _: 0.95, free=free) >= 1.5


def test_guesses_that_are_nearly_always_right_grow_wide() -> None:
    assert replay(lambda _: 0.995, free=True) >= 1.9
    assert replay(lambda _: 0.995, free=True, curve=GPU_MS, most=64) >= 10


def test_a_whole_tile_is_tried_and_kept_where_it_is_cheap() -> None:
    tiled = {1: 18.4, 2: 34.0, 4: 64.0, 8: 122.0, 16: 228.0, 32: 471.0, 48: 654.0, 63: 918.0, 64: 540.0, 65: 729.0}
    dear = {1: 18.4, 2: 34.0, 4: 64.0, 8: 122.0, 16: 228.0, 32: 471.0, 65: 960.0}
    assert replay(lambda _: 0.998, free=True, curve=tiled, most=64) > 1.2 * replay(
        lambda _: 0.998, free=True, curve=tiled, most=32
    )
    assert replay(lambda _: 0.998, free=True, curve=dear, most=64) > 0.95 * replay(
        lambda _: 0.998, free=True, curve=dear, most=32
    )


def test_a_wide_guess_pays_sooner_where_steps_cost_nothing_more() -> None:
    assert replay(lambda _: 0.5, free=True, curve=GPU_MS) >= 1.5


def test_a_text_that_turns_into_a_copy_and_back_gains_by_the_copy_alone() -> None:
    def chance(place: int) -> float:
        return 0.99 if 1000 <= place < 2000 else 0.1

    assert replay(chance, free=True) > 1.15
    assert replay(chance) > 1.05


def test_a_short_reply_loses_little_too() -> None:
    cost = StepCost()
    replay(lambda _: 0.9, cost=cost)
    assert replay(lambda _: 0.1, tokens=200, cost=cost) > 0.95


def test_many_streams_on_two_cores_are_better_off_without() -> None:
    cost = StepCost()
    replay(lambda _: 0.95, cost=cost)
    pace = Pace(16, cost)
    assert pace.wanted(others=0, agreement=40) > 4
    assert pace.wanted(others=15, agreement=5) == 0


def test_a_stream_that_others_wait_for_keeps_to_the_limit() -> None:
    cost = StepCost()
    generator = random.Random(5)
    for tokens in (1, 2, 3, 5, 9, 17, 33) * 20:
        cost.note(tokens, took_s(CPU_MS, tokens, generator))
    pace = Pace(32, cost)
    free, bound = pace.wanted(others=2, agreement=40), pace.wanted(others=2, agreement=40, limit_s=0.04)
    assert 0 < bound < free
    step_s = cost.step_s(3 + bound)
    assert step_s is not None
    assert step_s <= 0.04


def test_a_limit_below_a_plain_step_still_lets_cheap_guesses_through() -> None:
    cost = StepCost()
    for tokens in (1, 2, 3, 5, 9, 17) * 20:
        cost.note(tokens, 0.3 + 0.003 * tokens)
    assert Pace(16, cost).wanted(others=1, agreement=40, limit_s=0.12) == 16


def test_a_dear_draft_model_is_asked_for_less() -> None:
    assert replay(lambda _: 0.9, curve=GPU_MS, token_s=0.001) > 2
    assert replay(lambda _: 0.9, curve=GPU_MS, token_s=0.02) > 0.95


def test_it_tries_again_ever_more_seldom_and_often_again_after_a_success() -> None:
    cost = StepCost()
    for tokens in (1, 2, 3, 5) * 20:
        cost.note(tokens, took_s(CPU_MS, tokens, random.Random(1)))
    pace = Pace(8, cost, chances=MODEL_CHANCES)
    trials: list[int] = []
    for step in range(2000):
        if count := pace.wanted():
            trials.append(step)
        pace.note(count, 0)
    gaps = [later - one for one, later in pairwise(trials)][-4:]
    assert gaps == sorted(gaps)
    assert gaps[-1] > 100
    pace.note(2, 2)
    assert any(pace.wanted() for _ in range(20))


def test_a_plain_step_is_measured_first_and_now_and_then() -> None:
    cost = StepCost()
    pace = Pace(8, cost)
    assert pace.wanted(agreement=40) == 0
    cost.note(1, 0.01)
    plain = 0
    for _ in range(1000):
        count = pace.wanted(agreement=40)
        plain += count == 0
        cost.note(1 + count, 0.01)
        pace.learn(True, 40)
    assert 2 <= plain <= 6


def test_no_guess_is_wanted_where_none_is_allowed() -> None:
    pace = Pace(0, StepCost())
    assert not pace.could_pay()
    assert pace.wanted(agreement=40) == 0
    assert not any(pace.wanted() for _ in range(100))


def test_whether_any_guess_could_pay_is_told_by_the_cost_alone() -> None:
    cost = StepCost()
    for tokens in (1, 2, 4, 8, 16, 32) * 20:
        cost.note(tokens, 0.01 * tokens)
    assert not Pace(16, cost).could_pay(others=3)
    for tokens in (1, 2, 4, 8, 16, 32) * 200:
        cost.note(tokens, 0.01)
    assert Pace(16, cost).could_pay(others=3)
