"""How likely a chosen token was, and which ones were likeliest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...events import TokenLogprob, TopLogprob
from ..vocabulary import Vocabulary


def logprob_of(logits: NDArray[np.float32], vocabulary: Vocabulary, *, token: int, top: int) -> TokenLogprob:
    """Reads how likely a token was by the bare logits, shape (size,), and which ones were likeliest, in falling order."""
    peak = float(logits.max())
    total = peak + float(np.log(np.exp(logits - peak).sum(dtype=np.float64)))
    likeliest: tuple[TopLogprob, ...] = ()
    if top:
        count = min(top, vocabulary.size - 1)
        candidates = np.argpartition(logits, -count)[-count:]
        ordered = candidates[np.argsort(-logits[candidates], kind="stable")]
        likeliest = tuple(TopLogprob(int(one), vocabulary.piece(int(one)), float(logits[one]) - total) for one in ordered)
    return TokenLogprob(token, vocabulary.piece(token), float(logits[token]) - total, likeliest)
