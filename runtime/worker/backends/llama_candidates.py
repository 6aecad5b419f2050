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


def nucleus(logits: NDArray[np.float32], top_p: float, min_p: float) -> NDArray[np.intp]:
    """Finds the likeliest tokens that together are at least so likely, without sorting the others.

    Args:
        logits: shape (n,), not empty.
        top_p: the share of the whole that is enough, 0 to 1.
        min_p: tokens less likely than this share of the likeliest one are left out beforehand.

    Returns:
        Indices into the logits, the likeliest first; at least one.
    """
    peak = logits.max()
    if not np.isfinite(peak):
        # A bias or penalty may be as large as it likes.
        return np.array([logits.argmax()])
    weights = np.exp(logits - peak)
    total = float(weights.sum(dtype=np.float64))
    # All tokens below this weight together are less than what may be left out, so none of them is needed.
    floor = max((1 - top_p) * total / len(weights), min_p * 0.999)
    kept = np.flatnonzero(weights >= min(floor, 1.0))
    kept = kept[np.argsort(-logits[kept], kind="stable")]
    running = np.cumsum(weights[kept], dtype=np.float64)
    return kept[: int(np.searchsorted(running, top_p * total)) + 1]
