"""Models that give vectors or scores instead of text, whatever engine computes them."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ...frames import LoadOptions
from ...questions import ApplyTemplate, Count, Detokenize, Embed, Embedded, Question, Rank, Ranked, Tokenize
from ...request import GenerateRequest
from ..backends.backend import Admission, Loaded, LoadError, Occupancy, PromptTooLong, Refusal, StepOutcome, Work
from ..give_back import give_back_memory
from ..vocabulary import Vocabulary
from ..words import answer_words
from .matryoshka import Vector, cut, find_nesting
from .packing import ComputeError, Context, Packer

MOST_CHARACTERS = 1_000_000
"""Longer inputs are not cut into tokens where every token would have to be the longest one for them to fit."""
TOKENIZE_FOR_S = 0.02
"""How long a slice of tokenising takes."""

log = logging.getLogger(__name__)


class VectorContext(Context, Protocol):
    """What computes the batches."""

    @property
    def width(self) -> int:
        """How many numbers a vector has."""
        ...

    def interrupt(self) -> None:
        """Ends the batch that is being computed; from any thread."""
        ...


@dataclass(frozen=True, slots=True)
class OpenedVectors:
    """A model that was loaded."""

    context: VectorContext
    vocabulary: Vocabulary
    context_length: int
    """No input has more tokens."""
    ranks: bool
    """Whether it scores pairs; else it gives vectors."""
    pair: Callable[[str, str], Sequence[int]]
    """Puts a query and a document together as the model was trained on them."""
    engine: str
    names: tuple[str | None, ...]
    """What the model is called, by its files; which vectors may be cut is known by that alone."""
    details: dict[str, str]
    close: Callable[[], None]
    """Frees everything."""


Open = Callable[[str, LoadOptions, Callable[[float], None]], OpenedVectors]


class VectorBackend:
    """Holds one model; it has no generations, only questions.

    Args:
        open_model: loads the model; raises LoadError.
    """

    _opened: OpenedVectors
    _packer: Packer

    def __init__(self, open_model: Open) -> None:
        self._open = open_model

    def load(self, path: str, options: LoadOptions, on_progress: Callable[[float], None]) -> Loaded:
        """Loads the model and computes a first vector."""
        self._opened = opened = self._open(path, options, on_progress)
        self._packer = Packer(opened.context)
        self._nesting = find_nesting(*opened.names)
        self._warm_up()
        give_back_memory()  # to read a tokenizer and weights takes more than they do
        on_progress(1.0)
        about = f"{opened.context.width} numbers, of at most {opened.context_length} tokens"
        details = {**opened.details, "scores" if opened.ranks else "vectors": about}
        return Loaded(opened.context_length, options.max_sequences, opened.vocabulary.size, opened.engine, details)

    def answer(self, question: Question) -> Work:
        """Answers bit by bit: a slice is a batch computed, or a while of tokenising."""
        match question:
            case Embed():
                return (yield from self._embed(question))
            case Rank():
                return (yield from self._rank(question))
            case Tokenize() | Detokenize() | ApplyTemplate() | Count():
                return answer_words(question, self._opened.vocabulary, None)

    def abandon(self) -> None:
        """Ends the batch that is being computed."""
        self._opened.context.interrupt()

    def admit(self, request: GenerateRequest) -> Admission:
        """Refuses: it writes no text."""
        del request
        raise Refusal("invalid", f"This model gives {self._gives}; it does not write text.", param="model")

    def start(self, sequence: int, admission: Admission, request: GenerateRequest) -> None:
        """Is never called, as nothing is admitted."""

    def step(self) -> StepOutcome:
        """Has nothing to do."""
        return StepOutcome()

    def rest(self) -> bool:
        """Has nothing that can wait."""
        return False

    def interrupt(self, cancelled: Collection[int]) -> None:
        """Has no generations to end."""

    def wait_s(self) -> float | None:
        """Waits for nothing."""
        return None

    def hold(self, sequence: int, held: bool) -> None:
        """Holds nothing."""

    def drop(self, sequence: int) -> None:
        """Knows no sequence."""

    def occupancy(self) -> Occupancy:
        """Keeps nothing from one batch to the next."""
        return Occupancy(0, self._opened.context_length)

    def close(self) -> None:
        """Frees everything."""
        self._opened.close()

    @property
    def _gives(self) -> str:
        return "scores of documents" if self._opened.ranks else "embeddings"

    def _embed(self, question: Embed) -> Generator[None, None, Embedded]:
        if self._opened.ranks:
            raise Refusal("invalid", "This model gives scores of documents, not embeddings.", param="model")
        self._check_dimensions(question.dimensions)
        several = len(question.inputs) > 1
        readings = (self._read_input(item, f"input[{at}]" if several else "input") for at, item in enumerate(question.inputs))
        inputs = yield from _in_slices(readings)
        vectors = yield from self._compute(inputs)
        packed = tuple(self._finish(vector, question) for vector in vectors)
        return Embedded(packed, sum(map(len, inputs)))

    def _rank(self, question: Rank) -> Generator[None, None, Ranked]:
        if not self._opened.ranks:
            raise Refusal("invalid", "This model gives embeddings; it does not score documents.", param="model")
        readings = (
            self._fit(self._pair(question.query, document), f"documents[{at}]")
            for at, document in enumerate(question.documents)
        )
        pairs = yield from _in_slices(readings)
        vectors = yield from self._compute(pairs)
        return Ranked(tuple(map(_score, vectors)), sum(map(len, pairs)))

    def _compute(self, inputs: Sequence[Sequence[int]]) -> Generator[None, None, list[Vector]]:
        job = self._packer.add(inputs)
        try:
            while not job.done:
                self._packer.advance()
                yield
        finally:
            self._packer.remove(job)
        if job.error is not None:
            raise Refusal("failed", f"The model could not be computed: {job.error}")
        return [vector for vector in job.vectors if vector is not None]

    def _read_input(self, item: str | tuple[int, ...], param: str) -> Sequence[int]:
        if not isinstance(item, str):
            if not self._opened.vocabulary.are_known(item):
                raise Refusal(
                    "invalid", f"'{param}' has a token id outside of 0 to {self._opened.vocabulary.size - 1}.", param=param
                )
            return self._fit(item, param)
        self._check_size(len(item), param)
        return self._fit(self._opened.vocabulary.tokenize(item, control=False, whole=True), param)

    def _pair(self, query: str, document: str) -> Sequence[int]:
        self._check_size(len(query) + len(document), "documents")
        return self._opened.pair(query, document)

    def _check_size(self, characters: int, param: str) -> None:
        # A token that stands for an unknown word may be longer than any, so that short texts are always cut.
        if characters > max(MOST_CHARACTERS, self._opened.context_length * self._opened.vocabulary.longest_bytes):
            raise PromptTooLong(max(characters // 4, self._opened.context_length + 1), self._opened.context_length, param=param)

    def _fit(self, tokens: Sequence[int], param: str) -> Sequence[int]:
        if not tokens:
            raise Refusal("invalid", f"'{param}' has no tokens.", param=param)
        if len(tokens) > self._opened.context_length:
            raise PromptTooLong(len(tokens), self._opened.context_length, param=param)
        return tokens

    def _check_dimensions(self, dimensions: int | None) -> None:
        width = self._opened.context.width
        if dimensions is None or dimensions == width:
            return
        if self._nesting is None:
            raise Refusal(
                "invalid", f"This model's vectors have {width} numbers and cannot be cut shorter.", param="dimensions"
            )
        if not self._nesting.least <= dimensions <= width:
            raise Refusal("invalid", f"This model takes {self._nesting.least} to {width} dimensions.", param="dimensions")

    def _finish(self, vector: Vector, question: Embed) -> bytes:
        if question.dimensions is not None and question.dimensions < len(vector) and self._nesting is not None:
            vector = cut(vector, question.dimensions, self._nesting)
        if question.normalise:
            length = float(np.linalg.norm(vector.astype(np.float64)))
            vector = vector / np.float32(length or 1.0)
        return vector.astype("<f4").tobytes()

    def _warm_up(self) -> None:
        """Computes one token, so that the first request does not pay for reading the weights, and a broken build shows now."""
        token = next(token for token in (self._opened.vocabulary.bos, self._opened.vocabulary.eos, 0) if token is not None)
        self._opened.context.clear()
        try:
            self._opened.context.compute([(0, [token])])
        except ComputeError as error:
            self.close()
            raise LoadError(f"the model loads but does not compute: {error}") from error


def _in_slices(readings: Generator[Sequence[int], None, None]) -> Generator[None, None, list[Sequence[int]]]:
    """Tokenises one after the other, for a while at a time."""
    inputs: list[Sequence[int]] = []
    until_s = time.monotonic() + TOKENIZE_FOR_S
    for tokens in readings:
        inputs.append(tokens)
        if time.monotonic() > until_s:
            yield
            until_s = time.monotonic() + TOKENIZE_FOR_S
    return inputs


def _score(vector: Vector) -> float:
    """A probability: models with one output give its logit, others have taken the softmax already."""
    value = float(vector[0])
    return value if len(vector) > 1 else 1 / (1 + math.exp(-value)) if value > -700 else 0.0
