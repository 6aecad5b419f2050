r"""A machine out of what its programs printed: for reports of problems, for demonstrations and for tests.

A recording is one JSON object; `raw` names commands, or describes them, and holds what each printed::

    {"name": "…", "raw": {"sysctl hw machdep.cpu": "hw.ncpu: 16\n…", "pmset -g": "…", "mx.device_info()": {…}}}

Which program a text comes from is found out from the text, so a command may have been called in any way.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal
from unicodedata import normalize

from ...chips import is_part_of_count, level_names, memory_sizes, name_of_soc, parse_brand
from ...macs import CHIP_BY_MODEL, is_fanless_by_name
from ...profile import CapabilityProfile, CpuLevel, Reading
from ...sample import MemoryPressure, Sample
from .. import macos_parsing as parsing
from .evidence import Evidence
from .linux_texts import read_linux
from .pairs import find_pairs, read_pairs, to_keys
from .prose import read_label, read_prose
from .reports import read_report
from .sysctl_texts import find_keys, read_keys, without_disguise
from .texts import split_transcript, to_text
from .tools import read_model_anywhere, read_tools

log = logging.getLogger(__name__)

_LEAST_LIMIT_SHARE: Final = 0.66
_MOST_LIMIT_SHARE: Final = 0.92
"""Of the memory; what macOS lets the GPU hold was seen from 0.667 to 0.906 of it."""


class RecordedProbe:
    """Plays one moment of a machine, over and over."""

    def __init__(self, raw: Mapping[str, object], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._found = gather(raw)

    def read_profile(self) -> CapabilityProfile:
        """Gives what the texts say of the machine."""
        return to_profile(self._found)

    def read_sample(self, pids: Sequence[int]) -> Sample:
        """Gives what the texts say of the load, as if it were this moment's."""
        del pids  # no text tells of our own processes
        return to_sample(self._found, self._clock())


def gather(raw: Mapping[str, object]) -> Evidence:
    """Notes everything that the texts of a recording say."""
    found = Evidence()
    whole = [(normalize("NFKC", str(label)), to_text(value)) for label, value in raw.items()]
    texts = [*whole, *(part for _, text in whole for part in split_transcript(text))]
    keys: dict[str, str] = {}
    for label, text in texts:
        pairs = find_pairs(text)
        keys = {**keys, **without_disguise({**find_keys(label, text), **to_keys(pairs)}, found)}
        _guard(read_pairs, pairs, found, label[:60] or "recording")
    _guard(read_keys, keys, found)
    for label, text in texts:
        for read in (read_report, read_tools, read_linux):
            _guard(read, label, text, found)
        _guard(read_label, label, found)
    for _, text in texts:
        _guard(read_prose, text, found)
        _guard(read_model_anywhere, text, found)
    return found


def _guard(read: Callable[..., None], *arguments: object) -> None:
    """Reads; a text that nobody thought of costs what it would have told, and a line in the log."""
    try:
        read(*arguments)
    except Exception:
        log.exception("%s cannot read a part of the recording", read.__name__)


def to_profile(found: Evidence) -> CapabilityProfile:
    """Concludes what the machine is; facts from the table of chips are the detector's to add."""
    model = found.text("model")
    chip = _chip(found, model)
    virtual = found.flag("virtual")
    is_virtual = virtual is not None and virtual.value
    levels = _levels(found, chip)
    apple = chip is not None and parse_brand(chip.value) is not None
    architecture = _architecture(found, apple=apple)
    logical = _logical_cpus(found, levels, architecture)
    if not is_virtual:
        logical = _whole(logical, chip, "cpu_cores")
    limit = found.integer("working_set_bytes")
    memory = _memory(found) or _memory_by_limit(chip, limit)
    return CapabilityProfile(
        host="recording",
        system=_system(found),
        architecture=architecture or "unknown",
        model=model,
        chip=chip,
        cpu_levels=levels.value if levels is not None else (),
        cpu_levels_source=levels.source if levels is not None else None,
        cpu_levels_estimated=levels is not None and levels.estimated,
        logical_cpus=logical,
        usable_cpus=logical,
        gpu_cores=_whole(found.integer("gpu_cores"), chip, "gpu_cores") if not is_virtual else None,
        memory_bytes=memory,
        working_set_bytes=limit,
        max_buffer_bytes=found.integer("max_buffer_bytes"),
        fanless=_fanless(found, architecture, virtual),
        virtual_machine=virtual,
        rosetta=found.flag("rosetta"),
    )


def to_sample(found: Evidence, at_s: float) -> Sample:
    """Concludes how hard the machine worked."""
    memory, used = _memory(found), found.integer("memory_used_bytes")
    readings: dict[str, Reading[Any] | None] = {
        "gpu_percent": found.number("gpu_percent"),
        "gpu_mhz": found.number("gpu_mhz"),
        "gpu_memory_bytes": found.integer("gpu_memory_bytes"),
        "memory_total_bytes": memory,
        "memory_used_bytes": used,
        "swap_used_bytes": found.integer("swap_used_bytes"),
        "memory_pressure": found.text("memory_pressure") or _pressure_by_free_memory(found),
        "thermal_level": found.text("thermal_level"),
        "temperature_c": found.number("temperature_c") or found.number("cpu_temp_avg") or found.number("gpu_temp_avg"),
        "power_w": found.number("power_w") or found.number("chip_power_w"),
        "gpu_power_w": found.number("gpu_power_w"),
        "on_battery": found.flag("on_battery"),
        "battery_percent": found.number("battery_percent"),
        "low_power_mode": found.flag("low_power") or _low_power_by_source(found),
    }
    if memory is not None and used is not None:
        readings["memory_available_bytes"] = Reading(max(0, memory.value - used.value), used.source)
    known = {name: reading for name, reading in readings.items() if reading is not None}
    values: dict[str, Any] = {name: reading.value for name, reading in known.items()}
    return Sample(
        at_s=at_s,
        sources={name: reading.source for name, reading in known.items()},
        estimated=tuple(name for name, reading in known.items() if reading.estimated),
        **values,
    )


def _pressure_by_free_memory(found: Evidence) -> Reading[MemoryPressure] | None:
    free = found.number("free_percent")
    return Reading(parsing.to_pressure(free.value), free.source, estimated=True) if free is not None else None


def _low_power_by_source(found: Evidence) -> Reading[bool] | None:
    """Takes the setting of the source in use; where nothing tells which that is, the one that both have."""
    on_battery = found.flag("on_battery")
    by_battery, by_mains = found.flag("low_power_battery"), found.flag("low_power_ac")
    if on_battery is not None:
        return by_battery if on_battery.value else by_mains
    return by_mains if by_mains is not None and by_battery is not None and by_mains.value == by_battery.value else None


def _chip(found: Evidence, model: Reading[str] | None) -> Reading[str] | None:
    """Takes the name that was read; one that hides the chip (Rosetta's, an early build's) gives way to what the model tells."""
    read, disguise = found.text("brand"), found.text("disguise")
    if read is None or (disguise is not None and read.value == disguise.value):
        read = disguise or read
    listed = CHIP_BY_MODEL.get(model.value) if model is not None else None
    # A name that ends before the tier that the model has was cut.
    if read is not None and parse_brand(read.value) is not None and not (listed or "").startswith(f"{read.value} "):
        return read
    if listed is not None and (read is None or read.value.startswith(("VirtualApple", "Apple"))):
        return Reading(listed, "table of models", estimated=read is not None)
    soc = found.text("soc")
    # The names of larger chips' kernels are shared: an M1 Pro runs the M1 Max's.
    named = name_of_soc(soc.value) if soc is not None and soc.value.startswith("t8") else None
    if read is None and named is not None:
        return Reading(named, "uname", estimated=True)
    return read


def _levels(found: Evidence, chip: Reading[str] | None) -> Reading[tuple[CpuLevel, ...]] | None:
    """Takes the levels that were read, by their names; where those are missing, by the chip's."""
    read, named = found.levels("levels"), found.flag("levels_named")
    counts = [level.cores for level in read.value] if read is not None else _counts(found.text("level_counts"))
    if read is not None and (len(counts) == 1 or (named is not None and named.value)):
        return read
    listed = level_names(chip.value, counts) if chip is not None else ()
    if listed and (read is None or [level.cores for level in listed] == counts):
        return Reading(listed, read.source if read is not None else "table of chips")
    return read or found.levels("level_pairs")


def _counts(text: Reading[str] | None) -> list[int]:
    return [int(part) for part in text.value.split("/")] if text is not None else []


def _logical_cpus(
    found: Evidence, levels: Reading[tuple[CpuLevel, ...]] | None, architecture: str | None
) -> Reading[int] | None:
    read, cores = found.integer("logical_cpus"), found.integer("cpu_cores")
    total = sum(level.cores for level in levels.value) if levels is not None else 0
    # A number that lost its last digits is not believed where the kinds of cores tell the whole one.
    if read is not None and (not total or read.value == total or not str(total).startswith(str(read.value))):
        return read
    if cores is not None and "two_threads" in found:
        return Reading(cores.value * 2, cores.source, estimated=True)
    # Intel's cores may have two threads each, where nobody says that they have one.
    if cores is not None and (architecture == "arm64" or not cores.source.startswith("sysctl")):
        return cores
    return Reading(total, levels.source) if levels is not None else None


def _whole(
    count: Reading[int] | None, chip: Reading[str] | None, what: Literal["cpu_cores", "gpu_cores"]
) -> Reading[int] | None:
    """Passes a count over that lost its last digits; a virtual machine may have any."""
    cut = count is not None and chip is not None and is_part_of_count(chip.value, what, count.value)
    return None if cut else count


def _architecture(found: Evidence, *, apple: bool) -> str | None:
    read = found.text("architecture")
    rosetta = found.flag("rosetta")
    if apple or (rosetta is not None and rosetta.value):
        return "arm64"
    return read.value if read is not None else None


def _system(found: Evidence) -> str:
    """Names the system; whatever tells anything, and of no other system, is a Mac's."""
    system, version = found.text("os"), found.text("macos")
    if version is not None:
        return f"macOS {version.value}"
    if system is not None:
        return system.value
    return "macOS" if len(found) > 0 else "unknown"


def _fanless(found: Evidence, architecture: str | None, virtual: Reading[bool] | None) -> Reading[bool] | None:
    name = found.text("model_name")
    if name is None or (virtual is not None and virtual.value):
        return None
    apple = None if architecture is None else architecture == "arm64"
    listed = is_fanless_by_name(name.value, apple_silicon=apple)
    return Reading(listed, name.source) if listed is not None else None


def _memory(found: Evidence) -> Reading[int] | None:
    """Takes what the machine has, or the less that a control group leaves of it."""
    sizes = (found.integer("memory_bytes"), found.integer("memory_limit_bytes"))
    return min((size for size in sizes if size is not None), key=lambda size: size.value, default=None)


def _memory_by_limit(chip: Reading[str] | None, limit: Reading[int] | None) -> Reading[int] | None:
    """Guesses the memory by what the GPU may hold of it, where just one size of this chip fits."""
    if chip is None or limit is None:
        return None
    fitting = [size for size in memory_sizes(chip.value) if _LEAST_LIMIT_SHARE <= limit.value / size <= _MOST_LIMIT_SHARE]
    return Reading(fitting[0], "share that the GPU may hold", estimated=True) if len(fitting) == 1 else None
