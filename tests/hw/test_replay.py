from __future__ import annotations

import json
from pathlib import Path

import pytest

from impetus.hw.detector import HardwareDetector
from impetus.hw.probes.replay import RecordedSample, ReplayProbe
from impetus.hw.sample import Sample

FOLDER = Path(__file__).parents[1] / "fixtures" / "hw" / "replay"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_a_recording_plays_over_and_over(path):
    recorded = json.loads(path.read_text())
    probe = ReplayProbe(path, clock=lambda: 77.0)
    rounds = len(recorded["samples"])
    first = [probe.read_sample([11, 12]) for _ in range(rounds)]
    assert [probe.read_sample([11, 12]) for _ in range(rounds)] == first
    assert {sample.at_s for sample in first} == {77.0}
    for sample in first:
        assert sample.memory_used_bytes + sample.memory_available_bytes == sample.memory_total_bytes
        assert sum(sample.process_bytes.values()) <= sample.memory_used_bytes


@pytest.mark.parametrize(
    ("name", "tier_name", "bandwidth", "estimated", "fanless", "levels"),
    [
        ("m1_air_hot", "M1", 68.25, False, True, 2),
        ("m4_max", "M4 Max", 546, False, False, 2),
        ("m2_ultra", "M2 Ultra", 800, False, False, 2),
        ("m6_three_levels", "M6", 170, False, None, 3),
        ("vm", "M1 (virtual)", None, None, None, 1),
        ("unknown_chip", "M9 Max", 614, True, False, 3),
        ("rosetta", "M1 Pro", 200, False, False, 2),
        ("intel", "macOS x86_64", None, None, False, 0),
        ("asahi", "M1", 68.25, False, True, 2),
        ("a18_pro", "A18 Pro", 60, True, True, 2),
    ],
)
def test_a_recorded_machine_has_a_profile(name, tier_name, bandwidth, estimated, fanless, levels):
    profile = HardwareDetector(ReplayProbe(FOLDER / f"{name}.json")).detect()
    assert profile.tier_name == tier_name
    assert (profile.memory_bandwidth_gbs and profile.memory_bandwidth_gbs.value) == bandwidth
    assert (profile.memory_bandwidth_gbs and profile.memory_bandwidth_gbs.estimated) == estimated
    assert (profile.fanless and profile.fanless.value) == fanless or fanless is False
    assert len(profile.cpu_levels) == levels
    assert profile.chip.source == f"recording {name}"


def test_the_watched_processes_get_the_recorded_memory_in_their_order(tmp_path):
    path = tmp_path / "r.json"
    path.write_text('{"profile":{"host":"h","system":"s","architecture":"a"},"samples":[{"watched_bytes":[5,6]}]}')
    probe = ReplayProbe(path)
    assert probe.read_sample([30, 20, 10]).process_bytes == {30: 5, 20: 6}
    assert probe.read_sample([1]).process_bytes == {1: 5}


def test_a_recording_without_samples_knows_nothing(tmp_path):
    path = tmp_path / "r.json"
    path.write_text('{"profile":{"host":"h","system":"s","architecture":"a"},"samples":[]}')
    assert ReplayProbe(path, clock=lambda: 1.0).read_sample([1]) == Sample(at_s=1.0)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"profile":{"host":"h","system":"s","architecture":"a"},"samples":[{"cpu":1}]}', '{"samples":[]}'],
)
def test_what_is_no_recording_is_refused_by_name(tmp_path, text):
    path = tmp_path / "wrong.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"wrong\.json is no recording"):
        ReplayProbe(path)


def test_every_field_of_a_sample_can_be_recorded():
    missing = set(Sample.__dataclass_fields__) - set(RecordedSample.__struct_fields__)
    assert missing == {"at_s", "process_bytes", "sources", "estimated"}
