"""A context of llama.cpp that gives one vector for each sequence."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence
from typing import cast

import numpy as np
from llama_cpp import llama_cpp as native

from ...frames import LoadOptions
from ..vectors.matryoshka import Vector
from ..vectors.packing import ComputeError, Interrupted
from .backend import LoadError
from .llama_abort import AbortFlag
from .llama_log import LlamaLog
from .llama_weights import count_usable_cores, read_fact

MOST_SEQUENCES = 64
"""In one batch."""
MOST_STATES = 8
"""The same for models that keep a state for each sequence, which takes memory whether it is used or not."""
_ABORTED = 2
"""What llama_decode gives where it was asked to end."""

log = logging.getLogger(__name__)


class PoolingContext:
    """Owns one context, which grows when an input needs it; the weights are the caller's.

    Args:
        model: the weights.
        options: threads and the size of a batch.
        context_length: no input is longer.
        said: collects what the engine complains about.
    """

    def __init__(self, model: native.llama_model_p, options: LoadOptions, *, context_length: int, said: LlamaLog) -> None:
        self._model = model
        self._options = options
        self._context_length = context_length
        self._said = said
        states = native.llama_model_is_recurrent(model) or native.llama_model_is_hybrid(model)
        self.max_sequences = MOST_STATES if states else MOST_SEQUENCES
        """How many sequences a batch may have."""
        self.room = max(options.batch_tokens, self.max_sequences)
        """How many tokens a batch has, unless a single input has more."""
        self._abort = AbortFlag()
        self._context: native.llama_context_p | None = None
        self._open(self.room, cells=0)

    @property
    def splits(self) -> bool:
        """Whether a sequence may be computed in parts: only its last token counts, and the memory has those before it."""
        return self._causal and self.pooling in (native.LLAMA_POOLING_TYPE_LAST, native.LLAMA_POOLING_TYPE_RANK)

    def fit(self, tokens: int) -> None:
        """Makes room for a sequence of so many tokens; raises ComputeError where there is no memory for it."""
        if self.splits:
            if tokens > self._cells:
                self._grow(self.capacity, cells=min(self._context_length, 1 << (tokens - 1).bit_length()))
        elif tokens > self.capacity:
            self._grow(min(self._context_length, 1 << (tokens - 1).bit_length()), cells=0)

    def clear(self) -> None:
        """Forgets every sequence."""
        if self._memory:
            native.llama_memory_clear(self._memory, False)

    def compute(self, parts: Sequence[tuple[int, Sequence[int]]]) -> list[Vector]:
        """Computes one batch.

        Args:
            parts: for each sequence, how many of its tokens were computed before, and those that are to be; the sequences
                have the numbers 0, 1, …, and at most `capacity` tokens together.

        Returns:
            A vector for each sequence, shape (width,), as of its last token so far.

        Raises:
            ComputeError: the engine failed.
            Interrupted: `interrupt` was called meanwhile.
        """
        context, at = self._context, 0
        for slot, (begin, tokens) in enumerate(parts):
            end = at + len(tokens)
            self._tokens[at:end] = tokens
            self._positions[at:end] = np.arange(begin, begin + len(tokens), dtype=np.int32)
            self._slots[at:end] = slot
            at = end
        self._batch.n_tokens = at
        self._abort.lower()
        code = -1 if context is None else native.llama_decode(context, self._batch)
        if code == _ABORTED:
            raise Interrupted
        if context is None or code != 0:
            raise ComputeError(f"llama_decode gave {code}. {self._said.why()}".strip())
        native.llama_synchronize(context)
        return [self._read(context, slot) for slot in range(len(parts))]

    def interrupt(self) -> None:
        """Ends the batch that is being computed; from any thread."""
        self._abort.raise_()

    def close(self) -> None:
        """Frees the context."""
        if self._context is not None:
            native.llama_free(self._context)
            self._context = None

    def _read(self, context: native.llama_context_p, slot: int) -> Vector:
        pointer = native.llama_get_embeddings_seq(context, slot)
        if not pointer:
            raise ComputeError("The engine gave no vector for a sequence.")
        vector = np.ctypeslib.as_array(pointer, (self.width,)).copy()
        if not np.isfinite(vector).all():
            raise ComputeError("The model gave numbers that are not finite.")
        return vector

    def _grow(self, capacity: int, *, cells: int) -> None:
        log.info("room for %d tokens is made", max(capacity, cells))
        before = self.capacity, self._cells
        self.close()
        try:
            self._open(capacity, cells=cells)
        except LoadError as error:
            self._open(before[0], cells=before[1])
            raise ComputeError(str(error)) from error

    def _open(self, capacity: int, *, cells: int) -> None:
        options = self._options
        params = native.llama_context_default_params()
        params.n_ctx = self._cells = max(capacity, cells)
        # Without a causal mask every token must see all of its sequence at once, so that a batch is never computed in parts.
        params.n_batch = params.n_ubatch = capacity
        self.capacity = capacity
        """The most tokens of one batch."""
        params.n_seq_max = self.max_sequences
        params.kv_unified = True
        params.embeddings = True
        params.pooling_type = _choose_pooling(self._model)
        params.n_threads = options.threads or count_usable_cores()
        params.n_threads_batch = options.threads_batch or params.n_threads
        params.no_perf = True
        self._said.forget()
        context = native.llama_init_from_model(self._model, params)
        if not context:
            raise LoadError(f"no memory for {capacity} tokens at a time ({self._said.why() or 'llama.cpp gave no reason'}).")
        self._context = context
        self._abort.watch(context)
        self._memory = native.llama_get_memory(context)
        self._causal = bool(self._memory) and native.llama_get_causal_attn(context)
        self.pooling = native.llama_pooling_type(context)
        """How a sequence's tokens become one vector, as llama.cpp counts the ways."""
        ranks = self.pooling == native.LLAMA_POOLING_TYPE_RANK
        self.width = (native.llama_model_n_cls_out if ranks else native.llama_model_n_embd_out)(self._model)
        """How many numbers a vector has."""
        self._lay_out(capacity)

    def _lay_out(self, capacity: int) -> None:
        """Makes the one batch that is filled anew each time; shape (capacity,) for each of its arrays."""
        self._tokens = np.zeros(capacity, np.int32)
        self._positions = np.zeros(capacity, np.int32)
        self._slots = np.zeros(capacity, np.int32)
        self._counts = np.ones(capacity, np.int32)
        self._wanted = np.ones(capacity, np.int8)
        # llama.cpp wants a pointer to each token's list of sequences; each list is one cell of `_slots`.
        self._slot_lists = np.arange(capacity, dtype=np.uintp) * self._slots.itemsize + self._slots.ctypes.data
        self._batch = native.llama_batch(
            n_tokens=0,
            token=self._tokens.ctypes.data_as(ctypes.POINTER(native.llama_token)),
            embd=None,
            pos=self._positions.ctypes.data_as(ctypes.POINTER(native.llama_pos)),
            n_seq_id=self._counts.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            seq_id=self._slot_lists.ctypes.data_as(ctypes.POINTER(ctypes.POINTER(native.llama_seq_id))),
            logits=self._wanted.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )


def _choose_pooling(model: native.llama_model_p) -> int:
    """The model's own way; the mean where its file states none, as of old conversions of encoders."""
    architecture = read_fact(model, "general.architecture")
    stated = read_fact(model, f"{architecture}.pooling_type")
    known = stated is not None and stated.isdigit() and int(stated) != native.LLAMA_POOLING_TYPE_NONE
    return cast("int", native.LLAMA_POOLING_TYPE_UNSPECIFIED if known else native.LLAMA_POOLING_TYPE_MEAN)
