"""GGUF models that give vectors or scores instead of text, by llama.cpp."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Generator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from llama_cpp import llama_cpp as native

from ...frames import LoadOptions
from ...questions import ApplyTemplate, Count, Detokenize, Embed, Embedded, Question, Rank, Ranked, Tokenize
from ...request import GenerateRequest
from ..prompt import Segment
from ..words import answer_words
from .backend import Admission, Loaded, LoadError, Occupancy, PromptTooLong, Refusal, StepOutcome, Work
from .llama_log import LlamaLog
from .llama_model import ENGINE
from .llama_pooling import PoolingContext
from .llama_vocab import Vocabulary
from .llama_weights import describe_weights, open_weights, read_fact
from .matryoshka import Vector, cut, find_nesting
from .packing import ComputeError, Packer

MOST_CHARACTERS = 1_000_000
"""Longer inputs are not cut into tokens where every token would have to be the longest one for them to fit."""
TOKENIZE_FOR_S = 0.02
"""How long a slice of tokenising takes."""
_POOLING = {1: "mean", 2: "first token", 3: "last token", 4: "ranking"}

log = logging.getLogger(__name__)


class LlamaEmbeddingBackend:
    """Holds one GGUF model; it has no generations, only questions."""

    _model: native.llama_model_p
    _vocabulary: Vocabulary
    _context: PoolingContext
    _packer: Packer
    _context_length: int

    def load(self, path: str, options: LoadOptions, on_progress: Callable[[float], None]) -> Loaded:
        """Loads the model, makes its context and computes a first vector."""
        native.llama_backend_init()
        said = LlamaLog()
        self._model = model = open_weights(path, options, on_progress, said)
        try:
            trained = native.llama_model_n_ctx_train(model)
            self._context_length = min(options.context_length or trained, trained)
            # It may be null by its type, but never is for a model that was loaded with its weights.
            self._vocab = cast("native.llama_vocab_p", native.llama_model_get_vocab(model))
            self._vocabulary = Vocabulary(self._vocab)
            self._context = PoolingContext(model, options, context_length=self._context_length, said=said)
        except BaseException:
            native.llama_model_free(model)
            raise
        self._packer = Packer(self._context)
        names = read_fact(model, "general.name"), read_fact(model, "general.basename"), Path(path).stem
        self._nesting = find_nesting(*names)
        self._rank_template = _decoded(native.llama_model_chat_template(model, b"rerank"))
        self._warm_up()
        on_progress(1.0)
        details = {
            "model": describe_weights(model),
            "pooling": _POOLING.get(self._context.pooling, str(self._context.pooling)),
            "vectors": f"{self._context.width} numbers, of at most {self._context_length} tokens",
        }
        return Loaded(self._context_length, options.max_sequences, self._vocabulary.size, ENGINE, details)

    def answer(self, question: Question) -> Work:
        """Answers bit by bit: a slice is a batch computed, or a while of tokenising."""
        match question:
            case Embed():
                return (yield from self._embed(question))
            case Rank():
                return (yield from self._rank(question))
            case Tokenize() | Detokenize() | ApplyTemplate() | Count():
                return answer_words(question, self._vocabulary, None)

    def abandon(self) -> None:
        """Ends the batch that is being computed."""
        self._context.interrupt()

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
        return Occupancy(0, self._context_length)

    def close(self) -> None:
        """Frees everything."""
        self._context.close()
        native.llama_model_free(self._model)

    @property
    def _ranks(self) -> bool:
        return self._context.pooling == native.LLAMA_POOLING_TYPE_RANK

    @property
    def _gives(self) -> str:
        return "scores of documents" if self._ranks else "embeddings"

    def _embed(self, question: Embed) -> Generator[None, None, Embedded]:
        if self._ranks:
            raise Refusal("invalid", "This model gives scores of documents, not embeddings.", param="model")
        self._check_dimensions(question.dimensions)
        several = len(question.inputs) > 1
        readings = (self._read_input(item, f"input[{at}]" if several else "input") for at, item in enumerate(question.inputs))
        inputs = yield from _in_slices(readings)
        vectors = yield from self._compute(inputs)
        packed = tuple(self._finish(vector, question) for vector in vectors)
        return Embedded(packed, sum(map(len, inputs)))

    def _rank(self, question: Rank) -> Generator[None, None, Ranked]:
        if not self._ranks:
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
            if not self._vocabulary.are_known(item):
                raise Refusal("invalid", f"'{param}' has a token id outside of 0 to {self._vocabulary.size - 1}.", param=param)
            return self._fit(item, param)
        self._check_size(len(item), param)
        return self._fit(self._vocabulary.tokenize(item, control=False, whole=True), param)

    def _pair(self, query: str, document: str) -> Sequence[int]:
        """Puts a query and a document together as the model was trained on them, like llama-server does."""
        vocabulary = self._vocabulary
        self._check_size(len(query) + len(document), "documents")
        if self._rank_template is not None:
            return [
                token
                for segment in _fill_in(self._rank_template, query, document)
                for token in vocabulary.tokenize(segment.text, control=segment.control)
            ]
        eos = vocabulary.eos if vocabulary.eos is not None else cast("int", native.llama_vocab_sep(self._vocab))
        end = [eos] if native.llama_vocab_get_add_eos(self._vocab) else []
        between = [cast("int", native.llama_vocab_sep(self._vocab))] if native.llama_vocab_get_add_sep(self._vocab) else []
        begin = [vocabulary.bos] if vocabulary.adds_bos and vocabulary.bos is not None else []
        first, second = vocabulary.tokenize(query, control=False), vocabulary.tokenize(document, control=False)
        return [*begin, *first, *end, *between, *second, *end]

    def _check_size(self, characters: int, param: str) -> None:
        # A token that stands for an unknown word may be longer than any, so that short texts are always cut.
        if characters > max(MOST_CHARACTERS, self._context_length * self._vocabulary.longest_bytes):
            raise PromptTooLong(max(characters // 4, self._context_length + 1), self._context_length, param=param)

    def _fit(self, tokens: Sequence[int], param: str) -> Sequence[int]:
        if not tokens:
            raise Refusal("invalid", f"'{param}' has no tokens.", param=param)
        if len(tokens) > self._context_length:
            raise PromptTooLong(len(tokens), self._context_length, param=param)
        return tokens

    def _check_dimensions(self, dimensions: int | None) -> None:
        width = self._context.width
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
        token = next(token for token in (self._vocabulary.bos, self._vocabulary.eos, 0) if token is not None)
        self._context.clear()
        try:
            self._context.compute([(0, [token])])
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


def _fill_in(template: str, query: str, document: str) -> list[Segment]:
    """Puts both texts into a template; control tokens count only where the template writes them."""
    segments: list[Segment] = []
    for index, part in enumerate(template.split("{query}")):
        if index:
            segments.append(Segment(query, control=False))
        for place, piece in enumerate(part.split("{document}")):
            if place:
                segments.append(Segment(document, control=False))
            segments.append(Segment(piece, control=True))
    return [segment for segment in segments if segment.text]


def _decoded(text: bytes | None) -> str | None:
    return None if text is None else text.decode("utf-8", "replace")
