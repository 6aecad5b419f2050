"""Many inputs of several requests, packed into batches by their tokens."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from typing import Protocol

from .matryoshka import Vector


class ComputeError(Exception):
    """A batch could not be computed; the text says why, for the user."""


class Interrupted(Exception):
    """A batch was ended before it was computed; it can be computed again."""


class Context(Protocol):
    """What computes the batches."""

    room: int
    """How many tokens a batch has, unless a single input has more."""
    capacity: int
    """The most tokens of one batch."""
    max_sequences: int
    """The most sequences of one batch."""

    @property
    def splits(self) -> bool:
        """Whether a sequence may be computed in parts, one after the other."""
        ...

    def fit(self, tokens: int) -> None:
        """Makes room for a sequence of so many tokens; raises ComputeError where that cannot be."""
        ...

    def clear(self) -> None:
        """Forgets every sequence."""
        ...

    def compute(self, parts: Sequence[tuple[int, Sequence[int]]]) -> list[Vector]:
        """Computes one batch; raises ComputeError or Interrupted."""
        ...


class Job:
    """One request's inputs, and what became of them."""

    def __init__(self, inputs: Sequence[Sequence[int]]) -> None:
        self.inputs = inputs
        self.vectors: list[Vector | None] = [None] * len(inputs)
        self.error: ComputeError | None = None
        self._waiting = sorted((len(tokens), at) for at, tokens in enumerate(inputs))
        """Length and place of those that are not computed, the shortest first."""
        self._left = len(inputs)

    @property
    def done(self) -> bool:
        """Whether there is nothing more to be computed."""
        return self._left == 0 or self.error is not None

    @property
    def longest(self) -> int:
        """How many tokens the longest waiting input has; 0 for none."""
        return self._waiting[-1][0] if self._waiting else 0

    def take(self, room: int) -> int | None:
        """Takes out the longest waiting input that fits; None where none does."""
        index = bisect_right(self._waiting, (room, len(self.inputs))) - 1
        return self._waiting.pop(index)[1] if index >= 0 else None

    def give_back(self, at: int) -> None:
        """Lets an input wait again that was taken out."""
        insort(self._waiting, (len(self.inputs[at]), at))

    def put(self, at: int, vector: Vector) -> None:
        """Notes what an input gave."""
        self.vectors[at] = vector
        self._left -= 1


class _Long:
    """An input of more tokens than a batch, computed in parts."""

    def __init__(self, job: Job, at: int) -> None:
        self.job = job
        self.at = at
        self.computed = 0


class Packer:
    """Shares each batch among all jobs, so that a request of one input never waits for one of thousands."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._jobs: list[Job] = []
        """The one whose turn is next comes first."""
        self._long: _Long | None = None

    def add(self, inputs: Sequence[Sequence[int]]) -> Job:
        """Takes a job in; it is the caller's to advance it until it is done, and to remove it."""
        job = Job(inputs)
        self._jobs.append(job)
        return job

    def remove(self, job: Job) -> None:
        """Forgets a job, done or not."""
        self._jobs.remove(job)
        if self._long is not None and self._long.job is job:
            self._long = None

    def advance(self) -> None:
        """Computes one batch, with inputs of every job as far as there is room; an error ends the jobs that were in it."""
        working = [job for job in self._jobs if not job.done]
        if self._long is None and working:
            self._jobs.append(self._jobs.pop(self._jobs.index(working[0])))
            if working[0].longest > self._context.capacity:
                self._begin_long(working[0])
        if self._long is not None:
            self._advance_long(self._long)
        elif working:
            self._compute(working)

    def _begin_long(self, job: Job) -> None:
        """Makes room for a long input; where it can be split, its parts take the next batches for themselves."""
        try:
            self._context.fit(job.longest)
        except ComputeError as error:
            job.error = error
            return
        self._context.clear()
        if self._context.splits and (at := job.take(job.longest)) is not None:
            self._long = _Long(job, at)

    def _advance_long(self, long: _Long) -> None:
        tokens = long.job.inputs[long.at]
        part = tokens[long.computed : long.computed + self._context.capacity]
        try:
            [vector] = self._context.compute([(long.computed, part)])
        except Interrupted:
            return
        except ComputeError as error:
            long.job.error = error
            self._long = None
            return
        long.computed += len(part)
        if long.computed == len(tokens):
            long.job.put(long.at, vector)
            self._long = None

    def _compute(self, jobs: Sequence[Job]) -> None:
        chosen: list[tuple[Job, int]] = []
        open_jobs = [job for job in jobs if not job.done]
        first = open_jobs[0].longest if open_jobs else 0
        room = first if self._context.room < first <= self._context.capacity else self._context.room
        while open_jobs and len(chosen) < self._context.max_sequences:
            for job in tuple(open_jobs):
                at = job.take(room) if len(chosen) < self._context.max_sequences else None
                if at is None:
                    open_jobs.remove(job)
                else:
                    chosen.append((job, at))
                    room -= len(job.inputs[at])
        if not chosen:
            return
        self._context.clear()
        try:
            vectors = self._context.compute([(0, job.inputs[at]) for job, at in chosen])
        except Interrupted:
            for job, at in chosen:
                job.give_back(at)
            return
        except ComputeError as error:
            for job, _ in chosen:
                job.error = error
            return
        for (job, at), vector in zip(chosen, vectors, strict=True):
            job.put(at, vector)
