"""The likeliest tokens that together are likely enough (top_p, https://arxiv.org/abs/1904.09751)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


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
