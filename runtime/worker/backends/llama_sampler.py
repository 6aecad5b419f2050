"""How the next token of one sequence is chosen, by llama.cpp's own samplers in llama-server's order."""

from __future__ import annotations

import ctypes
import secrets
from collections.abc import Sequence
from typing import cast

import numpy as np
from llama_cpp import llama_cpp as native
from numpy.typing import NDArray

from ...events import TokenLogprob
from ...request import Sampling
from ..constraint.matcher import Matcher
from ..sampling.logprobs import logprob_of
from ..sampling.nucleus import nucleus
from .llama_vocab import Vocabulary

_SEEDS = 0xFFFFFFFF
"""llama.cpp takes this one as "choose for me", so real seeds stay below it."""
_MIROSTAT_TOKENS = 100
"""How many of the likeliest tokens mirostat 1 estimates from; llama-server's number."""


class Sampler:
    """Chooses the tokens of one sequence; its chance and its memory are its own.

    Args:
        sampling: checked before.
        vocabulary: the model's.
        context_length: how far back a penalty over the whole context looks.
        prompt: tokens that penalties count as written.
        constraint: at the beginning of the answer, and of this sampler alone; None leaves the answer free.
    """

    def __init__(
        self,
        sampling: Sampling,
        vocabulary: Vocabulary,
        *,
        context_length: int,
        prompt: Sequence[int],
        constraint: Matcher | None = None,
    ) -> None:
        self._vocabulary = vocabulary
        self._constraint = constraint
        self._cut = (sampling.top_p, sampling.min_p) if _cuts_itself(sampling, vocabulary) else None
        """top_p and min_p, where these are applied here; the engine would sort the whole vocabulary for them."""
        self._chain = _new_chain()
        self._before_cut = _new_chain() if self._cut else self._chain
        """What changes logits before any token is dropped."""
        self._add_bias(sampling)
        self._add_penalties(sampling, context_length, prompt)
        self._add_dry(sampling, context_length, prompt)
        self._weighs = native.llama_sampler_chain_n(self._before_cut) > 0
        self._is_plain = sampling.temperature <= 0 and not self._weighs and constraint is None
        """Whether the likeliest token is chosen as it is; the engine would make a list of the whole vocabulary for that."""
        if sampling.temperature <= 0:
            self._add(native.llama_sampler_init_greedy())
        else:
            self._add_chance(sampling, secrets.randbelow(_SEEDS) if sampling.seed is None else sampling.seed % _SEEDS)

    @property
    def may_draft(self) -> bool:
        """Whether guessing ahead can pay: not where only the end may follow.

        What is chosen never changes by it: chance is drawn and mirostat's memory renewed once for each token that is kept,
        in their order.
        """
        return self._constraint is None or not self._constraint.is_complete

    def sample(self, context: native.llama_context_p, index: int) -> int:
        """Chooses from the logits at an index of the newest batch, and remembers the choice; the logits stay as they are.

        Raises:
            ConstraintFailed: the constraint cannot go on.
        """
        if self._is_plain:
            return int(read_logits(context, index, self._vocabulary.size).argmax())
        allowed = None if self._constraint is None else self._constraint.allowed()
        if allowed is None and self._cut is None:
            token = native.llama_sampler_sample(self._chain, context, index)
        else:
            logits = read_logits(context, index, self._vocabulary.size)
            ids = None if allowed is None else np.flatnonzero(allowed)
            token = self._choose(logits if ids is None else logits[ids], ids)
        if self._constraint is not None:
            self._constraint.accept(token)
        return token

    def draft_prefix(self, tokens: Sequence[int]) -> int:
        """Counts how many tokens of a guess the constraint allows."""
        return len(tokens) if self._constraint is None else self._constraint.allowed_prefix(tokens)

    def close(self) -> None:
        """Frees the chain."""
        native.llama_sampler_free(self._chain)
        if self._cut:
            native.llama_sampler_free(self._before_cut)

    def _choose(self, logits: NDArray[np.float32], ids: NDArray[np.intp] | None) -> int:
        """Chooses among some tokens; None for ids is all of them."""
        candidates = self._vocabulary.candidates
        if self._cut:
            if self._weighs:
                candidates.fill(logits, ids)
                candidates.apply(self._before_cut)
                logits = candidates.logits()
            kept = nucleus(logits, *self._cut)
            logits, ids = logits[kept], kept if ids is None else ids[kept]
        candidates.fill(logits, ids, is_sorted=self._cut is not None)
        candidates.apply(self._chain)
        token = candidates.chosen()
        native.llama_sampler_accept(self._chain, token)
        if self._cut:
            native.llama_sampler_accept(self._before_cut, token)
        return token

    def _add(self, sampler: native.llama_sampler_p, *, before_cut: bool = False) -> None:
        native.llama_sampler_chain_add(self._before_cut if before_cut else self._chain, sampler)

    def _add_bias(self, sampling: Sampling) -> None:
        if not sampling.logit_bias:
            return
        biases = (native.llama_logit_bias * len(sampling.logit_bias))()
        for slot, (token, bias) in zip(biases, sampling.logit_bias.items(), strict=True):
            slot.token = token
            slot.bias = bias
        self._add(native.llama_sampler_init_logit_bias(self._vocabulary.size, len(biases), biases), before_cut=True)

    def _add_penalties(self, sampling: Sampling, context_length: int, prompt: Sequence[int]) -> None:
        last_n = context_length if sampling.repeat_last_n < 0 else min(sampling.repeat_last_n, context_length)
        if last_n == 0 or (sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty) == (1, 0, 0):
            return
        penalties = native.llama_sampler_init_penalties(
            self._vocabulary.size, last_n, sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty
        )
        # Control tokens of the template are no repetition: a penalty on them would keep the model from ending.
        controls = frozenset(self._vocabulary.control_texts.values())
        for token in prompt[-last_n:]:
            if token not in controls:
                native.llama_sampler_accept(penalties, token)
        self._add(penalties, before_cut=True)

    def _add_dry(self, sampling: Sampling, context_length: int, prompt: Sequence[int]) -> None:
        last_n = context_length if sampling.dry_penalty_last_n < 0 else min(sampling.dry_penalty_last_n, context_length)
        if last_n == 0 or sampling.dry_multiplier == 0:
            return
        dry = self._vocabulary.dry.make(sampling, last_n)
        for token in prompt[-last_n:]:
            native.llama_sampler_accept(dry, token)
        self._add(dry, before_cut=True)

    def _add_chance(self, sampling: Sampling, seed: int) -> None:
        size, tau, eta = self._vocabulary.size, sampling.mirostat_tau, sampling.mirostat_eta
        if sampling.mirostat:
            self._add(native.llama_sampler_init_temp(sampling.temperature))
            if sampling.mirostat == 1:
                self._add(native.llama_sampler_init_mirostat(size, seed, tau, eta, _MIROSTAT_TOKENS))
            else:
                self._add(native.llama_sampler_init_mirostat_v2(seed, tau, eta))
            return
        # The cheap cut comes first: what follows looks at 40 candidates and not at the whole vocabulary.
        if 0 < sampling.top_k < size:
            self._add(native.llama_sampler_init_top_k(sampling.top_k))
        if sampling.typical_p < 1:
            self._add(native.llama_sampler_init_typical(sampling.typical_p, 1))
        if sampling.top_p < 1 and self._cut is None:
            self._add(native.llama_sampler_init_top_p(sampling.top_p, 1))
        if sampling.min_p > 0:
            self._add(native.llama_sampler_init_min_p(sampling.min_p, 1))
        if sampling.xtc_probability > 0:
            self._add(native.llama_sampler_init_xtc(sampling.xtc_probability, sampling.xtc_threshold, 1, seed))
        self._add(native.llama_sampler_init_temp(sampling.temperature))
        self._add(native.llama_sampler_init_dist(seed))


def _new_chain() -> native.llama_sampler_p:
    params = native.llama_sampler_chain_default_params()
    params.no_perf = True
    return native.llama_sampler_chain_init(params)


def _cuts_itself(sampling: Sampling, vocabulary: Vocabulary) -> bool:
    """Whether top_p would be the first to drop tokens."""
    by_chance = sampling.temperature > 0 and sampling.mirostat == 0
    return by_chance and not 0 < sampling.top_k < vocabulary.size and sampling.typical_p >= 1 and sampling.top_p < 1


def read_logits(context: native.llama_context_p, index: int, size: int) -> NDArray[np.float32]:
    """Gives the logits at an index of the newest batch, shape (size,), where the engine keeps them until the next one."""
    address = ctypes.cast(native.llama_get_logits_ith(context, index), ctypes.c_void_p).value
    if address is None:
        raise IndexError(f"nothing was asked for at token {index} of the batch")
    row = (ctypes.c_float * size).from_address(address)
    return np.frombuffer(cast("memoryview", row), np.float32)


def read_logprob(context: native.llama_context_p, index: int, vocabulary: Vocabulary, *, token: int, top: int) -> TokenLogprob:
    """Reads how likely a token was by the bare logits, and which ones were likeliest, in falling order."""
    return logprob_of(read_logits(context, index, vocabulary.size), vocabulary, token=token, top=top)
