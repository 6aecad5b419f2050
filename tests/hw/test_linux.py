from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impetus.hw.detector import HardwareDetector
from impetus.hw.probes import linux_parsing as parsing
from impetus.hw.probes.cgroups import Cgroups, parse_pairs
from impetus.hw.probes.linux import LinuxProbe

FIXTURES = Path(__file__).parents[1] / "fixtures" / "hw" / "linux"
on_linux = pytest.mark.skipif(platform.system() != "Linux", reason="reads this machine's /proc")


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.json")), ids=lambda path: path.stem)
def test_a_recorded_machine_is_concluded_as_it_is(path, grow_root, conclude, known):
    recorded = json.loads(path.read_text())
    probe = LinuxProbe(grow_root(recorded["files"]), affinity=frozenset(recorded["affinity"]), machine=recorded["machine"])
    concluded = conclude(HardwareDetector(probe).detect())
    assert {name: concluded[name] for name in recorded["expect"]} == recorded["expect"]
    assert known(probe.read_sample([])) == recorded["expect_sample"]


@on_linux
def test_this_machine_is_read():
    probe = LinuxProbe()
    profile = HardwareDetector(probe).detect()
    assert 1 <= profile.usable_cpus.value <= profile.logical_cpus.value == os.cpu_count()
    assert profile.memory_bytes.value > 2**28
    assert profile.host == platform.node()
    sample = probe.read_sample([os.getpid()])
    assert 0 < sample.memory_used_bytes < sample.memory_total_bytes <= profile.memory_bytes.value
    assert sample.memory_pressure in {"normal", "warn", "critical"}
    assert sample.gpu_percent is None
    assert sample.process_bytes[os.getpid()] > 1_000_000


@on_linux
def test_a_process_that_ended_is_left_out_before_and_after_it_is_waited_for():
    probe = LinuxProbe()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert child.pid in probe.read_sample([child.pid]).process_bytes
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert probe.read_sample([child.pid]).process_bytes == {}
    finally:
        child.communicate()
    assert probe.read_sample([child.pid]).process_bytes == {}


def stat_of(*cpus):
    total = [sum(column) for column in zip(*cpus, strict=True)]
    rows = [("cpu ", total), *((f"cpu{index}", row) for index, row in enumerate(cpus))]
    return [f"{name} {' '.join(map(str, row))}" for name, row in rows]


def test_only_the_processors_we_may_use_count(grow_root):
    before = stat_of([100, 0, 0, 100, 0, 0, 0, 0, 50, 0], [0] * 10)
    probe = LinuxProbe(root := grow_root({"proc/stat": before}), affinity=frozenset({0}))
    assert probe.read_sample([]).cpu_percent is None
    after = stat_of([130, 0, 0, 150, 20, 0, 0, 0, 80, 0], [900, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    (root / "proc/stat").write_text("\n".join(after))
    assert probe.read_sample([]).cpu_percent == pytest.approx(30.0)


@pytest.mark.parametrize(
    ("files", "usage", "text"),
    [
        (
            {"proc/self/cgroup": ["0::/a"], "sys/fs/cgroup/a/cpu.max": ["200000 100000"]},
            "sys/fs/cgroup/a/cpu.stat",
            "usage_usec {us}\nuser_usec 1\n",
        ),
        (
            {
                "proc/self/cgroup": ["3:cpu,cpuacct:/a"],
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": ["200000"],
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": ["100000"],
            },
            "sys/fs/cgroup/cpu,cpuacct/a/cpuacct.usage",
            "{us}000\n",
        ),
    ],
)
def test_in_a_group_with_a_quota_the_quota_is_the_whole(files, usage, text, grow_root):
    now_s = 10.0
    root = grow_root(files)
    probe = LinuxProbe(root, affinity=frozenset(range(64)), clock=lambda: now_s)
    (root / usage).write_text(text.format(us=5_000_000))
    assert probe.read_sample([]).cpu_percent is None
    now_s = 12.0
    (root / usage).write_text(text.format(us=8_000_000))
    assert probe.read_sample([]).cpu_percent == pytest.approx(75.0)


def test_power_is_looked_at_every_ten_seconds(grow_root):
    now_s = 0.0
    root = grow_root({"sys/class/power_supply/AC/type": ["Mains"], "sys/class/power_supply/AC/online": ["1"]})
    probe = LinuxProbe(root, clock=lambda: now_s)
    assert probe.read_sample([]).on_battery is False
    grow_root({"sys/class/power_supply/AC/online": ["0"], "sys/class/power_supply/B/type": ["Battery"]})
    grow_root({"sys/class/power_supply/B/status": ["Discharging"], "sys/class/power_supply/B/capacity": ["55"]})
    now_s = 9.0
    assert probe.read_sample([]).on_battery is False
    now_s = 10.0
    assert probe.read_sample([]).on_battery is True


@pytest.mark.parametrize(
    ("celsius", "level"), [(40, "nominal"), (94.9, "nominal"), (95, "moderate"), (101, "heavy"), (106, "trapping"), (140, None)]
)
def test_trip_points_tell_the_thermal_level(celsius, level, grow_root):
    zone = "sys/class/thermal/thermal_zone0"
    trips = {"passive": 95, "hot": 100, "critical": 105, "active": 30}
    files = {f"{zone}/type": ["cpu-thermal"], f"{zone}/temp": [str(round(celsius * 1000))]}
    for index, (kind, at_c) in enumerate(trips.items()):
        files |= {f"{zone}/trip_point_{index}_type": [kind], f"{zone}/trip_point_{index}_temp": [str(at_c * 1000)]}
    assert LinuxProbe(grow_root(files)).read_sample([]).thermal_level == level


def test_a_core_that_was_throttled_is_warm_whatever_the_zones_say(grow_root):
    count = "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count"
    root = grow_root({count: ["7"], "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": ["0"]})
    probe = LinuxProbe(root)
    assert probe.read_sample([]).thermal_level is None
    assert probe.read_sample([]).thermal_level is None
    (root / count).write_text("9\n")
    sample = probe.read_sample([])
    assert (sample.thermal_level, sample.sources["thermal_level"]) == ("moderate", "throttling")
    assert "thermal_level" in sample.estimated
    assert probe.read_sample([]).thermal_level is None


def test_power_is_what_the_packages_used_since_the_last_look(grow_root):
    now_s = 0.0
    rapl = "sys/class/powercap/intel-rapl:0"
    root = grow_root({f"{rapl}/name": ["package-0"], f"{rapl}/energy_uj": ["1000000"]})
    grow_root({"sys/class/powercap/intel-rapl:0:0/name": ["core"], "sys/class/powercap/intel-rapl:0:0/energy_uj": ["900000"]})
    probe = LinuxProbe(root, clock=lambda: now_s)
    assert probe.read_sample([]).power_w is None
    now_s = 2.0
    (root / rapl / "energy_uj").write_text("31000000\n")
    assert probe.read_sample([]).power_w == 15.0
    now_s = 3.0
    (root / rapl / "energy_uj").write_text("5\n")
    # The counter began anew.
    assert probe.read_sample([]).power_w is None


def test_apples_controller_tells_the_power_of_the_whole_machine(grow_root):
    monitor = "sys/class/hwmon/hwmon0"
    root = grow_root({f"{monitor}/name": ["macsmc_hwmon"], f"{monitor}/power1_label": ["AC Input Power"]})
    grow_root({f"{monitor}/power1_input": ["9"], f"{monitor}/power2_label": ["Total System Power"]})
    grow_root({f"{monitor}/power2_input": ["12500000"]})
    assert LinuxProbe(root).read_sample([]).power_w == 12.5


def test_each_reading_says_where_it_comes_from(grow_root):
    lines = ["MemTotal: 16000000 kB", "MemAvailable: 400000 kB", "SwapTotal: 8 kB", "SwapFree: 8 kB"]
    sample = LinuxProbe(grow_root({"proc/meminfo": lines})).read_sample([])
    assert sample.memory_pressure == "critical"
    assert sample.sources["memory_pressure"] == "available memory"
    assert sample.estimated == ("memory_pressure",)
    assert sample.sources["swap_used_bytes"] == "/proc/meminfo"
    assert set(sample.sources) == {
        "memory_total_bytes",
        "memory_used_bytes",
        "memory_available_bytes",
        "swap_used_bytes",
        "memory_pressure",
    }


@pytest.mark.parametrize(
    ("some", "full", "pressure"),
    [("0.00", "0.00", "normal"), ("10.00", "5.00", "normal"), ("10.01", "0.00", "warn"), ("99.00", "5.01", "critical")],
)
def test_stalls_tell_the_pressure(some, full, pressure):
    text = f"some avg10={some} avg60=0.00 avg300=0.00 total=1\nfull avg10={full} avg60=0.00 avg300=0.00 total=1\n"
    assert parsing.parse_pressure(text) == pressure


@pytest.mark.parametrize(("available", "pressure"), [(50, "normal"), (10, "normal"), (9, "warn"), (5, "warn"), (4, "critical")])
def test_without_stalls_the_available_memory_tells_the_pressure(available, pressure):
    assert parsing.to_pressure(available, 100) == pressure
    assert parsing.to_pressure(available, 0) is None


def test_lists_of_processors():
    assert parsing.parse_cpu_list("0-2,5\n") == (0, 1, 2, 5)
    assert parsing.parse_cpu_list("") == ()
    assert parsing.parse_cpu_list("0-x") == ()
    assert parsing.parse_cpu_list("3-1") == ()


PRINTED = [
    "\n".join(lines) for path in sorted(FIXTURES.glob("*.json")) for lines in json.loads(path.read_text())["files"].values()
]


@given(st.text() | st.sampled_from(PRINTED), st.data())
def test_any_text_gives_a_value_or_nothing(text, data):
    cut = text[: data.draw(st.integers(0, len(text)))] + data.draw(st.text(max_size=10))
    parsing.to_apple_levels(parsing.parse_cpu_info(cut).apple_parts)
    parsing.parse_cpu_list(cut)
    parsing.to_available(parsing.parse_memory_info(cut))
    parsing.parse_pressure(cut)
    parsing.parse_cpu_times(cut, {0, 1})
    parse_pairs(cut)


DAMAGED = (
    "",
    "\0",
    "-1",
    "99999999999999999999999999",
    "max",
    "max max",
    "0 0",
    "a:b:/c",
    "0::/../..",
    "٣",
    "kB: kB",
    "x" * 5000,
)


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_files_never_raise(content, grow_root):
    names = {name for path in FIXTURES.glob("*.json") for name in json.loads(path.read_text())["files"]}
    probe = LinuxProbe(grow_root({name: [content] for name in names}))
    HardwareDetector(probe).detect()
    probe.read_sample([0, 1])
    probe.read_sample([0, 1])


def test_a_group_that_leads_out_of_its_namespace_is_not_followed(tmp_path, grow_root):
    grow_root({"memory.max": ["1000"]})
    root = tmp_path / "a/b"
    for name, text in {"proc/self/cgroup": "0::/../../../../..\n", "sys/fs/cgroup/memory.max": "2000\n"}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    assert Cgroups(root).find_memory_limit().limit_bytes == 2000


@pytest.mark.parametrize("part", ["0x000", "0x0"])
def test_a_core_that_apple_never_made_is_one_of_a_virtual_machine(part):
    cpu = parsing.parse_cpu_info(f"processor\t: 0\nCPU implementer\t: 0x61\nCPU part\t: {part}\n" * 4)
    assert (cpu.hypervisor, cpu.apple_parts, cpu.logical_cpus) == (True, (), 4)
