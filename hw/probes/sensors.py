"""Temperatures, fans, thermal limits and power supplies as Linux shows them under /sys/class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..sample import ThermalLevel
from ..thermal import worst
from .files import list_paths, read_integer, read_text

_TRIPS: Final[dict[str, ThermalLevel]] = {"passive": "moderate", "hot": "heavy", "critical": "trapping"}
"""What crossing a trip point means; "active" only starts a fan."""
_CHIP_MONITORS: Final = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "macsmc", "soc_thermal")
_CHIP_ZONES: Final = ("x86_pkg_temp", "cpu", "soc", "pmp", "thermal-cpu")
_COLDEST_C: Final = 0.0
_HOTTEST_C: Final = 130.0
"""Outside of these a sensor is unconnected or switched off."""


@dataclass(frozen=True, slots=True)
class ThermalZone:
    """One zone and where its trip points lie."""

    temperature: Path
    kind: str
    trips: tuple[tuple[float, ThermalLevel], ...]
    """Temperature in °C and what crossing it means."""

    def read_level(self) -> ThermalLevel | None:
        """Reads which trip points are crossed; None where the zone has none that mean anything."""
        now_c = _read_celsius(self.temperature)
        if now_c is None or not self.trips:
            return None
        return worst(["nominal", *(level for at_c, level in self.trips if now_c >= at_c)])


class Sensors:
    """The sensors of one machine; which there are is found once."""

    def __init__(self, root: Path) -> None:
        classes = root / "sys/class"
        self._zones = [_open_zone(folder) for folder in list_paths(classes / "thermal", "thermal_zone*")]
        monitors = [(folder, read_text(folder / "name") or "") for folder in list_paths(classes / "hwmon", "hwmon*")]
        self._throttles = list_paths(root / "sys/devices/system/cpu", "cpu[0-9]*/thermal_throttle/core_throttle_count")
        self._throttled: int | None = None
        self._meters = [path for folder, name in monitors if name == "macsmc_hwmon" for path in _system_power(folder)]
        # The packages; what lies below them (cores, memory) is counted in them, or apart on servers.
        self._counters = [
            folder / "energy_uj" for folder in list_paths(classes / "powercap", "intel-rapl:[0-9]*") if _is_package(folder)
        ]
        self._energy: tuple[float, int] | None = None
        self._fans = [path for folder, _ in monitors for path in list_paths(folder, "fan*_input")]
        chip = [
            path for folder, name in monitors if name.startswith(_CHIP_MONITORS) for path in list_paths(folder, "temp*_input")
        ]
        self._chip = chip or [zone.temperature for zone in self._zones if zone.kind.lower().startswith(_CHIP_ZONES)]

    def read_temperature_c(self) -> float | None:
        """Reads the hottest sensor of the chip."""
        return max((value for path in self._chip if (value := _read_celsius(path)) is not None), default=None)

    def read_fan_rpm(self) -> float | None:
        """Reads the fastest fan; 0 is a fan that stands still, None is no fan that can be read."""
        speeds = [read_integer(path) for path in self._fans]
        return max((float(speed) for speed in speeds if speed is not None and speed >= 0), default=None)

    def read_throttled(self) -> bool:
        """Tells whether any core was throttled by its heat since the last look."""
        counts = [count for path in self._throttles if (count := read_integer(path)) is not None]
        before, self._throttled = self._throttled, sum(counts) if counts else None
        return before is not None and self._throttled is not None and self._throttled > before

    def read_power_w(self, at_s: float) -> float | None:
        """Reads the power of the whole machine, or of its processors since the last look; None where nobody may know."""
        watts = [microwatts / 1e6 for path in self._meters if (microwatts := read_integer(path)) is not None]
        if watts:
            return sum(watts) or None
        energies = [energy for path in self._counters if (energy := read_integer(path)) is not None]
        if not energies or len(energies) < len(self._counters):
            return None
        before, self._energy = self._energy, (at_s, sum(energies))
        if before is None or at_s <= before[0] or self._energy[1] <= before[1]:
            return None
        return (self._energy[1] - before[1]) / 1e6 / (at_s - before[0])

    def read_thermal_level(self) -> ThermalLevel | None:
        """Reads the worst zone; None where no zone says at which temperature something happens."""
        return worst(zone.read_level() for zone in self._zones)


@dataclass(frozen=True, slots=True)
class PowerState:
    """Where the current comes from; None where nothing tells."""

    on_battery: bool | None = None
    battery_percent: float | None = None
    low_power_mode: bool | None = None


def read_power_state(root: Path) -> PowerState:
    """Reads the power supplies and the firmware's profile; batteries of mice and keyboards do not count."""
    folders = list_paths(root / "sys/class/power_supply", "*")
    own = [folder for folder in folders if read_text(folder / "scope") != "Device"]
    batteries = [folder for folder in own if read_text(folder / "type") == "Battery"]
    mains = [read_integer(folder / "online") for folder in own if read_text(folder / "type") in {"Mains", "USB"}]
    charges = [read_integer(folder / "capacity") for folder in batteries]
    percents = [float(charge) for charge in charges if charge is not None and 0 <= charge <= 100]
    profile = read_text(root / "sys/firmware/acpi/platform_profile")
    return PowerState(
        _on_battery(batteries, mains),
        sum(percents) / len(percents) if percents else None,
        profile == "low-power" if profile is not None else None,
    )


def _on_battery(batteries: Sequence[Path], mains: Sequence[int | None]) -> bool | None:
    if 1 in mains:
        return False
    if not batteries:
        return None
    statuses = {read_text(folder / "status") for folder in batteries}
    if "Discharging" in statuses:
        return True
    return False if statuses & {"Charging", "Full", "Not charging"} else None


def _open_zone(folder: Path) -> ThermalZone:
    trips: list[tuple[float, ThermalLevel]] = []
    for path in list_paths(folder, "trip_point_*_type"):
        level = _TRIPS.get(read_text(path) or "")
        at_c = _read_celsius(path.with_name(path.name.replace("_type", "_temp")))
        if level is not None and at_c is not None:
            trips.append((at_c, level))
    return ThermalZone(folder / "temp", read_text(folder / "type") or "", tuple(trips))


def _system_power(folder: Path) -> list[Path]:
    """Finds the meter of the whole machine among those of an Apple's controller."""
    labels = list_paths(folder, "power*_label")
    named = [path for path in labels if (read_text(path) or "").startswith("Total System")]
    return [path.with_name(path.name.replace("_label", "_input")) for path in named]


def _is_package(folder: Path) -> bool:
    return folder.name.count(":") == 1 and (read_text(folder / "name") or "").startswith("package")


def _read_celsius(path: Path) -> float | None:
    thousandths = read_integer(path)
    value = thousandths / 1000 if thousandths is not None else None
    return value if value is not None and _COLDEST_C < value < _HOTTEST_C else None
