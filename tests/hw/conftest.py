"""Recorded machines: what their programs printed, what their /proc and /sys held, and what to conclude."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from impetus.hw.probes.commands import Run
from impetus.hw.profile import CapabilityProfile, Reading
from impetus.hw.sample import Sample

FIXTURES = Path(__file__).parents[1] / "fixtures" / "hw"


class PrintedMac:
    """Answers the commands of a Mac with recorded text; a command that was not recorded does not exist there."""

    def __init__(self, printed: Mapping[str, Sequence[str]]) -> None:
        self._printed = {command: "\n".join(lines) + "\n" for command, lines in printed.items()}
        self.asked: list[str] = []

    def __call__(self, arguments: Sequence[str]) -> str | None:
        program, *rest = [Path(arguments[0]).name, *arguments[1:]]
        self.asked.append(" ".join([program, *rest]))
        if program == "sysctl":
            keys = [argument for argument in rest if argument != "-i"]
            lines = self._printed.get("sysctl", "").splitlines(keepends=True)
            return "".join(line for line in lines if line.split(":")[0].split("=")[0].strip() in keys)
        if program == "ioreg":
            return self._printed.get(f"ioreg {rest[-1]}", "")
        return self._printed.get(" ".join([program, *rest]))


def conclusions_of(profile: CapabilityProfile) -> dict[str, Any]:
    """Lays a profile open: plain values by field, the levels as lists, and the names of what is estimated."""
    values = {field.name: getattr(profile, field.name) for field in fields(profile)}
    readings = {name: value for name, value in values.items() if isinstance(value, Reading)}
    plain = {name: value.value if isinstance(value, Reading) else value for name, value in values.items()}
    plain["levels"] = [[level.name, level.cores] for level in profile.cpu_levels]
    plain["estimated"] = sorted(name for name, reading in readings.items() if reading.estimated)
    plain["tier_name"] = profile.tier_name
    return plain


def known_of(sample: Sample) -> dict[str, Any]:
    """Gives what a sample knows of the machine itself; what this test's own machine contributes is left out."""
    left_out = {"at_s", "cpu_percent", "process_bytes", "sources", "estimated"}
    values = {field.name: getattr(sample, field.name) for field in fields(sample) if field.name not in left_out}
    return {name: value for name, value in values.items() if value is not None}


@pytest.fixture
def printed_mac() -> Callable[[Mapping[str, Sequence[str]]], Run]:
    return PrintedMac


@pytest.fixture
def conclude() -> Callable[[CapabilityProfile], dict[str, Any]]:
    return conclusions_of


@pytest.fixture
def known() -> Callable[[Sample], dict[str, Any]]:
    return known_of


@pytest.fixture
def grow_root(tmp_path: Path) -> Callable[[Mapping[str, Sequence[str]]], Path]:
    def grow(files: Mapping[str, Sequence[str]]) -> Path:
        for name, lines in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(lines) + "\n")
        return tmp_path

    return grow
