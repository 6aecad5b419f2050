"""What control groups, of version 1 or 2, leave this process of the machine.

A limit binds whoever is below it, so every group from ours up to the root is looked at
(https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/memory.html).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from .files import read_integer, read_text

_UNLIMITED_V1: Final = 1 << 62
"""Version 1 writes no limit as the greatest number of whole pages; nothing real comes near it."""


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """The group with the least memory."""

    folder: Path
    limit_bytes: int
    version: int

    def read_used_bytes(self) -> int | None:
        """Reads what the group holds, without the file cache that it could give back at once."""
        current = read_integer(self.folder / ("memory.current" if self.version == 2 else "memory.usage_in_bytes"))
        if current is None:
            return None
        statistics = parse_pairs(read_text(self.folder / "memory.stat") or "")
        idle_cache = statistics.get("inactive_file" if self.version == 2 else "total_inactive_file", 0)
        return max(0, current - idle_cache)

    def read_pressure(self) -> str | None:
        """Reads the group's own pressure stall information; version 1 has none."""
        return read_text(self.folder / "memory.pressure")


@dataclass(frozen=True, slots=True)
class CpuGroup:
    """The group with the least processor time."""

    folder: Path
    limit: float
    """Processors' worth of time, as 1.5."""
    version: int

    def read_used_s(self) -> float | None:
        """Reads the processor time the group has used so far, in seconds."""
        if self.version == 2:
            used_us = parse_pairs(read_text(self.folder / "cpu.stat") or "").get("usage_usec")
            return used_us / 1e6 if used_us is not None else None
        used_ns = read_integer(self.folder / "cpuacct.usage")
        return used_ns / 1e9 if used_ns is not None else None


def parse_pairs(text: str) -> dict[str, int]:
    """Reads lines of a name and a number."""
    pairs: dict[str, int] = {}
    for line in text.splitlines():
        name, _, number = line.strip().partition(" ")
        if number.isascii() and number.isdecimal() and len(number) <= 20:
            pairs[name] = int(number)
    return pairs


class Cgroups:
    """The control groups this process is in, found once."""

    def __init__(self, root: Path) -> None:
        self._unified: list[Path] = []
        self._by_controller: dict[str, list[Path]] = {}
        mounts = root / "sys/fs/cgroup"
        for controllers, group in _parse_memberships(read_text(root / "proc/self/cgroup") or ""):
            if controllers:
                for mount in (controllers, *controllers.split(",")):
                    folders = list(_up_from(mounts / mount, group))
                    for controller in controllers.split(","):
                        self._by_controller.setdefault(controller, []).extend(folders)
            else:
                self._unified = [*_up_from(mounts, group), *_up_from(mounts / "unified", group)]

    def find_cpu_limit(self) -> CpuGroup | None:
        """Finds the group that allows the least processor time; None without a limit."""
        limits = [(folder, _parse_cpu_max(read_text(folder / "cpu.max") or ""), 2) for folder in self._unified]
        for folder in self._by_controller.get("cpu", ()):
            quota, period = read_integer(folder / "cpu.cfs_quota_us"), read_integer(folder / "cpu.cfs_period_us")
            limits.append((folder, _share(quota or 0, period or 0), 1))
        groups = [CpuGroup(folder, limit, version) for folder, limit, version in limits if limit is not None]
        return min(groups, key=lambda group: group.limit, default=None)

    def find_memory_limit(self) -> MemoryGroup | None:
        """Finds the group that allows the least; None without a limit."""
        groups = [
            MemoryGroup(folder, limit, version)
            for version, folders, name in (
                (2, self._unified, "memory.max"),
                (1, self._by_controller.get("memory", []), "memory.limit_in_bytes"),
            )
            for folder in folders
            if (limit := read_integer(folder / name)) is not None and 0 < limit < _UNLIMITED_V1
        ]
        return min(groups, key=lambda group: group.limit_bytes, default=None)


def _parse_memberships(text: str) -> Iterator[tuple[str, PurePosixPath]]:
    """Reads lines like `4:cpu,cpuacct:/user.slice` and, for version 2, `0::/user.slice`."""
    for line in text.splitlines():
        parts = line.strip().split(":", 2)
        if len(parts) == 3 and parts[2].startswith("/") and ".." not in parts[1] and "/" not in parts[1]:
            yield parts[1], PurePosixPath(parts[2])


def _up_from(mount: Path, group: PurePosixPath) -> Iterator[Path]:
    """Lists the folders of a group and of those above it.

    Inside a container the path may be the host's, or lead out of the namespace by "..": then only the mount itself is ours.
    """
    if ".." not in group.parts:
        for each in (group, *group.parents):
            yield mount.joinpath(*each.parts[1:])
    else:
        yield mount


def _parse_cpu_max(text: str) -> float | None:
    """Reads `150000 100000`, or `max 100000` for no limit."""
    parts = text.split()
    if len(parts) != 2 or not all(part.isascii() and part.isdecimal() and len(part) <= 18 for part in parts):
        return None
    return _share(int(parts[0]), int(parts[1]))


def _share(quota: int, period: int) -> float | None:
    return quota / period if quota > 0 and period > 0 else None
