"""How the next token of one sequence is chosen, by llama.cpp's own chain of samplers."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence

import numpy as np
from llama_cpp import llama_cpp as native

from ...events import TokenLogprob, TopLogprob
from ...request import Sampling
from .backend import Refusal
from .llama_vocab import Vocabulary

_SEEDS = 0xFFFFFFFF
"""llama.cpp takes this one as "choose for me", so real seeds stay below it."""


def check_sampling(sampling: Sampling, vocabulary: Vocabulary) -> None:
    """Refuses values that the engine does not survive, or that mean nothing to it."""
    for name in ("temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty", "repeat_penalty"):
        value: float = getattr(sampling, name)
        if not math.isfinite(value):
            raise Refusal("invalid", f"{name} must be a finite number, not {value}.", param=name)
    if sampling.repeat_penalty <= 0:
        raise Refusal("invalid", f"repeat_penalty must be above 0, not {sampling.repeat_penalty}.", param="repeat_penalty")
    if not vocabulary.are_known(tuple(sampling.logit_bias)):
        raise Refusal("invalid", f"logit_bias names a token id outside of 0 to {vocabulary.size - 1}.", param="logit_bias")
    if not all(map(math.isfinite, sampling.logit_bias.values())):
        raise Refusal("invalid", "logit_bias must hold finite numbers.", param="logit_bias")


class Sampler:
    """Owns one chain."""

    def __init__(self, sampling: Sampling, vocabulary: Vocabulary, *, context_length: int, prompt: Sequence[int]) -> None:
        params = native.llama_sampler_chain_default_params()
        params.no_perf = True
        self._chain = native.llama_sampler_chain_init(params)
        self._add_bias(sampling, vocabulary)
        last_n = context_length if sampling.repeat_last_n < 0 else min(sampling.repeat_last_n, context_length)
        penalised = last_n > 0 and (
            sampling.repeat_penalty != 1 or sampling.frequency_penalty != 0 or sampling.presence_penalty != 0
        )
        if penalised:
            self._add(
                native.llama_sampler_init_penalties(
                    vocabulary.size, last_n, sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty
                )
            )
        if sampling.temperature <= 0:
            self._add(native.llama_sampler_init_greedy())
        else:
            self._add_chance(sampling, vocabulary)
        if penalised:
            # Control tokens of the template are no repetition: a penalty on them would keep the model from ending.
            controls = frozenset(vocabulary.control_texts.values())
            for token in prompt[-last_n:]:
                if token not in controls:
                    native.llama_sampler_accept(self._chain, token)

    def sample(self, context: native.llama_context_p, index: int) -> int:
        """Chooses from the logits at an index of the newest batch, and remembers the choice."""
        return native.llama_sampler_sample(self._chain, context, index)

    def close(self) -> None:
        """Frees the chain."""
        native.llama_sampler_free(self._chain)

    def _add(self, sampler: native.llama_sampler_p) -> None:
        native.llama_sampler_chain_add(self._chain, sampler)

    def _add_bias(self, sampling: Sampling, vocabulary: Vocabulary) -> None:
        if not sampling.logit_bias:
            return
        biases = (native.llama_logit_bias * len(sampling.logit_bias))()
        for slot, (token, bias) in zip(biases, sampling.logit_bias.items(), strict=True):
            slot.token = token
            slot.bias = bias
        self._add(native.llama_sampler_init_logit_bias(vocabulary.size, len(biases), biases))

    def _add_chance(self, sampling: Sampling, vocabulary: Vocabulary) -> None:
        # The cheap cut comes first: what follows looks at 40 candidates and not at the whole vocabulary.
        if 0 < sampling.top_k < vocabulary.size:
            self._add(native.llama_sampler_init_top_k(sampling.top_k))
        if sampling.top_p < 1:
            self._add(native.llama_sampler_init_top_p(sampling.top_p, 1))
        if sampling.min_p > 0:
            self._add(native.llama_sampler_init_min_p(sampling.min_p, 1))
        self._add(native.llama_sampler_init_temp(sampling.temperature))
        seed = secrets.randbelow(_SEEDS) if sampling.seed is None else sampling.seed % _SEEDS
        self._add(native.llama_sampler_init_dist(seed))


def read_logprob(context: native.llama_context_p, index: int, vocabulary: Vocabulary, *, token: int, top: int) -> TokenLogprob:
    """Reads how likely a token was by the bare logits, and which ones were likeliest, in falling order."""
    logits = np.ctypeslib.as_array(native.llama_get_logits_ith(context, index), (vocabulary.size,))
    peak = float(logits.max())
    total = peak + float(np.log(np.exp(logits - peak).sum(dtype=np.float64)))
    likeliest: tuple[TopLogprob, ...] = ()
    if top:
        count = min(top, vocabulary.size - 1)
        candidates = np.argpartition(logits, -count)[-count:]
        ordered = candidates[np.argsort(-logits[candidates], kind="stable")]
        likeliest = tuple(TopLogprob(int(one), vocabulary.piece(int(one)), float(logits[one]) - total) for one in ordered)
    return TokenLogprob(token, vocabulary.piece(token), float(logits[token]) - total, likeliest)
