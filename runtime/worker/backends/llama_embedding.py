"""GGUF models that give vectors or scores instead of text, by llama.cpp."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from llama_cpp import llama_cpp as native

from ...frames import LoadOptions
from ..prompt import Segment
from ..vectors.vector_backend import OpenedVectors, VectorBackend
from .llama_log import LlamaLog
from .llama_model import ENGINE
from .llama_pooling import PoolingContext
from .llama_vocab import Vocabulary
from .llama_weights import describe_weights, open_weights, read_fact

_POOLING = {1: "mean", 2: "first token", 3: "last token", 4: "ranking"}


def open_backend() -> VectorBackend:
    """Gives the backend for GGUF files."""
    return VectorBackend(open_vectors)


def open_vectors(path: str, options: LoadOptions, on_progress: Callable[[float], None]) -> OpenedVectors:
    """Loads a model and makes its context; raises LoadError."""
    native.llama_backend_init()
    said = LlamaLog()
    model = open_weights(path, options, on_progress, said)
    try:
        trained = native.llama_model_n_ctx_train(model)
        context_length = min(options.context_length or trained, trained)
        pairs = _Pairs(model)
        context = PoolingContext(model, options, context_length=context_length, said=said)
    except BaseException:
        native.llama_model_free(model)
        raise

    def close() -> None:
        context.close()
        native.llama_model_free(model)

    return OpenedVectors(
        context=context,
        vocabulary=pairs.vocabulary,
        context_length=context_length,
        ranks=context.pooling == native.LLAMA_POOLING_TYPE_RANK,
        pair=pairs.put_together,
        engine=ENGINE,
        names=(read_fact(model, "general.name"), read_fact(model, "general.basename"), Path(path).stem),
        details={"model": describe_weights(model), "pooling": _POOLING.get(context.pooling, str(context.pooling))},
        close=close,
    )


class _Pairs:
    """Puts queries and documents together like llama-server does."""

    def __init__(self, model: native.llama_model_p) -> None:
        # It may be null by its type, but never is for a model that was loaded with its weights.
        self._vocab = cast("native.llama_vocab_p", native.llama_model_get_vocab(model))
        self.vocabulary = Vocabulary(self._vocab)
        self._template = _decoded(native.llama_model_chat_template(model, b"rerank"))

    def put_together(self, query: str, document: str) -> Sequence[int]:
        """Gives the tokens of a pair."""
        vocabulary = self.vocabulary
        if self._template is not None:
            return [
                token
                for segment in _fill_in(self._template, query, document)
                for token in vocabulary.tokenize(segment.text, control=segment.control)
            ]
        eos = vocabulary.eos if vocabulary.eos is not None else cast("int", native.llama_vocab_sep(self._vocab))
        end = [eos] if native.llama_vocab_get_add_eos(self._vocab) else []
        between = [cast("int", native.llama_vocab_sep(self._vocab))] if native.llama_vocab_get_add_sep(self._vocab) else []
        begin = [vocabulary.bos] if vocabulary.adds_bos and vocabulary.bos is not None else []
        first, second = vocabulary.tokenize(query, control=False), vocabulary.tokenize(document, control=False)
        return [*begin, *first, *end, *between, *second, *end]


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
