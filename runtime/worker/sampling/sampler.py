"""How the next token of one sequence is chosen from plain scores, in llama-server's order of stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...request import Sampling
from ..constraint.matcher import Matcher
from ..vocabulary import Vocabulary
from .penalties import DryPenalty, Repetition

_MIROSTAT_TOKENS = 100
"""How many of the likeliest tokens mirostat 1 estimates from."""

Logits = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Draw:
    """A choice so plain that an engine can make it where it computes."""

    size: int
    """Only the first so many ids may be chosen: models give scores for more than their vocabulary has."""
    temperature: float
    """0 is the likeliest token."""
    top_k: int = 0
    """0 is off."""
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int | None = None
    """None is any."""


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
        self._sampling = sampling
        self._constraint = constraint
        self._size = vocabulary.size
        self._chance = np.random.default_rng(sampling.seed if sampling.seed is None else sampling.seed & 0xFFFFFFFFFFFFFFFF)
        self._bias_ids = np.array(list(sampling.logit_bias), np.intp)
        self._biases = np.array(list(sampling.logit_bias.values()), np.float32)
        controls = frozenset(vocabulary.control_texts.values())
        self._repetition = Repetition.open(sampling, context_length, prompt, controls)
        self._dry = DryPenalty.open(sampling, context_length, prompt, vocabulary)
        self._mu = 2 * sampling.mirostat_tau
        self._weighs = bool(len(self._bias_ids)) or self._repetition is not None or self._dry is not None
        self.draw = self._as_draw()
        """The choice as an engine may make it by itself; None where it takes more."""

    @property
    def may_draft(self) -> bool:
        """Whether guessing ahead can pay: not where only the end may follow."""
        return self._constraint is None or not self._constraint.is_complete

    def draft_prefix(self, tokens: Sequence[int]) -> int:
        """Counts how many tokens of a guess the constraint allows."""
        return len(tokens) if self._constraint is None else self._constraint.allowed_prefix(tokens)

    def choose(self, logits: Logits) -> int:
        """Chooses a token and remembers it.

        Args:
            logits: shape (rows,), rows at least the vocabulary's size; they stay as they are.

        Raises:
            ConstraintFailed: the constraint cannot go on.
        """
        scores = logits[: self._size]
        allowed = None if self._constraint is None else self._constraint.allowed()
        if self._weighs:
            scores = scores.copy()
            if len(self._bias_ids):
                scores[self._bias_ids] += self._biases
            for penalty in (self._repetition, self._dry):
                if penalty is not None:
                    penalty.apply(scores)
        ids = None if allowed is None else np.flatnonzero(allowed)
        token = self._pick(scores if ids is None else scores[ids], ids)
        self.note(token)
        return token

    def note(self, token: int) -> None:
        """Remembers a token that was chosen.

        Raises:
            ConstraintFailed: it was none that is allowed.
        """
        for penalty in (self._repetition, self._dry):
            if penalty is not None:
                penalty.note(token)
        if self._constraint is not None:
            self._constraint.accept(token)

    def _pick(self, scores: Logits, ids: NDArray[np.intp] | None) -> int:
        """Chooses among some tokens; None for ids is all of the vocabulary."""
        sampling = self._sampling
        if sampling.temperature <= 0 or len(scores) == 1:
            at = int(scores.argmax())
        elif sampling.mirostat:
            at = self._pick_by_surprise(scores)
        else:
            at = self._pick_by_chance(scores)
        return at if ids is None else int(ids[at])

    def _pick_by_chance(self, logits: Logits) -> int:
        sampling = self._sampling
        kept = _likeliest(logits, sampling.top_k)
        scores = logits[kept].astype(np.float64)
        if sampling.typical_p < 1:
            part = _typical(scores, sampling.typical_p)
            kept, scores = kept[part], scores[part]
        if sampling.top_p < 1 and len(kept) > 1:
            running = np.cumsum(_softmax(scores))
            count = int(np.searchsorted(running, sampling.top_p)) + 1
            kept, scores = kept[:count], scores[:count]
        if sampling.min_p > 0:
            part = scores >= scores[0] + np.log(min(sampling.min_p, 1.0))
            kept, scores = kept[part], scores[part]
        if sampling.xtc_probability > 0 and self._chance.random() < sampling.xtc_probability:
            above = int((_softmax(scores) >= sampling.xtc_threshold).sum())
            if above > 1:  # all that are likely enough but the least of them
                kept, scores = kept[above - 1 :], scores[above - 1 :]
        return int(kept[self._throw(_softmax(scores / np.float64(sampling.temperature)))])

    def _pick_by_surprise(self, scores: Logits) -> int:
        """Mirostat (https://arxiv.org/abs/2007.14966): cuts where surprise meets what was aimed at."""
        sampling = self._sampling
        order = np.argsort(-scores, kind="stable")
        odds = _softmax(scores[order].astype(np.float64) / np.float64(sampling.temperature))
        if sampling.mirostat == 1:
            most = min(_MIROSTAT_TOKENS, len(odds) - 1)
            ratios = np.log(np.arange(2, most + 2) / np.arange(1, most + 1))
            falls = np.log(odds[:most] / np.maximum(odds[1 : most + 1], 1e-300))
            slope = float((ratios * falls).sum() / (ratios * ratios).sum()) if most else 1.0
            rest = slope - 1
            count = ((rest * 2**self._mu) / (1 - len(odds) ** -rest)) ** (1 / slope) if rest > 0 and slope > 0 else len(odds)
            keep = int(min(max(1, round(count)), len(odds)))
        else:
            keep = max(1, int((-np.log2(np.maximum(odds, 1e-300)) <= self._mu).sum()))
        odds = odds[:keep] / odds[:keep].sum()
        at = self._throw(odds)
        self._mu -= sampling.mirostat_eta * (-float(np.log2(odds[at])) - sampling.mirostat_tau)
        return int(order[at])

    def _throw(self, odds: NDArray[np.float64]) -> int:
        """Draws an index by its odds, which sum up to 1."""
        return min(int(np.searchsorted(np.cumsum(odds), self._chance.random(), side="right")), len(odds) - 1)

    def _as_draw(self) -> Draw | None:
        sampling = self._sampling
        if self._constraint is not None or self._weighs:
            return None
        if sampling.temperature <= 0:
            return Draw(self._size, 0.0)
        if sampling.mirostat or sampling.typical_p < 1 or sampling.xtc_probability > 0:
            return None
        return Draw(self._size, sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p, sampling.seed)


def _likeliest(scores: Logits, count: int) -> NDArray[np.intp]:
    """Gives the indices of the likeliest tokens, the likeliest first; all of them where count is 0."""
    if not 0 < count < len(scores):
        return np.argsort(-scores, kind="stable")
    kept = np.argpartition(scores, -count)[-count:]
    return kept[np.argsort(-scores[kept], kind="stable")]


def _typical(scores: NDArray[np.float64], share: float) -> NDArray[np.intp]:
    """Chooses the tokens whose surprise is nearest to what is expected, until they have a share of the whole.

    See https://arxiv.org/abs/2202.00666.

    Returns:
        Indices in falling order of likelihood.
    """
    odds = _softmax(scores)
    surprise = -np.log(np.maximum(odds, 1e-300))
    order = np.argsort(np.abs(surprise - float((odds * surprise).sum())), kind="stable")
    count = int(np.searchsorted(np.cumsum(odds[order]), share)) + 1
    return np.sort(order[:count])


def _softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()
