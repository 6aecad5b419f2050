"""What the machine is: read once, each fact with its source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

Value = TypeVar("Value", covariant=True)


@dataclass(frozen=True, slots=True)
class Reading(Generic[Value]):
    """One fact and where it comes from."""

    value: Value
    source: str
    """As "sysctl hw.memsize" or "table of chips"."""
    estimated: bool = False
    """True where it was derived or assumed, not read."""


Known = TypeVar("Known")


def to_reading(value: Known | None, source: str) -> Reading[Known] | None:
    """Gives a value its source; None stays unknown."""
    return Reading(value, source) if value is not None else None


@dataclass(frozen=True, slots=True)
class CpuLevel:
    """One kind of core; a chip lists its fastest first."""

    name: str
    """As the system names it: "Performance", "Super", "Efficiency", "Standard"."""
    cores: int


@dataclass(frozen=True, slots=True)
class CapabilityProfile:
    """The machine as the optimiser and the dashboard see it; None is unknown."""

    host: str
    system: str
    """As "macOS 15.3" or "Linux 6.1"."""
    architecture: str
    """As "arm64" or "x86_64"."""
    model: Reading[str] | None = None
    """As the maker numbers it: "Mac16,5"; a board's name on Linux."""
    chip: Reading[str] | None = None
    generation: Reading[int] | None = None
    """The number in "M4"; None off Apple Silicon, and for its A chips, which count otherwise."""
    tier: Reading[str] | None = None
    """"Base", "Pro", "Max" or "Ultra"; None off Apple Silicon."""
    cpu_levels: tuple[CpuLevel, ...] = ()
    cpu_levels_source: str | None = None
    """Where the levels come from; None where there are none."""
    cpu_levels_estimated: bool = False
    logical_cpus: Reading[int] | None = None
    usable_cpus: Reading[int] | None = None
    """What affinity and control groups leave of the logical ones."""
    gpu_cores: Reading[int] | None = None
    memory_bytes: Reading[int] | None = None
    """Effective memory: the least of what is built in and what control groups allow."""
    memory_bandwidth_gbs: Reading[float] | None = None
    """GB per second, 1e9 bytes."""
    working_set_bytes: Reading[int] | None = None
    """The most the GPU may hold at once."""
    max_buffer_bytes: Reading[int] | None = None
    """The largest single piece of memory that the GPU takes: less than the working set."""
    fanless: Reading[bool] | None = None
    virtual_machine: Reading[bool] | None = None
    rosetta: Reading[bool] | None = None
    """True: an x86-64 Python on Apple Silicon."""

    @property
    def tier_name(self) -> str:
        """What people call it: "M4 Max", or the architecture where there is no tier."""
        if self.tier is None or self.chip is None:
            return f"{self.system.split()[0]} {self.architecture}"
        name = self.chip.value.removeprefix("Apple ").removesuffix(" (Virtual)")
        return f"{name} (virtual)" if self.virtual_machine is not None and self.virtual_machine.value else name
