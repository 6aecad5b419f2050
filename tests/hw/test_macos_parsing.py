from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impetus.hw.probes import macos_parsing as parsing
from impetus.hw.profile import CpuLevel

PRINTED = [
    "\n".join(lines)
    for path in sorted((Path(__file__).parents[1] / "fixtures" / "hw" / "macos").glob("*.json"))
    for lines in json.loads(path.read_text())["printed"].values()
]
PARSERS = (
    parsing.parse_sysctl,
    parsing.parse_integer,
    parsing.parse_flag,
    parsing.parse_swap_used,
    parsing.parse_pressure_level,
    parsing.parse_free_percent,
    parsing.parse_memory_used,
    parsing.parse_gpu,
    parsing.parse_power_source,
    parsing.parse_low_power,
    parsing.parse_hardware_report,
    parsing.parse_displays_report,
    lambda text: parsing.parse_cpu_levels(parsing.parse_sysctl(text)),
)


@given(st.text())
def test_any_text_gives_a_value_or_nothing(text):
    for parse in PARSERS:
        parse(text)


@given(st.sampled_from(PRINTED), st.data())
def test_cut_and_damaged_recordings_give_a_value_or_nothing(text, data):
    cut = data.draw(st.integers(0, len(text)))
    left = data.draw(st.integers(0, cut))
    damaged = text[:left] + data.draw(st.text(max_size=20)) + text[left:cut]
    for parse in PARSERS:
        parse(damaged)


VM_STAT = next(text for text in PRINTED if text.startswith("Mach") and "Anonymous" in text)


@given(st.integers(0, len(VM_STAT)))
def test_a_cut_memory_report_is_whole_or_unknown(length):
    assert parsing.parse_memory_used(VM_STAT[:length]) in {None, parsing.parse_memory_used(VM_STAT)}


IOREG = next(text for text in PRINTED if "Device Utilization" in text)


@given(st.integers(0, len(IOREG)))
def test_a_cut_gpu_report_never_gives_half_a_number(length):
    whole, cut = parsing.parse_gpu(IOREG + "\n"), parsing.parse_gpu(IOREG[:length])
    assert cut.busy_percent in {None, whole.busy_percent}
    assert cut.memory_bytes in {None, whole.memory_bytes}
    assert cut.cores in {None, whole.cores}


def test_the_memory_of_the_driver_is_not_taken_for_the_gpus():
    assert parsing.parse_gpu('{"In use system memory (driver)"=7,"In use system memory"=356}').memory_bytes == 356
    assert parsing.parse_gpu('{"In use system memory (driver)"=7}').memory_bytes is None


@pytest.mark.parametrize(
    ("keys", "levels"),
    [
        ({"hw.perflevel0.physicalcpu": "8", "hw.perflevel1.physicalcpu": "2"}, (("Performance", 8), ("Efficiency", 2))),
        ({"hw.nperflevels": "1", "hw.perflevel0.physicalcpu": "3"}, (("Standard", 3),)),
        (
            {"hw.nperflevels": "3"} | {f"hw.perflevel{level}.physicalcpu": "2" for level in range(3)},
            (("Performance", 2), ("Level 1", 2), ("Efficiency", 2)),
        ),
        ({"hw.nperflevels": "2", "hw.perflevel0.physicalcpu": "8"}, ()),
        ({"hw.perflevel0.physicalcpu": "8"}, ()),
        ({"hw.perflevel0.physicalcpu": "2", "hw.perflevel1.physicalcpu": "4", "hw.ncpu": "12"}, ()),
        ({"hw.nperflevels": "99999999999", "hw.perflevel0.physicalcpu": "0"}, ()),
        ({}, ()),
    ],
)
def test_levels_are_as_many_as_there_are(keys, levels):
    assert parsing.parse_cpu_levels(keys) == tuple(CpuLevel(*level) for level in levels)


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("total = 9216.00M  used = 7843.19M  free = 1372.81M  (encrypted)", round(7843.19 * 2**20)),
        ("total = 0.00M  used = 0.00M  free = 0.00M  (encrypted)", 0),
        ("total = 2,00G  used = 1,50G", 1610612736),
        ("used", None),
        (None, None),
    ],
)
def test_swap_is_read_in_its_unit(text, used):
    assert parsing.parse_swap_used(text) == used


@pytest.mark.parametrize(
    ("value", "name"), [("1", "normal"), ("2", "warn"), ("4", "critical"), ("3", None), ("0", None), ("", None)]
)
def test_there_is_no_third_level_of_memory_pressure(value, name):
    assert parsing.parse_pressure_level(value) == name


@pytest.mark.parametrize(
    ("percent", "name"), [(100, "normal"), (15, "normal"), (14, "warn"), (5, "warn"), (4, "critical"), (0, "critical")]
)
def test_pressure_is_judged_by_what_is_free_where_the_kernel_is_silent(percent, name):
    assert parsing.to_pressure(percent) == name


@pytest.mark.parametrize(
    ("text", "on"),
    [
        (" lowpowermode         1", True),
        (" lowpowermode         0\n sleep 1", False),
        ("Currently in use:\n powermode            1", True),
        (" powermode            2", False),
        (" powermode            0", False),
        (" lowpowermode", None),
        (" sleep                1", None),
        ("", None),
    ],
)
def test_low_power_mode_has_two_names_and_may_be_absent(text, on):
    assert parsing.parse_low_power(text) is on


@pytest.mark.parametrize(
    ("text", "on_battery", "percent"),
    [
        ("Now drawing from 'UPS Power'", True, None),
        ("Now drawing from 'AC Power'\n -InternalBattery-0 (id=1)\t100%; charged; 0:00 remaining", False, 100.0),
        (" -InternalBattery-0 (id=1)\t7%;", None, 7.0),
        (" -InternalBattery-0 (id=1)\t700%;", None, None),
        ("No batteries", None, None),
    ],
)
def test_the_power_source(text, on_battery, percent):
    assert parsing.parse_power_source(text) == parsing.PowerSource(on_battery, percent)


def test_reports_that_are_no_reports_tell_nothing():
    for text in ("", "[]", "{}", "null", '{"SPHardwareDataType": 3}', '{"SPHardwareDataType": []}', "[" * 100_000):
        assert parsing.parse_hardware_report(text) == parsing.HardwareReport()
        assert parsing.parse_displays_report(text) == parsing.HardwareReport()
    assert parsing.parse_hardware_report('{"SPHardwareDataType":[{"physical_memory":"1,5 TB"}]}') == parsing.HardwareReport()
    assert parsing.parse_displays_report('{"SPDisplaysDataType":[{"sppci_cores":"0"},{"sppci_cores":"x"}]}').gpu_cores is None
