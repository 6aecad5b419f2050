from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from impetus.hw.detector import HardwareDetector
from impetus.hw.override import FIELDS, STATED, to_override
from impetus.hw.probes.choose import choose_probe
from impetus.hw.probes.linux import LinuxProbe
from impetus.hw.probes.macos_native import MacosProbe
from impetus.hw.probes.plain import PlainProbe
from impetus.hw.profile import CapabilityProfile, CpuLevel, Reading
from impetus.hw.report import to_report, to_rows
from impetus.hw.sample import Sample
from impetus.runtime.config import HardwareOverride

GIB = 1024**3


class FixedProbe:
    """Says what it is told."""

    def __init__(self, **facts):
        readings = {name: value if name == "cpu_levels" else Reading(value, "said") for name, value in facts.items()}
        self.profile = replace(CapabilityProfile("h", "macOS 26.0", "arm64"), **readings)

    def read_profile(self):
        return self.profile

    def read_sample(self, pids):
        return Sample(at_s=0.0)


def detect(**facts):
    return HardwareDetector(FixedProbe(**facts)).detect()


def test_what_was_read_wins_over_the_table():
    profile = detect(
        chip="Apple M1", gpu_cores=7, memory_bandwidth_gbs=99.0, working_set_bytes=5, fanless=False, model="MacBookAir10,1"
    )
    assert profile.memory_bandwidth_gbs == Reading(99.0, "said")
    assert profile.working_set_bytes == Reading(5, "said")
    assert profile.fanless == Reading(False, "said")
    assert profile.gpu_cores == Reading(7, "said")


def test_what_the_table_implies_says_so():
    profile = detect(
        chip="Apple M3 Ultra", cpu_levels=(CpuLevel("Performance", 20), CpuLevel("Efficiency", 8)), memory_bytes=96 * GIB
    )
    assert profile.gpu_cores == Reading(60, "table of chips", estimated=True)
    assert profile.memory_bandwidth_gbs == Reading(819, "table of chips")
    assert profile.fanless == Reading(False, "tier of the chip", estimated=True)
    assert profile.working_set_bytes == Reading(int(96 * GIB * 0.7), "share of the memory", estimated=True)


def test_an_unknown_chip_gets_a_sound_profile_and_a_line_in_the_log(caplog):
    with caplog.at_level(logging.WARNING):
        profile = detect(chip="Apple M9 Max", gpu_cores=48, memory_bytes=128 * GIB)
    assert (profile.generation.value, profile.tier.value, profile.tier_name) == (9, "Max", "M9 Max")
    assert profile.memory_bandwidth_gbs == Reading(614, "newest known chip of this tier", estimated=True)
    assert "Apple M9 Max" in caplog.text
    assert "137438953472" in caplog.text


def test_the_log_tells_of_an_unknown_chip_once(caplog):
    with caplog.at_level(logging.WARNING):
        detector = HardwareDetector(FixedProbe(chip="Apple M8 Ultra", gpu_cores=96))
        assert len({detector.detect() for _ in range(3)}) == 1
    assert caplog.text.count("Apple M8 Ultra is not in the table") == 1


def test_what_a_person_states_wins_and_leads_to_other_conclusions():
    probe = FixedProbe(chip="Apple M4 Max", logical_cpus=14, memory_bytes=36 * GIB)
    stated = {
        "brand": "Apple M9 Max",
        "ncpu": 24,
        "bandwidth_gbs": 800.0,
        "levels": [("Super", 8), ("Performance", 16)],
        "macos": "28.0",
        "fanless": False,
        "tier": None,
        "shoe_size": 43,
    }
    profile = HardwareDetector(probe, to_override(stated)).detect()
    assert profile.chip == Reading("Apple M9 Max", STATED)
    assert (profile.logical_cpus, profile.usable_cpus) == (Reading(24, STATED), Reading(24, STATED))
    assert profile.memory_bandwidth_gbs == Reading(800.0, STATED)
    assert profile.cpu_levels == (CpuLevel("Super", 8), CpuLevel("Performance", 16))
    assert profile.cpu_levels_source == STATED
    assert (profile.system, profile.generation.value, profile.tier.value) == ("macOS 28.0", 9, "Max")
    assert profile.memory_bytes == Reading(36 * GIB, "said")


@pytest.mark.parametrize(
    ("brand", "generation", "tier"), [("Apple A18 Pro", None, "A"), ("Apple A20", None, "A"), ("Apple M4 Pro", 4, "Pro")]
)
def test_an_a_chip_is_told_by_its_family_as_it_is_of_no_m_generation(brand, generation, tier):
    profile = HardwareDetector(FixedProbe(chip=brand)).detect()
    report = to_report(profile, Sample(0.0))
    assert (report.generation, report.tier) == (generation, tier)
    assert ("tier", tier, "name of the chip") in to_rows(profile, Sample(0.0))
    stated = HardwareDetector(FixedProbe(chip=brand), to_override({"tier": "Ultra", "generation": 9})).detect()
    report = to_report(stated, Sample(0.0))
    assert (report.generation, report.tier) == (9, "Ultra")


def test_every_fact_of_a_profile_can_be_stated():
    others = {"host", "system", "architecture", "cpu_levels", "cpu_levels_source", "cpu_levels_estimated", "usable_cpus"}
    assert set(FIELDS.values()) | others == set(CapabilityProfile.__dataclass_fields__)
    assert set(FIELDS) | {"levels", "macos"} == set(HardwareOverride.__struct_fields__)
    assert to_override({}).apply(FixedProbe().profile) == FixedProbe().profile


@pytest.mark.parametrize("facts", [{"chip": "Apple M4 Max (Virtual)"}, {"chip": "Apple M4 Max", "virtual_machine": True}])
def test_a_virtual_machine_does_not_get_its_hosts_silicon(facts):
    profile = detect(memory_bytes=16 * GIB, model="VirtualMac2,1", **facts)
    assert profile.virtual_machine.value is True
    assert profile.tier_name == "M4 Max (virtual)"
    unknown = (
        profile.memory_bandwidth_gbs,
        profile.gpu_cores,
        profile.working_set_bytes,
        profile.fanless,
        profile.logical_cpus,
    )
    assert unknown == (None,) * 5
    assert profile.cpu_levels == ()


@pytest.mark.parametrize("facts", [{}, {"chip": "Apple processor"}, {"chip": "Intel(R) Core(TM) i7"}])
def test_a_chip_without_a_number_stays_as_it_was_read(facts):
    assert detect(**facts) == FixedProbe(**facts).profile


@pytest.mark.parametrize(
    ("system", "probe"), [("Darwin", MacosProbe), ("Linux", LinuxProbe), ("Windows", PlainProbe), ("Plan9", PlainProbe)]
)
def test_each_system_has_its_probe(system, probe):
    assert isinstance(choose_probe(system), probe)


def test_the_machine_of_this_test_is_read_by_the_plain_probe_too():
    probe = PlainProbe()
    profile = HardwareDetector(probe).detect()
    assert profile.logical_cpus.value >= 1
    assert profile.memory_bytes.value > 2**28
    sample = probe.read_sample([])
    assert 0 < sample.memory_available_bytes < sample.memory_total_bytes


def test_a_psutil_that_raises_leaves_the_memory_unknown(monkeypatch):
    def fail():
        raise RuntimeError("host_statistics64(HOST_VM_INFO64) syscall failed: (ipc/mig) array not large enough")

    monkeypatch.setattr("psutil.virtual_memory", fail)
    monkeypatch.setattr("psutil.cpu_times", fail)
    probe = PlainProbe()
    assert probe.read_profile().memory_bytes is None
    sample = probe.read_sample([])
    assert (sample.memory_total_bytes, sample.memory_used_bytes, sample.cpu_percent) == (None, None, None)
