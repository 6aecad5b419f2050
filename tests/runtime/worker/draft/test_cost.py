import random
from itertools import pairwise

import pytest

from impetus.runtime.worker.draft.cost import StepCost, group_of


def test_a_size_is_expected_to_take_what_it_took() -> None:
    cost = StepCost()
    for _ in range(40):
        for tokens, step_s in ((1, 0.010), (4, 0.025), (9, 0.040)):
            cost.note(tokens, step_s)
    assert cost.step_s(1) == pytest.approx(0.010, rel=0.03)
    assert cost.step_s(9) == pytest.approx(0.040, rel=0.03)
    assert cost.step_s(6) == pytest.approx(0.031, rel=0.05)


def test_before_the_first_step_there_are_only_assumptions() -> None:
    cost = StepCost()
    assert cost.step_s(1) is None
    assert 2 < cost.relative(8) / cost.relative(1) < 5


def test_a_flat_machine_is_found_out_within_few_steps() -> None:
    cost = StepCost()
    for tokens in (1, 2, 1, 3, 5, 1, 9):
        cost.note(tokens, 0.01 + 0.0001 * tokens)
    assert cost.relative(32) < 2 * cost.relative(1)
    assert cost.relative(150) < 6 * cost.relative(1)


def test_a_busy_machine_slows_down_every_size_alike() -> None:
    cost = StepCost()
    for _ in range(60):
        cost.note(1, 0.010)
        cost.note(8, 0.040)
    for _ in range(15):
        cost.note(1, 0.020)
    assert cost.step_s(1) == pytest.approx(0.020, rel=0.05)
    assert cost.step_s(8) == pytest.approx(0.080, rel=0.25)
    assert cost.relative(8) / cost.relative(1) == pytest.approx(4, rel=0.25)


def test_one_step_that_took_seconds_changes_little() -> None:
    cost = StepCost()
    for _ in range(60):
        cost.note(1, 0.010)
        cost.note(8, 0.040)
    cost.note(8, 4.0)
    for _ in range(10):
        cost.note(1, 0.010)
    assert cost.relative(8) / cost.relative(1) < 4.6
    assert cost.step_s(1) == pytest.approx(0.010, rel=0.05)


def test_a_size_measured_at_a_bad_moment_is_forgotten() -> None:
    cost = StepCost()
    for _ in range(100):
        cost.note(1, 0.010)
        cost.note(4, 0.011)
        cost.note(16, 0.012)
    for _ in range(20):
        cost.note(8, 0.100)
    bad = cost.relative(8) / cost.relative(4)
    for _ in range(1500):
        cost.note(1, 0.010)
        cost.note(4, 0.011)
        cost.note(16, 0.012)
    assert bad > 2
    assert cost.relative(8) / cost.relative(4) < 1.2


def test_the_table_and_the_numbers_beyond_it_are_one_curve() -> None:
    cost = StepCost()
    generator = random.Random(3)
    for _ in range(300):
        tokens = generator.choice((2, 3, 5, 12, 33))
        cost.note(tokens, (0.01 + 0.003 * tokens) * generator.lognormvariate(0, 0.1))
    curve = [cost.relative(tokens) for tokens in range(1, 400)]
    assert all(one > 0 for one in curve)
    assert max(later / one for one, later in pairwise(curve)) < 1.4
    assert curve[300] / curve[32] == pytest.approx((0.01 + 0.003 * 301) / (0.01 + 0.003 * 33), rel=0.2)


def test_longer_steps_are_compared_to_a_shorter_one_that_was_seen_lately() -> None:
    cost = StepCost()
    assert not cost.is_anchored(1)
    cost.note(3, 0.010)
    assert not cost.is_anchored(2)
    assert cost.is_anchored(3)
    for _ in range(300):
        cost.note(8, 0.020)
    assert not cost.is_anchored(3)
    assert cost.is_anchored(8)


def test_nonsense_is_ignored() -> None:
    cost = StepCost()
    cost.note(0, 1.0)
    cost.note(1, 0.0)
    assert cost.step_s(1) is None


def test_sizes_are_sorted_by_finer_and_coarser_groups() -> None:
    groups = [group_of(tokens) for tokens in range(1, 600)]
    assert groups[:8] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert groups == sorted(groups)
    assert group_of(9) == group_of(10) != group_of(11)
    assert group_of(49) == group_of(56) != group_of(57) == group_of(63)
    assert group_of(63) != group_of(64) != group_of(65)
