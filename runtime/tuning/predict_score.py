"""The base performance score: chip factor times model efficiency times thermal headroom.

It is relative, a coarse order of machines and quantisations: held to published speeds it is off by a third, as it knows neither
generation nor bandwidth nor the model's size. Tokens per second come from `predict.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ...hw.profile import CapabilityProfile

CHIP_FACTORS: Final[Mapping[str, float]] = {"Base": 1.0, "Pro": 1.8, "Max": 2.5, "Ultra": 4.0}
_EFFICIENCIES: Final = ((4.9, 1.0), (6.9, 0.85), (9.0, 0.70), (16.0, 0.50))
"""Up to so many bits a weight, and the factor."""


def base_score(profile: CapabilityProfile | None, quantization: str | None, headroom: float = 1.0) -> float | None:
    """Gives the score, 1.0 for a base chip with 4 bits a weight; None where there is no tier."""
    if profile is None or profile.tier is None or profile.tier.value not in CHIP_FACTORS:
        return None
    return CHIP_FACTORS[profile.tier.value] * model_efficiency(quantization) * headroom


def model_efficiency(quantization: str | None) -> float:
    """Gives the factor of a quantisation; an unknown one counts as 4 bits, as most files have."""
    bits = _bits(quantization)
    return next((factor for most, factor in _EFFICIENCIES if bits <= most), _EFFICIENCIES[-1][1])


def _bits(quantization: str | None) -> float:
    name = (quantization or "").upper()
    if any(plain in name for plain in ("F16", "F32", "F64")):
        return 16.0
    digits = [int(letter) for letter in name if letter.isdigit()]
    return float(digits[0]) if digits else 4.0
