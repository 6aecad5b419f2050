"""Chooses among the quantisations of one model the one that suits a machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ...hw.profile import CapabilityProfile
from ..formats.header import Header
from .predict import Prediction, predict

LEAST_CONTEXT: Final = 16_384
"""A shorter one is too little for an agent's instructions and a few files."""
PLEASANT_TPS: Final = 20.0
"""A more precise quantisation is taken only where it writes as fast as people read quickly."""
LEAST_TPS: Final = 6.0
"""Slower is not recommended."""
MOST_UNTIMED_BYTES: Final = 3_000_000_000
"""Where speeds cannot be predicted: as many active weights as a processor alone reads several times a second."""


@dataclass(frozen=True, slots=True)
class Suiting:
    """The quantisation that suits best."""

    header: Header
    prediction: Prediction


def choose_suiting(
    profile: CapabilityProfile | None, headers: Iterable[Header], *, models_percent: float = 0.0
) -> Suiting | str:
    """Takes the most precise quantisation that is pleasant, else the fastest that is bearable.

    Args:
        profile: the machine; None while it has not been read.
        headers: one for each quantisation, the most precise first.
        models_percent: what the settings give to models; 0 leaves it to the machine.

    Returns:
        The choice, or in words why none suits.
    """
    fitting: list[Suiting] = []
    for header in headers:
        context = min(LEAST_CONTEXT, header.context_length or LEAST_CONTEXT)
        prediction = predict(profile, header, context, models_percent=models_percent)
        if prediction.fits is True:
            fitting.append(Suiting(header, prediction))
    if not fitting:
        return f"nothing of it fits with {LEAST_CONTEXT:,} tokens of context"
    timely = [each for each in fitting if not _is_slow_untimed(each)]
    if not timely:
        return "it is too large for a machine whose speed cannot be predicted"
    pleasant = [each for each in timely if each.prediction.decode is None or each.prediction.decode.tps >= PLEASANT_TPS]
    chosen = pleasant[0] if pleasant else timely[-1]
    decode = chosen.prediction.decode
    if decode is not None and decode.tps < LEAST_TPS:
        return f"it would write {decode.tps:.1f} tokens a second at most"
    return chosen


def _is_slow_untimed(suiting: Suiting) -> bool:
    header = suiting.header
    if suiting.prediction.decode is not None or header.ability != "text" or header.active is None:
        return False
    return header.active.size_bytes > MOST_UNTIMED_BYTES
