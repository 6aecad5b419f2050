"""Machines out of what programs printed: our own recordings, those beside this repository, and damaged ones of both."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impetus.hw.detector import HardwareDetector
from impetus.hw.probes.choose import open_recording
from impetus.hw.probes.recorded.probe import RecordedProbe
from impetus.hw.probes.recorded.texts import find_raw, split_transcript, to_text
from impetus.hw.probes.replay import ReplayProbe
from impetus.hw.report import to_report, to_rows

OWN = sorted((Path(__file__).parents[1] / "fixtures" / "hw" / "recorded").glob("*.json"))
SHARED = sorted((Path(__file__).parents[3] / "shared" / "data" / "probes").glob("*.json"))
GIB = 1024**3


def report_of(raw):
    probe = RecordedProbe(raw)
    profile, sample = HardwareDetector(probe).detect(), probe.read_sample([])
    assert to_rows(profile, sample)
    return msgspec.json.decode(msgspec.json.encode(to_report(profile, sample)))


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_a_recording_of_ours_is_concluded_whole(path):
    recorded = json.loads(path.read_text())
    report = report_of(recorded["raw"])
    known = {name: value for name, value in report.items() if value is not None or name in recorded["expect"]}
    assert known == recorded["expect"]


NOT_TOLD = {
    "m1_mac_mini_m1_smc_air": {"macos"},
    "m1_macmini_hid_sensors": {"brand"},
    "m1pro_powermetrics_cpu": {"brand"},
    "m1ultra_ioreport_channels": {"brand"},
    "m2max_12core_64gb": {"macos"},
    "m2ultra_dvfs": {"brand"},
    "m2ultra_ioreport": {"brand"},
    "m5max_cli_sample": {"brand"},
}
"""What is known of a recording by its source alone: none of its texts says it."""


def comparable(report):
    """Names a report's facts as the collection does."""
    levels, memory, limit = report["levels"], report["memory_bytes"], report["working_set_bytes"]
    swap, busy = report["swap_used_bytes"], report["gpu_percent"]
    return {
        "arch": report["architecture"],
        "bandwidth_expected": report["bandwidth_gbs"],
        "brand": report["brand"],
        "combined_power_w": report["power_w"],
        "e": None if not levels else levels[1][1] if len(levels) > 1 else 0,
        "family": report["tier"],
        "fanless": report["fanless"],
        "generation": report["generation"],
        "gpu_cores": report["gpu_cores"],
        "gpu_cores_inferred": report["gpu_cores"],
        "gpu_freq_mhz": report["gpu_mhz"],
        "gpu_in_use_bytes": report["gpu_memory_bytes"],
        "gpu_power_w": report["gpu_power_w"],
        "gpu_temp_max": report["temperature_c"],
        "gpu_util": busy / 100 if busy is not None else None,
        "known": "bandwidth_gbs" not in report["estimated"],
        "level_names": [name for name, _ in levels] if levels else None,
        "levels": levels,
        "macos": report["macos"],
        "max_buffer": report["max_buffer_bytes"],
        "memory_gb": memory / GIB if memory is not None else None,
        "memory_pressure": report["memory_pressure"],
        "memsize": memory,
        "model": report["model"],
        "ncpu": report["ncpu"],
        "os": report["system"].split()[0].lower(),
        "p": levels[0][1] if levels else None,
        "ram_total": memory,
        "ratio": limit / memory if limit is not None and memory is not None else None,
        "recommended_working_set": limit,
        "supported": report["supported"],
        "swap_used": swap,
        "swap_used_mb": round(swap / 2**20, 2) if swap is not None else None,
        "sys_power_w": report["power_w"],
        "thermal": report["thermal_level"],
        "thermal_from_pmset": report["thermal_level"],
        "tier": report["tier"],
        "virtual": report["virtual"],
    }


@pytest.mark.skipif(not SHARED, reason="the collection of recordings is not here")
@pytest.mark.parametrize("path", SHARED, ids=lambda path: path.stem)
def test_every_fact_of_the_collection_is_concluded(path):
    recorded = json.loads(path.read_text())
    concluded = comparable(report_of(recorded["raw"]))
    untold = NOT_TOLD.get(path.stem, set())
    for name, value in recorded["expect"].items():
        if name in untold:
            assert concluded[name] is None
        elif name == "ratio":
            assert concluded[name] == pytest.approx(value, abs=0.005)
        elif name in concluded:
            exact = isinstance(value, float)
            assert concluded[name] == (pytest.approx(value) if exact else value), name


RAW = [json.loads(path.read_text())["raw"] for path in (*OWN, *SHARED)]


@pytest.fixture(autouse=True)
def _no_reader_gives_up(monkeypatch):
    def give_up(*arguments):
        raise

    monkeypatch.setattr("impetus.hw.probes.recorded.probe.log.exception", give_up)


def check_sanity(report):
    """Whatever was printed, nothing is 0 where 0 can only mean unknown."""
    for name in ("ncpu", "gpu_cores", "memory_bytes", "bandwidth_gbs", "working_set_bytes", "max_buffer_bytes"):
        assert report[name] is None or report[name] > 0, name
    for name in ("power_w", "gpu_power_w", "gpu_mhz", "temperature_c"):
        assert report[name] is None or report[name] > 0, name
    assert all(count > 0 for _, count in report["levels"] or ())
    assert set(report["estimated"]) <= {name for name, value in report.items() if value is not None}


def as_text(value):
    return value if isinstance(value, str) else "\n".join(value) if isinstance(value, list) else json.dumps(value)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(RAW), st.data())
def test_damaged_recordings_neither_raise_nor_give_zeros(raw, data):
    damaged = {}
    for label, value in raw.items():
        text = as_text(value)
        left, right = sorted((data.draw(st.integers(0, len(text))), data.draw(st.integers(0, len(text)))))
        way = data.draw(st.sampled_from(["cut", "hole", "noise", "zeros", "lines", "empty"]))
        damaged[label] = {
            "cut": text[:right],
            "hole": text[:left] + text[right:],
            "noise": text[:left] + data.draw(st.text(max_size=12)) + text[right:],
            "zeros": "".join("0" if letter.isdigit() else letter for letter in text),
            "lines": "\n".join(reversed(text.splitlines())),
            "empty": "",
        }[way]
    check_sanity(report_of(damaged))


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=30),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=60),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
            max_leaves=12,
        ),
        max_size=4,
    )
)
def test_anything_that_json_can_hold_is_read(raw):
    check_sanity(report_of(raw))


WHOLE = RAW[[path.stem for path in OWN].index("m6_three_levels")]


@given(st.integers(0, 300))
def test_a_cut_list_of_keys_never_gives_half_a_number(length):
    whole, cut = report_of(WHOLE), report_of({"sysctl hw": as_text(WHOLE["sysctl hw"])[:length]})
    assert cut["memory_bytes"] in {None, whole["memory_bytes"]}
    assert cut["levels"] in (None, whole["levels"])
    assert cut["brand"] in {None, whole["brand"]}


@pytest.mark.parametrize("end", ["P", "Pr", "M", "Ma", "Ul", "Ultr"])
def test_a_name_that_was_cut_is_no_name(end):
    assert report_of({"sysctl": f"machdep.cpu.brand_string: Apple M4 {end}"})["brand"] is None


def test_what_is_read_without_names_keeps_its_order():
    raw = {"sysctl -n machdep.cpu.brand_string hw.ncpu hw.memsize": "Apple M4 Pro\n14\n51539607552\n"}
    report = report_of(raw)
    assert (report["brand"], report["ncpu"], report["memory_bytes"], report["gpu_cores"]) == ("Apple M4 Pro", 14, 48 * GIB, 20)
    # With a line missing nobody knows which one it is.
    assert report_of({"sysctl -n hw.memsize hw.ncpu": "14\n"})["ncpu"] is None


def test_the_parts_of_a_count_of_processors_are_named_by_the_chip():
    def levels(chip, processors):
        text = json.dumps({"SPHardwareDataType": [{"chip_type": chip, "number_processors": processors}]})
        report = report_of({"system_profiler SPHardwareDataType -json": text})
        return report["levels"], report["ncpu"]

    named = [["Performance", 8], ["Efficiency", 4]]
    assert levels("Apple M2 Pro", "proc 12:8:4") == (named, 12)
    assert levels("Apple M2 Pro", "proc 12:8:4:0") == (named, 12)
    assert levels("Apple M2 Pro", "proc 12:0:8:4") == (named, 12)
    assert levels("Apple M6", "proc 12:2:6:4") == ([["Super", 2], ["Performance", 4], ["Efficiency", 6]], 12)
    assert levels("Apple M9 Max", "proc 20:8:0:12") == (None, 20)
    assert levels("Apple M9 Max", "proc 20:9:9") == (None, None)


def test_ggml_printed_other_units_in_its_first_year():
    def limit(text):
        return report_of({"log": text})["working_set_bytes"]

    assert limit("ggml_metal_init: recommendedMaxWorkingSetSize = 21845.34 MB") == round(21845.34 * 2**20)
    assert limit("ggml_metal_init: recommendedMaxWorkingSetSize  = 22906.50 MB") == 22906500000
    assert limit("ggml_metal_init: recommendedMaxWorkingSetSize = 21845.34 MiB") == round(21845.34 * 2**20)


def test_a_comparison_with_another_machine_is_not_taken_for_this_one():
    assert report_of({"report": "slower than on M2 Ultra; needs macOS 14.0 or later"})["brand"] is None
    assert report_of({"report": "Apple M1 Max is slower than Apple M2 Max here"})["brand"] is None


def test_what_people_write_of_their_one_machine_is_taken():
    report = report_of({"report": "MacBook Air (M2, 8-core CPU, 10-core GPU) on macOS 14.5 throttles, thermal state: heavy"})
    facts = (report["brand"], report["gpu_cores"], report["fanless"], report["macos"], report["thermal_level"])
    assert facts == ("Apple M2", 10, True, "14.5", "heavy")
    assert report_of({"report": "my M1 Pro MacBook Pro"})["brand"] == "Apple M1 Pro"
    assert report_of({"report": "10-core GPU against 40-core GPU"})["gpu_cores"] is None


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("Antal kärnor: 8 (4 prestanda och 4 effektivitet)", [["Performance", 4], ["Efficiency", 4]]),
        ("Общее количество ядер: 8 (4 производительности и 4 эффективности)", [["Performance", 4], ["Efficiency", 4]]),
        ("核心總數：10（4 效能和 6 節能）", [["Performance", 4], ["Efficiency", 6]]),
        ("총 코어 개수: 10(4 성능 및 6 효율)", [["Performance", 4], ["Efficiency", 6]]),
        ("Cores: 12 (6 efficiency, 2 super and 4 performance)", [["Super", 2], ["Performance", 4], ["Efficiency", 6]]),
        ("Toplam Çekirdek Sayısı: 8 (4 performans ve 4 verimlilik)", None),
        ("Total Number of Cores: 8 (4 performance and 3 efficiency)", None),
    ],
)
def test_kinds_of_cores_are_told_in_any_language(text, levels):
    report = report_of({"system_profiler SPHardwareDataType": text})
    assert report["levels"] == levels


@pytest.mark.parametrize(
    ("text", "gib"),
    [
        ("Memory: 16 GB", 16),
        ("Mémoire : 18\u202fGo", 18),
        ("Память: 24 ГБ", 24),
        ("Memory: 1.5 TB", 1536),
        ("Speicher: 1,5 TB", 1536),
        ("Memory: 16 MB", None),
        ("Memory: GB", None),
        ("Memory: 0 GB", None),
        ("Memory: 1.13 GB", None),
    ],
)
def test_sizes_of_memory_in_any_language(text, gib):
    found = report_of({"system_profiler SPHardwareDataType": text})["memory_bytes"]
    assert found == (gib * GIB if gib is not None else None)


def test_a_terminals_transcript_is_parted_into_its_commands():
    text = (
        "$ sysctl -n machdep.cpu.brand_string\nApple M5\n\n$ sysctl -n hw.memsize\n34359738368\n\nada@air ~ % uname -m\narm64\n"
    )
    assert [label for label, _ in split_transcript(text)] == [
        "sysctl -n machdep.cpu.brand_string",
        "sysctl -n hw.memsize",
        "uname -m",
    ]
    report = report_of({"terminal": text})
    assert (report["brand"], report["memory_bytes"], report["architecture"]) == ("Apple M5", 32 * GIB, "arm64")
    assert split_transcript("GPU idle residency:  91.51%\n 100 % sure\n") == []


def test_a_report_in_one_line_is_read_as_one_in_many():
    text = "- Machine: Model Name: MacBook Pro; Model Identifier: Mac17,6; Chip: Apple M5 Max; "
    text += "Total Number of Cores: 18 (6 Super and 12 Performance); Memory: 128 GB\n- OS: macOS 26.5.2\n"
    report = report_of({"environment": text})
    assert (report["brand"], report["model"], report["memory_bytes"]) == ("Apple M5 Max", "Mac17,6", 128 * GIB)
    assert (report["levels"], report["ncpu"], report["macos"]) == ([["Super", 6], ["Performance", 12]], 18, "26.5.2")


def test_reports_of_hardware_and_displays_may_be_one_text():
    lines = ["Chip: Apple M4 Max", "Total Number of Cores: 16 (12 performance and 4 efficiency)", "Memory: 64 GB"]
    lines += ["Chipset Model: Apple M4 Max", "Total Number of Cores: 40", "Metal Support: Metal 3"]
    report = report_of({"system_profiler (excerpt)": lines})
    assert (report["ncpu"], report["gpu_cores"], report["memory_bytes"]) == (16, 40, 64 * GIB)
    intel = ["Chipset Model: AMD Radeon Pro 5300M", "Type: GPU", "VRAM (Total): 4 GB"]
    assert report_of({"system_profiler SPDisplaysDataType": intel})["memory_bytes"] is None


def test_an_intel_mac_is_told_in_german_too():
    lines = ["Hardware-Übersicht:", "", "  Modellname: Mac mini", "  Modell-Identifizierung: Macmini7,1"]
    lines += ["  Prozessortyp: Dual-Core Intel Core i5", "  Prozessorgeschwindigkeit: 1,4 GHz", "  Anzahl der Prozessoren: 1"]
    lines += ["  Gesamtanzahl der Kerne: 2", "  L3-Cache: 3 MB", "  Hyper-Threading Technologie: Aktiviert", "  Speicher: 4 GB"]
    report = report_of({"system_profiler SPHardwareDataType": lines})
    assert (report["supported"], report["architecture"], report["ncpu"]) == (False, "x86_64", 4)
    assert (report["memory_bytes"], report["fanless"], report["estimated"]) == (4 * GIB, False, ["ncpu"])


def test_a_control_group_limits_a_recorded_linux_too():
    raw = {"/proc/meminfo": "MemTotal: 16384000 kB\n", "/sys/fs/cgroup/memory.max": "4294967296\n"}
    assert report_of(raw)["memory_bytes"] == 4 * GIB
    assert report_of({**raw, "/sys/fs/cgroup/memory.max": "max\n"})["memory_bytes"] == 16384000 * 1024


@pytest.mark.parametrize(("percent", "pressure"), [(60, "normal"), (12.5, "warn"), (3, "critical")])
def test_a_share_of_free_memory_tells_of_pressure_in_json_too(percent, pressure):
    report = report_of({"monitor": {"mem_free_pct": percent}})
    assert (report["memory_pressure"], report["estimated"]) == (pressure, ["memory_pressure"])


def test_every_part_of_the_recorded_load_has_a_source():
    raw = {
        "macmon": {
            "cpu_temp_avg": 51.5,
            "all_power": 12.5,
            "gpu_power": 4.0,
            "memory": {"ram_total": 16 * GIB, "ram_usage": GIB},
        }
    }
    sample = RecordedProbe(raw).read_sample([])
    assert (sample.temperature_c, sample.power_w, sample.gpu_power_w) == (51.5, 12.5, 4.0)
    load = {"temperature_c", "power_w", "gpu_power_w", "memory_total_bytes", "memory_used_bytes", "memory_available_bytes"}
    assert sample.sources == dict.fromkeys(load, "macmon")


def test_a_number_beyond_every_measure_costs_only_itself():
    report = report_of({"monitor": {"gpu_power": 10**400, "sys_power": float("nan"), "gpu_freq_mhz": 900}})
    assert (report["gpu_power_w"], report["power_w"], report["gpu_mhz"]) == (None, None, 900)


def test_no_information_on_heat_is_not_nominal():
    text = "Note: No thermal warning level has been recorded\nNote: No performance warning level has been recorded\n"
    assert report_of({"pmset -g therm": text})["thermal_level"] is None


@pytest.mark.parametrize("text", [b"", b"[]", b"3", b'"a"', b"\xff\xfe", b"{", b"[" * 100_000, b"1" * 5000])
def test_what_is_no_recording_is_refused(text, tmp_path):
    path = tmp_path / "wrong.json"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=r"wrong\.json is no recording"):
        open_recording(path)


def test_both_kinds_of_recordings_are_opened(tmp_path):
    path = Path(__file__).parents[1] / "fixtures" / "hw" / "replay" / "m4_max.json"
    assert isinstance(open_recording(path), ReplayProbe)
    assert isinstance(open_recording(OWN[0]), RecordedProbe)
    assert find_raw(b'{"raw": "hw.ncpu: 3"}') == {"": "hw.ncpu: 3"}
    assert find_raw(b'{"sysctl": "hw.ncpu: 3"}') == {"sysctl": "hw.ncpu: 3"}


def test_emptiness_is_cut_short_as_a_search_behind_it_takes_its_square_in_time():
    assert to_text(" " * 100_000) == " " * 64
    assert to_text(" \n" * 100_000 + "hw.ncpu: 8") == "\n\nhw.ncpu: 8"
    assert to_text("a\n\n\n\tb  c") == "a\n\n\n\tb  c"


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("Chip: Apple M5 Pro\nTotal Number of Cores: 1", "ncpu"),
        ("Chipset Model: Apple M2 Max\nTotal Number of Cores: 3", "gpu_cores"),
        ("hw.model: MacBookPro18", "model"),
        ("machdep.cpu.brand_string: Intel(R) Core(TM) i7-9750H CPU @ 2.6", "brand"),
        ("machdep.cpu.brand_string: Virtua", "brand"),
        ('{"SPHardwareDataType":[{"chip_type":"Apple M2 ', "brand"),
    ],
)
def test_what_was_cut_in_the_middle_is_not_taken_for_the_whole(text, unknown):
    assert report_of({"": text})[unknown] is None


def test_a_name_that_was_cut_is_completed_by_the_model():
    report = report_of({"": "Model Identifier: Mac15,9\nChip: Apple M3"})
    assert (report["brand"], report["estimated"][0]) == ("Apple M3 Max", "brand")
    levels = "hw.nperflevels: 2\nhw.perflevel0.physicalcpu: 4\nhw.perflevel1.physicalcpu: 6\nhw.perflevel0.name: Super\n"
    assert report_of({"": levels + "hw.perflevel1.name: Effici"})["levels"] == [["Super", 4], ["Efficiency", 6]]
