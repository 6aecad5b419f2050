"""The first computations of a model that was just loaded: whether it computes at all, and how long its steps take."""

from __future__ import annotations

import time

from .backend import LoadError
from .llama_batch import Batch
from .llama_model import LlamaModel

SHORT_STEP_S = 0.05
"""Where a step of one token takes longer, no larger one is tried: a load is to be over soon."""
LARGER_TOKENS = (2, 8)
"""Between these a step grows evenly; a second token may cost more than the next ones, as it may need another way to compute."""


def warm_up(model: LlamaModel, batch: Batch, token: int) -> dict[int, float]:
    """Computes a token, so that the first request does not pay for reading the weights, and a broken build shows now.

    Args:
        model: has an empty cache, before and after.
        batch: is overwritten.
        token: any of the vocabulary.

    Returns:
        Seconds of a step by its number of tokens, each of which is sampled at: of one, and where that is short, of several.

    Raises:
        LoadError: it does not compute; the model is closed then.
    """
    _compute(model, batch, token, 1)
    took_s = {1: _compute(model, batch, token, 1)}
    if took_s[1] < SHORT_STEP_S:
        for tokens in LARGER_TOKENS:
            if tokens <= min(batch.capacity, model.output_room):
                took_s[tokens] = _compute(model, batch, token, tokens)
    return took_s


def _compute(model: LlamaModel, batch: Batch, token: int, count: int) -> float:
    batch.clear()
    batch.add(0, 0, [token] * count, sample="all")
    began_s = time.perf_counter()
    code = batch.decode(model.context)
    took_s = time.perf_counter() - began_s
    model.memory.clear()
    if code != 0:
        model.close()
        raise LoadError(f"the model loads but does not compute (llama_decode gave {code}). {model.last_errors()}".strip())
    return took_s
