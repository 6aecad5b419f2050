"""Chooses tokens where they are computed, so that the next step can begin before anybody has read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..sampling.sampler import Draw
from .mlx_library import mx


def draw_tokens(logits: Any, draws: Sequence[Draw], positions: Sequence[int]) -> Any:
    """Chooses a token for each row, without waiting for it.

    Args:
        logits: shape (rows, vocabulary or more), an array of MLX.
        draws: how, for each row.
        positions: how many tokens each sequence has; with its seed they make its chance.

    Returns:
        Token ids, shape (rows,), an array of MLX.
    """
    if all(draw.temperature <= 0 and draw.size == draws[0].size for draw in draws):
        return mx.argmax(logits[:, : draws[0].size], axis=-1)
    chosen = [
        _draw(logits[row : row + 1, : draw.size], draw, position)
        for row, (draw, position) in enumerate(zip(draws, positions, strict=True))
    ]
    return mx.concatenate(chosen)


def _draw(logits: Any, draw: Draw, position: int) -> Any:
    if draw.temperature <= 0:
        return mx.argmax(logits, axis=-1)
    size = logits.shape[-1]
    count = draw.top_k if 0 < draw.top_k < size else size
    if count < size:
        part = mx.argpartition(-logits, kth=count - 1, axis=-1)[:, :count]
        scores = mx.take_along_axis(logits, part, axis=-1).astype(mx.float32)
        order = mx.argsort(-scores, axis=-1)
        ids = mx.take_along_axis(part, order, axis=-1)
        scores = mx.take_along_axis(scores, order, axis=-1)
    else:
        ids = mx.argsort(-logits, axis=-1)
        scores = mx.take_along_axis(logits, ids, axis=-1).astype(mx.float32)
    if draw.top_p < 1:
        odds = mx.softmax(scores, axis=-1)
        before = mx.cumsum(odds, axis=-1) - odds
        scores = mx.where(before < max(draw.top_p, 1e-9), scores, -mx.inf)
    if draw.min_p > 0:
        scores = mx.where(scores >= scores[:, :1] + float(np.log(min(draw.min_p, 1.0))), scores, -mx.inf)
    key = None if draw.seed is None else mx.random.key((draw.seed * 1_000_003 + position) & 0xFFFFFFFFFFFFFFFF)
    at = mx.random.categorical(scores / draw.temperature, key=key)
    return mx.take_along_axis(ids, at[:, None], axis=-1)[:, 0]
