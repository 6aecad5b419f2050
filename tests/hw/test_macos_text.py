from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from impetus.hw.detector import HardwareDetector
from impetus.hw.probes.macos_text import MacosTextProbe

FIXTURES = Path(__file__).parents[1] / "fixtures" / "hw" / "macos"


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.json")), ids=lambda path: path.stem)
def test_a_recorded_mac_is_concluded_as_it_is(path, printed_mac, conclude, known):
    recorded = json.loads(path.read_text())
    probe = MacosTextProbe(printed_mac(recorded["printed"]))
    concluded = conclude(HardwareDetector(probe).detect())
    assert {name: concluded[name] for name in recorded["expect"]} == recorded["expect"]
    assert known(probe.read_sample([])) == recorded["expect_sample"]


@pytest.fixture
def mac(printed_mac):
    return printed_mac(json.loads((FIXTURES / "m4_max.json").read_text())["printed"])


def test_a_sample_asks_three_short_programs_and_the_rest_every_ten_seconds(mac):
    now_s = 100.0
    probe = MacosTextProbe(mac, clock=lambda: now_s)
    probe.read_sample([])
    assert {"pmset -g", "pmset -g batt"} <= set(mac.asked)
    mac.asked.clear()
    now_s = 105.0
    probe.read_sample([])
    assert [asked.split()[0] for asked in mac.asked] == ["sysctl", "vm_stat", "ioreg"]
    mac.asked.clear()
    now_s = 110.0
    probe.read_sample([])
    assert "pmset -g" in mac.asked


def test_system_profiler_is_not_asked_for_what_is_known(mac):
    MacosTextProbe(mac).read_profile()
    assert not [asked for asked in mac.asked if asked.startswith(("system_profiler", "sw_vers", "arch"))]


def test_the_gpu_of_a_machine_without_counters_is_not_asked_every_second(printed_mac):
    now_s = 0.0
    mac = printed_mac({"sysctl": ["hw.memsize: 1"]})
    probe = MacosTextProbe(mac, clock=lambda: now_s)
    for second in range(21):
        now_s = float(second)
        probe.read_sample([])
    assert sum(asked.startswith("ioreg") for asked in mac.asked) == 3


def test_a_program_that_fails_rests_for_a_minute(printed_mac):
    now_s = 0.0
    mac = printed_mac({"sysctl": ["hw.memsize: 1"]})
    probe = MacosTextProbe(mac, clock=lambda: now_s)
    for second in range(61):
        now_s = float(second)
        probe.read_sample([])
    assert mac.asked.count("vm_stat") == 2


def test_an_old_sysctl_that_knows_no_switch_is_asked_without(mac):
    def old(arguments):
        return None if "-i" in arguments else mac(arguments)

    assert MacosTextProbe(old).read_profile().chip.value == "Apple M4 Max"


def test_a_machine_that_answers_nothing_is_unknown_everywhere(conclude, known):
    probe = MacosTextProbe(lambda arguments: None)
    concluded = conclude(HardwareDetector(probe).detect())
    answered = {name for name, value in concluded.items() if value not in (None, (), [], False)}
    assert answered == {"host", "system", "architecture", "tier_name"}
    assert known(probe.read_sample([])) == {}


def test_the_thermal_level_is_never_taken_from_silence(printed_mac):
    mac = printed_mac({"pmset -g therm": ["Note: No thermal warning level has been recorded"]})
    assert MacosTextProbe(mac).read_sample([]).thermal_level is None


def test_watched_processes_are_measured_and_gone_ones_left_out(mac):
    measured = MacosTextProbe(mac).read_sample([os.getpid(), 2**31 - 1, -5]).process_bytes
    assert list(measured) == [os.getpid()]
    assert measured[os.getpid()] > 1_000_000


def test_used_processor_time_needs_two_looks(mac):
    probe = MacosTextProbe(mac)
    assert probe.read_sample([]).cpu_percent is None
    sum(number * number for number in range(500_000))
    assert 0 < probe.read_sample([]).cpu_percent <= 100
