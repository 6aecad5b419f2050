"""Which values of sampling mean something, and do no harm."""

from __future__ import annotations

import math

from ...request import Sampling
from ..backends.backend import Refusal
from ..vocabulary import Vocabulary

MAX_BREAKERS = 32
"""For each one the whole vocabulary is looked through."""

_Range = tuple[float, float]
_ANY: _Range = (-math.inf, math.inf)
_RANGES: dict[str, _Range] = {
    "temperature": _ANY,
    "top_p": _ANY,
    "min_p": _ANY,
    "presence_penalty": _ANY,
    "frequency_penalty": _ANY,
    "repeat_penalty": (1e-6, math.inf),
    "typical_p": (0, math.inf),
    "dry_multiplier": (0, 1e6),
    "dry_base": (1, 1e6),
    "dry_allowed_length": (0, 2**31 - 1),
    "xtc_probability": (0, 1),
    "xtc_threshold": (0, 1),
    "mirostat_tau": (0, 1e3),
    "mirostat_eta": (0, 1e3),
}
"""The least and the most that the engine survives."""


def check_sampling(sampling: Sampling, vocabulary: Vocabulary) -> None:
    """Refuses values that the engine does not survive, or that mean nothing to it."""
    for name, (least, most) in _RANGES.items():
        value: float = getattr(sampling, name)
        if not math.isfinite(value):
            raise Refusal("invalid", f"{name} must be a finite number, not {value}.", param=name)
        if value < least:
            raise Refusal("invalid", f"{name} must be at least {least:g}, not {value}.", param=name)
        if value > most:
            raise Refusal("invalid", f"{name} must be at most {most:g}, not {value}.", param=name)
    if len(sampling.dry_sequence_breakers) > MAX_BREAKERS:
        raise Refusal("invalid", f"dry_sequence_breakers may hold {MAX_BREAKERS} texts.", param="dry_sequence_breakers")
    if not vocabulary.are_known(tuple(sampling.logit_bias)):
        raise Refusal("invalid", f"logit_bias names a token id outside of 0 to {vocabulary.size - 1}.", param="logit_bias")
    if not all(map(math.isfinite, sampling.logit_bias.values())):
        raise Refusal("invalid", "logit_bias must hold finite numbers.", param="logit_bias")
