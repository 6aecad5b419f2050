"""Table of known chips and their bins, and the rule for unknown ones.

One name may hide several bins: an "Apple M3 Max" moves 300 or 400 GB/s, and only its GPU cores tell which.
Bandwidths are those of Apple's specification pages (support.apple.com); of the M1 it is LPDDR4X-4266 times 128 bit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from .profile import CpuLevel

Value = TypeVar("Value")

GIB: Final = 1024**3
_LEVEL_NAMES: Final = {"S": "Super", "P": "Performance", "E": "Efficiency"}
_BRAND: Final = re.compile(r"Apple ([A-Z])([0-9]{1,3})(?: ([A-Za-z]+))?( \(Virtual\))?")

_MEMORY_SIZES_GB: Final = (8, 16, 18, 24, 32, 36, 48, 64, 96, 128, 192, 256, 512)
"""Every size that a Mac with Apple Silicon was sold with."""

_GBS_PER_GPU_CORE: Final = 12.0
"""The least bandwidth per GPU core that any tier has; for a tier that nobody has heard of."""


@dataclass(frozen=True, slots=True)
class Bin:
    """One way a chip is sold."""

    cpu: str
    """Cores per level, fastest first, as "10P 4E"."""
    gpu_cores: int
    bandwidth_gbs: float
    max_memory_gb: int | None
    min_memory_gb: int = 0
    assumed: bool = False
    """True where no specification page or recording confirms the figures."""

    @property
    def levels(self) -> tuple[CpuLevel, ...]:
        """The cores as levels with their names."""
        return tuple(CpuLevel(_LEVEL_NAMES[part[-1]], int(part[:-1])) for part in self.cpu.split())

    @property
    def cpu_cores(self) -> int:
        """All cores together."""
        return sum(level.cores for level in self.levels)

    @property
    def sorted_counts(self) -> list[int]:
        """The counts of its levels, smallest first."""
        return sorted(level.cores for level in self.levels)

    def takes(self, memory_bytes: int) -> bool:
        """Tells whether this bin is sold with so much memory."""
        # Linux keeps a part of the memory to itself: 31.1 GiB of 32 are left.
        gib = next((size for size in _MEMORY_SIZES_GB if memory_bytes <= size * GIB), round(memory_bytes / GIB))
        return self.min_memory_gb <= gib and (self.max_memory_gb is None or gib <= self.max_memory_gb)


@dataclass(frozen=True, slots=True)
class Chip:
    """One name of the table."""

    soc: tuple[str, ...]
    """Ids of the silicon, as a device tree names it in lower case."""
    bins: tuple[Bin, ...]


def _chip(soc: str, *bins: Bin) -> Chip:
    return Chip(tuple(soc.split()), bins)


CHIPS: Final[Mapping[str, Chip]] = {
    "Apple M1": _chip("t8103", Bin("4P 4E", 7, 68.25, 16), Bin("4P 4E", 8, 68.25, 16)),
    "Apple M1 Pro": _chip("t6000", Bin("6P 2E", 14, 200, 32, 16), Bin("8P 2E", 14, 200, 32, 16), Bin("8P 2E", 16, 200, 32, 16)),
    "Apple M1 Max": _chip("t6001", Bin("8P 2E", 24, 400, 64, 32), Bin("8P 2E", 32, 400, 64, 32)),
    "Apple M1 Ultra": _chip("t6002", Bin("16P 4E", 48, 800, 128, 64), Bin("16P 4E", 64, 800, 128, 64)),
    "Apple M2": _chip("t8112", Bin("4P 4E", 8, 100, 24), Bin("4P 4E", 10, 100, 24)),
    "Apple M2 Pro": _chip("t6020", Bin("6P 4E", 16, 200, 32, 16), Bin("8P 4E", 19, 200, 32, 16)),
    "Apple M2 Max": _chip("t6021", Bin("8P 4E", 30, 400, 64, 32), Bin("8P 4E", 38, 400, 96, 32)),
    "Apple M2 Ultra": _chip("t6022", Bin("16P 8E", 60, 800, 192, 64), Bin("16P 8E", 76, 800, 192, 64)),
    "Apple M3": _chip("t8122", Bin("4P 4E", 8, 100, 24), Bin("4P 4E", 10, 100, 24)),
    "Apple M3 Pro": _chip("t6030", Bin("5P 6E", 14, 150, 36, 18), Bin("6P 6E", 18, 150, 36, 18)),
    "Apple M3 Max": _chip("t6031 t6034", Bin("10P 4E", 30, 300, 96, 36), Bin("12P 4E", 40, 400, 128, 48)),
    "Apple M3 Ultra": _chip("t6032", Bin("20P 8E", 60, 819, 256, 96), Bin("24P 8E", 80, 819, 512, 96)),
    "Apple M4": _chip("t8132", Bin("4P 4E", 8, 120, 24, 16), Bin("4P 6E", 8, 120, 32, 16), Bin("4P 6E", 10, 120, 32, 16)),
    "Apple M4 Pro": _chip("t6040", Bin("8P 4E", 16, 273, 64, 24), Bin("10P 4E", 20, 273, 64, 24)),
    "Apple M4 Max": _chip("t6041", Bin("10P 4E", 32, 410, 36, 36), Bin("12P 4E", 40, 546, 128, 48)),
    "Apple M5": _chip("t8142", Bin("4S 6E", 8, 153, 32, 16), Bin("4S 6E", 10, 153, 32, 16)),
    "Apple M5 Pro": _chip("t6050", Bin("5S 10P", 16, 307, 64, 24), Bin("6S 12P", 20, 307, 64, 24)),
    "Apple M5 Max": _chip("t6051", Bin("6S 12P", 32, 460, 36, 36), Bin("6S 12P", 40, 614, 128, 48)),
    "Apple M5 Ultra": _chip("t6052", Bin("12S 24P", 80, 1200, 512, 96, assumed=True)),
    "Apple M6": _chip("t8152", Bin("2S 4P 6E", 12, 153, 24), Bin("2S 4P 6E", 12, 170, 32, 32)),
    "Apple A18 Pro": _chip("t8140", Bin("2P 4E", 5, 60, 8, assumed=True)),
}


@dataclass(frozen=True, slots=True)
class ChipName:
    """What a brand string says by itself."""

    name: str
    """Without " (Virtual)" and stray spaces."""
    family: str
    """"M", or "A" for a phone's chip in a Mac."""
    number: int
    tier: str
    """"Base", "Pro", "Max", "Ultra", or a word that is new."""
    virtual: bool

    @property
    def generation(self) -> int | None:
        """The number, where it counts Mac generations."""
        return self.number if self.family == "M" else None


@dataclass(frozen=True, slots=True)
class ChipFacts:
    """What the table, or the rule for unknown chips, says about one machine's chip; None where it cannot tell."""

    name: ChipName
    known: bool
    """True where the name stands in the table."""
    bandwidth_gbs: float | None
    bandwidth_estimated: bool
    """True where several bins fit, or none does."""
    gpu_cores: int | None
    """Set only where every fitting bin has the same."""
    levels: tuple[CpuLevel, ...] | None
    """Set only where every fitting bin has the same."""


def parse_brand(brand: str) -> ChipName | None:
    """Reads an Apple brand string; None for others ("Apple processor" tells nothing, Rosetta's "VirtualApple" neither)."""
    match = _BRAND.fullmatch(" ".join(brand.split()))
    if match is None:
        return None
    family, number, tier, virtual = match.groups()
    name = f"Apple {family}{number}" + (f" {tier}" if tier else "")
    return ChipName(name, family, int(number), tier if tier and family == "M" else "Base", virtual is not None)


def lookup(
    brand: str, *, gpu_cores: int | None = None, cpu_cores: int | None = None, memory_bytes: int | None = None
) -> ChipFacts | None:
    """Finds the bin that fits a brand string and what else is known of the machine.

    Returns:
        None where the brand is no numbered Apple chip. A chip that is not in the table gets the bandwidth of its newest
        relative of the same tier, marked as estimated: later generations have never been slower.
    """
    name = parse_brand(brand)
    if name is None:
        return None
    chip = CHIPS.get(name.name)
    if chip is None:
        return ChipFacts(name, False, _relative_bandwidth(name, gpu_cores), True, None, None)
    fitting, exact = _fitting(chip.bins, gpu_cores, cpu_cores, memory_bytes)
    bandwidths = {each.bandwidth_gbs for each in fitting}
    return ChipFacts(
        name,
        True,
        min(bandwidths),
        len(bandwidths) > 1 or not exact or any(each.assumed for each in fitting),
        _only(each.gpu_cores for each in fitting) if exact else None,
        _only(each.levels for each in fitting) if exact else None,
    )


def name_of_soc(soc: str) -> str | None:
    """Gives the brand of a silicon id such as "t8103"."""
    return next((name for name, chip in CHIPS.items() if soc.lower() in chip.soc), None)


def name_of_parts(soc: str, cores: int) -> str | None:
    """Gives the brand of cores that silicon of this id has: an Ultra is two Max, so it has their cores, twice as many."""
    name = name_of_soc(soc)
    if name is None or any(cores <= each.cpu_cores for each in CHIPS[name].bins):
        return name
    return next((ultra for ultra in CHIPS if ultra == name.replace(" Max", " Ultra") != name), None)


def level_names(brand: str, counts: Sequence[int]) -> tuple[CpuLevel, ...]:
    """Gives a chip's levels, fastest first, where it is sold with exactly these counts of cores, in whatever order."""
    name = parse_brand(brand)
    chip = CHIPS.get(name.name) if name is not None else None
    wanted = sorted(count for count in counts if count)
    return _only(each.levels for each in (chip.bins if chip is not None else ()) if each.sorted_counts == wanted) or ()


def is_part_of_count(brand: str, what: Literal["cpu_cores", "gpu_cores"], count: int) -> bool:
    """Tells whether a count is none of a known chip's, but the first digits of one: it was cut."""
    name = parse_brand(brand)
    chip = CHIPS.get(name.name) if name is not None and not name.virtual else None
    counts = [each.cpu_cores if what == "cpu_cores" else each.gpu_cores for each in (chip.bins if chip is not None else ())]
    return count not in counts and any(str(each).startswith(str(count)) for each in counts)


def memory_sizes(brand: str) -> tuple[int, ...]:
    """Lists the memory sizes, in bytes, that a chip of the table could be sold with."""
    name = parse_brand(brand)
    chip = CHIPS.get(name.name) if name is not None else None
    sizes = (size * GIB for size in _MEMORY_SIZES_GB)
    return tuple(size for size in sizes if chip is not None and any(each.takes(size) for each in chip.bins))


def _fitting(
    bins: tuple[Bin, ...], gpu_cores: int | None, cpu_cores: int | None, memory_bytes: int | None
) -> tuple[tuple[Bin, ...], bool]:
    """Narrows the bins by one fact after the other, and tells whether each fact fitted; one that fits none is passed over.

    More memory than a bin was ever sold with does not count: a later model of the same chip may have it.
    """
    tests: list[Callable[[Bin], bool]] = []
    if gpu_cores is not None:
        tests.append(lambda each: each.gpu_cores == gpu_cores)
    if cpu_cores is not None:
        tests.append(lambda each: each.cpu_cores == cpu_cores)
    exact = True
    for test in tests:
        left = tuple(each for each in bins if test(each))
        exact = exact and bool(left)
        bins = left or bins
    if memory_bytes is not None:
        bins = tuple(each for each in bins if each.takes(memory_bytes)) or bins
    return bins, exact


def _relative_bandwidth(name: ChipName, gpu_cores: int | None) -> float | None:
    relatives = [(relative.number, chip) for relative, chip in _named_chips() if _same_line(relative, name)]
    if not relatives:
        return gpu_cores * _GBS_PER_GPU_CORE if gpu_cores is not None else None
    bins = max(relatives, key=lambda pair: pair[0])[1].bins
    if gpu_cores is None:
        return min(each.bandwidth_gbs for each in bins)
    return min(bins, key=lambda each: (abs(each.gpu_cores - gpu_cores), each.bandwidth_gbs)).bandwidth_gbs


def _named_chips() -> list[tuple[ChipName, Chip]]:
    return [(name, chip) for brand, chip in CHIPS.items() if (name := parse_brand(brand)) is not None]


def _same_line(one: ChipName, other: ChipName) -> bool:
    return (one.family, one.tier) == (other.family, other.tier)


def _only(values: Iterable[Value]) -> Value | None:
    distinct = set(values)
    return distinct.pop() if len(distinct) == 1 else None
