"""The tokens that a choice is made among, where not all of the vocabulary is."""

from __future__ import annotations

import ctypes
from typing import cast

import numpy as np
from llama_cpp import llama_cpp as native
from numpy.typing import NDArray

_ROW = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
"""As llama.cpp's llama_token_data lies in memory."""


class Candidates:
    """Room for one choice, laid out once for all sequences of a model, as they choose one after the other."""

    def __init__(self, size: int) -> None:
        self._rows = np.zeros(size, _ROW)
        self._array = native.llama_token_data_array()
        self._pointer = cast("ctypes.Array[native.llama_token_data_array]", ctypes.byref(self._array))

    def fill(self, logits: NDArray[np.float32], ids: NDArray[np.intp] | None, *, is_sorted: bool = False) -> None:
        """Puts tokens in.

        Args:
            logits: of each token, shape (n,).
            ids: the tokens, shape (n,); None is all of the vocabulary in order.
            is_sorted: whether the logits fall.
        """
        count = len(logits)
        self._rows["id"][:count] = np.arange(count) if ids is None else ids
        self._rows["logit"][:count] = logits
        # A sampler may have moved the pointer past tokens that it dropped.
        rows = ctypes.cast(self._rows.ctypes.data, ctypes.POINTER(native.llama_token_data))
        self._array.data = cast("ctypes.Array[native.llama_token_data]", rows)
        self._array.size = count
        self._array.selected = -1
        self._array.sorted = is_sorted

    def apply(self, sampler: native.llama_sampler_p) -> None:
        """Lets a sampler weigh, drop and choose."""
        native.llama_sampler_apply(sampler, self._pointer)

    def logits(self) -> NDArray[np.float32]:
        """A copy of the logits, in the order in which the tokens were put in; only while no sampler dropped or sorted any."""
        return self._rows["logit"][: self._array.size].copy()

    def ids(self) -> list[int]:
        """The tokens that are left, in their order."""
        return [self._array.data[at].id for at in range(self._array.size)]

    def chosen(self) -> int:
        """The token that the last sampler chose."""
        return self._array.data[self._array.selected].id
