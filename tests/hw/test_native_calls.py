"""The calls of macOS' functions, over a library of the same functions that is compiled for this machine."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from impetus.hw.detector import HardwareDetector
from impetus.hw.probes.macos_native import MacosProbe
from impetus.hw.probes.native import libraries
from impetus.hw.probes.native.core_foundation import CoreFoundation
from impetus.hw.probes.native.hid import HidSensors
from impetus.hw.probes.native.readings import NativeReadings

SOURCE = Path(__file__).parents[1] / "fixtures" / "hw" / "native" / "macos.c"
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
pytestmark = pytest.mark.skipif(COMPILER is None or sys.platform == "darwin", reason="needs a C compiler, and no Mac")


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("native") / "macos.so"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-w", "-o", path, SOURCE], check=True, timeout=60)
    return ctypes.CDLL(str(path))


@pytest.fixture
def mac(library, monkeypatch):
    monkeypatch.setattr(libraries, "open_library", lambda path: library)
    libraries.bind.cache_clear()
    yield library
    libraries.bind.cache_clear()


def count(library, name):
    return ctypes.c_long.in_dll(library, name).value


def test_everything_that_the_libraries_tell_is_read(mac):
    readings = NativeReadings()
    assert readings.read_sysctl(["hw.memsize", "hw.perflevel0.name", "hw.nothing"]) == {
        "hw.memsize": "68719476736",
        "hw.perflevel0.name": "Super",
    }
    facts = {name: reading.value for name, reading in readings.read_facts().items()}
    assert facts == {"gpu_cores": 40, "working_set_bytes": 55662791680, "fanless": False}
    readings.read_load()
    load = {name: reading.value for name, reading in readings.read_load().items()}
    assert load.pop("temperature_c") == pytest.approx(44.4, abs=0.05)
    assert load.pop("gpu_power_w") > 0
    assert load == {
        "memory_total_bytes": 68719476736,
        "memory_pressure": "warn",
        "memory_used_bytes": (3000 - 50 + 1000 + 200) * 16384,
        "swap_used_bytes": 8192,
        "thermal_level": "heavy",
        "fan_rpm": 1494.0,
        "gpu_percent": 43.0,
        "gpu_memory_bytes": 356089856,
        "gpu_mhz": 478.0,
        "low_power_mode": True,
    }


def test_nothing_that_was_created_is_kept_from_look_to_look(mac):
    readings = NativeReadings()
    readings.read_load()
    objects, services = count(mac, "live_objects"), count(mac, "live_services")
    assert services == 0
    for _ in range(20):
        readings.read_facts()
        readings.read_load()
    assert (count(mac, "live_objects"), count(mac, "live_services")) == (objects, services)


def test_sensors_are_read_where_the_controller_has_none(mac):
    foundation = CoreFoundation()
    sensors = HidSensors(foundation)
    before = count(mac, "live_objects")
    assert sensors.read_chip_heat() == 37.25
    assert count(mac, "live_objects") == before


def test_values_of_another_kind_are_no_values(mac):
    foundation = CoreFoundation()
    with foundation.string("37") as text, foundation.numbers({"a": 5}) as numbers:
        assert foundation.to_text(text) == "37"
        assert foundation.to_integer(text) is None
        assert foundation.to_bytes(text) is None
        assert list(foundation.items(text)) == []
        assert foundation.to_integer(foundation.find(numbers, "a")) == 5
        assert foundation.find(numbers, "b") is None
        assert foundation.to_text(numbers) is None


def test_a_mac_is_concluded_from_its_libraries_alone(mac, monkeypatch):
    monkeypatch.setattr("psutil.sensors_battery", lambda: None, raising=False)
    asked = []
    probe = MacosProbe(run=lambda arguments: asked.append(arguments[0]))
    profile = HardwareDetector(probe).detect()
    assert asked == []
    assert (profile.tier_name, profile.system, profile.logical_cpus.value) == ("M5 Max", "macOS 26.4", 18)
    assert [(level.name, level.cores) for level in profile.cpu_levels] == [("Super", 6), ("Performance", 12)]
    assert (profile.memory_bandwidth_gbs.value, profile.memory_bandwidth_gbs.estimated) == (614, False)
    sample = probe.read_sample([])
    assert sample.sources["thermal_level"] == "notify(3)"
    # A battery is asked for by a program, where psutil finds none.
    assert set(asked) == {"/usr/bin/pmset"}
