"""The one batch that every step fills anew."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Literal

import numpy as np
from llama_cpp import llama_cpp as native


class Batch:
    """A llama_batch over memory of our own, laid out once.

    Its arrays hold one value per token, shape (capacity,); writing to them through numpy costs no call into ctypes.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.size = 0
        self._tokens = np.zeros(capacity, np.int32)
        self._positions = np.zeros(capacity, np.int32)
        self._slots = np.zeros(capacity, np.int32)
        self._wanted = np.zeros(capacity, np.int8)
        self._slot_counts = np.ones(capacity, np.int32)
        # llama.cpp wants a pointer to each token's list of sequences; each list is one cell of `_slots`.
        self._slot_lists = np.arange(capacity, dtype=np.uintp) * self._slots.itemsize + self._slots.ctypes.data
        self._native = native.llama_batch(
            n_tokens=0,
            token=self._tokens.ctypes.data_as(ctypes.POINTER(native.llama_token)),
            embd=None,
            pos=self._positions.ctypes.data_as(ctypes.POINTER(native.llama_pos)),
            n_seq_id=self._slot_counts.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            seq_id=self._slot_lists.ctypes.data_as(ctypes.POINTER(ctypes.POINTER(native.llama_seq_id))),
            logits=self._wanted.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    @property
    def room(self) -> int:
        """How many tokens still fit."""
        return self.capacity - self.size

    def clear(self) -> None:
        """Begins anew."""
        self.size = 0

    def add(self, slot: int, position: int, tokens: Sequence[int], *, sample: Literal["none", "last", "all"]) -> int:
        """Adds consecutive tokens of one sequence and says which ones are to be sampled at; gives the index of the first."""
        begin, end = self.size, self.size + len(tokens)
        self._slots[begin:end] = slot
        self._wanted[begin:end] = 0
        if len(tokens) == 1:
            self._tokens[begin] = tokens[0]
            self._positions[begin] = position
        else:
            self._tokens[begin:end] = tokens
            self._positions[begin:end] = np.arange(position, position + len(tokens), dtype=np.int32)
        if sample == "all":
            self._wanted[begin:end] = 1
        elif sample == "last":
            self._wanted[end - 1] = 1
        self.size = end
        return begin

    def decode(self, context: native.llama_context_p) -> int:
        """Computes the batch and waits for the result; gives llama_decode's code, where 0 is well and 1 is a full cache."""
        self._native.n_tokens = self.size
        code = native.llama_decode(context, self._native)
        native.llama_synchronize(context)
        return code
