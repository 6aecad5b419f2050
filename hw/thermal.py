"""Names and order of the levels of thermal pressure.

macOS counts 0 to 4; iOS, and a Mac with a phone's chip, may count 0, 10, 20, 30, 40, 50 (OSThermalNotification.h).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, get_args

from .sample import ThermalLevel

LEVELS: Final[tuple[ThermalLevel, ...]] = get_args(ThermalLevel)
"""Coolest first."""

_BY_RAW: Final[dict[int, ThermalLevel]] = {
    0: "nominal",
    1: "moderate",
    2: "heavy",
    3: "trapping",
    4: "sleeping",
    10: "moderate",
    20: "moderate",
    30: "heavy",
    40: "trapping",
    50: "sleeping",
}
"""10 is iOS' "light": the first step away from nominal, for which macOS has no word of its own."""

_BY_PROCESS_STATE: Final[dict[int, ThermalLevel]] = {0: "nominal", 1: "moderate", 2: "trapping", 3: "sleeping"}

_PRIORS: Final[dict[ThermalLevel, float]] = {"nominal": 1.0, "moderate": 0.9, "heavy": 0.65, "trapping": 0.4, "sleeping": 0.4}
_LOW_POWER_PRIOR: Final = 0.7


def from_raw(raw: int) -> ThermalLevel | None:
    """Names a level as the system counts it; None for a number that neither system uses."""
    return _BY_RAW.get(raw)


def from_process_state(raw: int) -> ThermalLevel | None:
    """Names an NSProcessInfoThermalState; 1, "fair", is moderate or heavy pressure."""
    return _BY_PROCESS_STATE.get(raw)


def severity(level: ThermalLevel) -> int:
    """Gives the place of a level: 0 for nominal, 4 for sleeping."""
    return LEVELS.index(level)


def worst(levels: Iterable[ThermalLevel | None]) -> ThermalLevel | None:
    """Picks the hottest of several opinions; None where nobody has one."""
    return max((level for level in levels if level is not None), key=severity, default=None)


def assume_headroom(level: ThermalLevel | None, *, low_power: bool | None = None) -> float:
    """Guesses how much of its best speed a machine has, 0 to 1, where its speed has not been measured."""
    return (1.0 if level is None else _PRIORS[level]) * (_LOW_POWER_PRIOR if low_power else 1.0)
