"""Holds our conclusions against those of the collection of recordings beside this repository, where it is present."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from impetus.hw.detector import HardwareDetector
from impetus.hw.probes import macos_parsing as parsing
from impetus.hw.probes.macos_text import MacosTextProbe

PROBES = Path(__file__).parents[3] / "shared" / "data" / "probes"
GIB = 1024**3
NOT_PRINTED = {
    "m2max_12core_64gb": {"brand", "gpu_cores", "bandwidth_expected", "macos"},
    "m2pro_12core": {"brand", "model", "memory_gb", "ncpu", "p", "e"},
}
"""What a recording holds only in words that no probe reads: the localised reports of system_profiler, or the note."""


def printed_in(raw):
    """Finds what our commands would have printed, among what somebody's commands did."""
    printed = {"sysctl": []}
    for command, text in raw.items():
        if command.startswith("sysctl -n "):
            printed["sysctl"] += [f"{key}: {value}" for key, value in zip(command.split()[2:], text.splitlines(), strict=True)]
        elif command.startswith(("sysctl", "kern")):
            printed["sysctl"] += text.splitlines()
        elif command.startswith("ioreg"):
            printed[f"ioreg {command.split()[-1]}"] = text.splitlines()
        elif command.startswith("system_profiler") and "-json" in command:
            report = re.search(r"SP\w+DataType", command)[0]
            printed[f"system_profiler {report} -json"] = text.splitlines()
        elif command == "sw_vers":
            printed["sw_vers -productVersion"] = [re.search(r"ProductVersion:\s*(\S+)", text)[1]]
        elif command.startswith(("memory_pressure", "pmset", "vm_stat")):
            printed[command] = text.splitlines()
    return {command: lines for command, lines in printed.items() if lines}


RECORDINGS = {path.stem: json.loads(path.read_text()) for path in sorted(PROBES.glob("*.json"))}
READABLE = {name: recorded for name, recorded in RECORDINGS.items() if printed_in(recorded["raw"])}


def conclusions(recorded, printed_mac, conclude):
    """Draws what can be compared from a recording, by the names of the collection."""
    printed = printed_in(recorded["raw"])
    probe = MacosTextProbe(printed_mac(printed))
    profile = conclude(HardwareDetector(probe).detect())
    sample = probe.read_sample([])
    levels = profile["levels"]
    memory, swap = profile["memory_bytes"], sample.swap_used_bytes
    return {
        "arch": profile["architecture"],
        "bandwidth_expected": profile["memory_bandwidth_gbs"],
        "brand": profile["chip"],
        "e": None if not levels else levels[1][1] if len(levels) > 1 else 0,
        "family": profile["tier"],
        "fanless": profile["fanless"],
        "generation": profile["generation"],
        "gpu_cores": profile["gpu_cores"],
        "gpu_cores_inferred": profile["gpu_cores"],
        "gpu_in_use_bytes": sample.gpu_memory_bytes,
        "gpu_util": sample.gpu_percent / 100 if sample.gpu_percent is not None else None,
        "known": "memory_bandwidth_gbs" not in profile["estimated"],
        "level_names": [name for name, _ in levels],
        "levels": levels,
        "macos": profile["system"].removeprefix("macOS").strip() or None,
        "mem_free_pct": parsing.parse_free_percent("\n".join(printed.get("memory_pressure -Q", []))),
        "memory_gb": memory / GIB if memory is not None else None,
        "memory_pressure": sample.memory_pressure,
        "memsize": memory,
        "model": profile["model"],
        "ncpu": profile["logical_cpus"],
        "p": levels[0][1] if levels else None,
        "swap_used_mb": round(swap / 2**20, 2) if swap is not None else None,
        "thermal_from_pmset": sample.thermal_level,
        "tier": profile["tier"],
        "virtual": profile["virtual_machine"],
    }


@pytest.mark.skipif(not READABLE, reason="the collection of recordings is not here")
@pytest.mark.parametrize("name", READABLE)
def test_a_recording_is_concluded_as_it_should_be(name, printed_mac, conclude):
    recorded = READABLE[name]
    concluded = conclusions(recorded, printed_mac, conclude)
    expected = {field: value for field, value in recorded["expect"].items() if field in concluded}
    unprinted = NOT_PRINTED.get(name, set())
    printed = {field: value for field, value in expected.items() if field not in unprinted}
    assert {field: concluded[field] for field in printed} == printed
    for field in unprinted & expected.keys():
        assert concluded[field] in (None, expected[field])


@pytest.mark.skipif(not READABLE, reason="the collection of recordings is not here")
@pytest.mark.parametrize("name", RECORDINGS)
def test_no_recording_makes_a_reader_raise_whatever_is_in_it(name, printed_mac):
    for text in RECORDINGS[name]["raw"].values():
        probe = MacosTextProbe(lambda arguments, text=text: text)
        HardwareDetector(probe).detect()
        probe.read_sample([])
