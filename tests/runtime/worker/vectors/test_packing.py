"""Inputs of several requests in shared batches, over a context that only adds numbers up."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impetus.runtime.worker.vectors.matryoshka import Vector
from impetus.runtime.worker.vectors.packing import ComputeError, Interrupted, Job, Packer


class Adder:
    """A context whose vectors are the sums of the tokens so far."""

    def __init__(self, room: int = 10, *, splits: bool = False, most: int = 100, max_sequences: int = 4) -> None:
        self.room = self.capacity = room
        self.max_sequences = max_sequences
        self.splits = splits
        self.batches: list[list[int]] = []
        self._most = most
        self._sums: dict[int, tuple[int, int]] = {}
        self.broken = False
        self.interrupted = False

    def fit(self, tokens: int) -> None:
        if tokens > self._most:
            raise ComputeError("no memory")
        if not self.splits:
            self.capacity = max(self.capacity, tokens)

    def clear(self) -> None:
        self._sums.clear()

    def compute(self, parts: Sequence[tuple[int, Sequence[int]]]) -> list[Vector]:
        if self.broken:
            raise ComputeError("broken")
        if self.interrupted:
            self.interrupted = False
            raise Interrupted
        self.batches.append([len(tokens) for _, tokens in parts])
        assert sum(self.batches[-1]) <= self.capacity
        assert len(parts) <= self.max_sequences
        vectors: list[Vector] = []
        for slot, (begin, tokens) in enumerate(parts):
            known, total = self._sums.get(slot, (0, 0))
            assert begin == known, "a part that does not follow on the one before"
            self._sums[slot] = known + len(tokens), total + sum(tokens)
            vectors.append(np.array([total + sum(tokens), known + len(tokens)], np.float32))
        return vectors


def finish(packer: Packer, *jobs: Job) -> None:
    for _ in range(1000):
        if all(job.done for job in jobs):
            return
        packer.advance()
    raise AssertionError("it does not come to an end")


@given(
    requests=st.lists(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=30), max_size=12), min_size=1, max_size=4),
    splits=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_every_input_gets_its_own_vector_however_it_is_packed(requests: list[list[list[int]]], splits: bool) -> None:
    packer = Packer(Adder(splits=splits))
    jobs = [packer.add(inputs) for inputs in requests]
    finish(packer, *jobs)
    for job, inputs in zip(jobs, requests, strict=True):
        assert job.error is None
        assert [vector.tolist() for vector in job.vectors if vector is not None] == [
            [sum(tokens), len(tokens)] for tokens in inputs
        ]


def test_short_inputs_share_a_batch_and_fill_it() -> None:
    adder = Adder()
    packer = Packer(adder)
    finish(packer, packer.add([[1] * 3, [1] * 7, [1] * 5, [1] * 5]))
    assert adder.batches == [[7, 3], [5, 5]]


def test_one_input_does_not_wait_for_a_thousand() -> None:
    packer = Packer(Adder())
    many = packer.add([[1] * 4] * 1000)
    one = packer.add([[1]])
    packer.advance()
    assert one.done
    assert not many.done


def test_a_long_input_comes_in_parts_and_others_go_on_afterwards() -> None:
    adder = Adder(splits=True)
    packer = Packer(adder)
    finish(packer, packer.add([[1] * 25]), packer.add([[2]]))
    assert adder.batches == [[10], [10], [5], [1]]


def test_where_nothing_can_be_split_the_context_grows_for_that_input_alone() -> None:
    adder = Adder()
    packer = Packer(adder)
    finish(packer, packer.add([[1] * 25, [1] * 4, [1] * 6]))
    assert adder.batches == [[25], [6, 4]]


def test_what_does_not_fit_ends_its_own_job_only() -> None:
    packer = Packer(Adder(most=20))
    too_long, other = packer.add([[1] * 30]), packer.add([[1]])
    finish(packer, too_long, other)
    assert str(too_long.error) == "no memory"
    assert other.error is None


def test_a_broken_batch_ends_the_jobs_in_it() -> None:
    adder = Adder()
    packer = Packer(adder)
    jobs = packer.add([[1]]), packer.add([[1]])
    adder.broken = True
    packer.advance()
    assert [str(job.error) for job in jobs] == ["broken", "broken"]


@pytest.mark.parametrize("splits", [True, False])
def test_a_job_that_is_taken_away_halfway_leaves_nothing_behind(splits: bool) -> None:
    packer = Packer(Adder(splits=splits))
    leaving = packer.add([[1] * 35, [1] * 8])
    packer.advance()
    packer.remove(leaving)
    packer.advance()
    staying = packer.add([[1] * 25, [2] * 3])
    finish(packer, staying)
    assert [vector.tolist() for vector in staying.vectors if vector is not None] == [[25, 25], [6, 3]]


@pytest.mark.parametrize("splits", [True, False])
def test_an_interrupted_batch_is_computed_again_for_those_who_stay(splits: bool) -> None:
    adder = Adder(splits=splits)
    packer = Packer(adder)
    leaving, staying = packer.add([[1] * 3]), packer.add([[2] * 4, [3] * 25])
    for _ in range(4):
        adder.interrupted = True
        packer.advance()
    packer.remove(leaving)
    finish(packer, staying)
    assert [vector.tolist() for vector in staying.vectors if vector is not None] == [[8, 4], [75, 25]]
