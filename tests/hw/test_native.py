"""What macOS' libraries hand out, as bytes and numbers; and that all of it is unknown where there are none."""

from __future__ import annotations

import ctypes
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impetus.hw.detector import HardwareDetector
from impetus.hw.probes.macos_native import MacosProbe
from impetus.hw.probes.native import libraries, memory, sysctl
from impetus.hw.probes.native.core_foundation import CoreFoundation
from impetus.hw.probes.native.energy import Counter, Power, States, to_gpu_activity, to_power
from impetus.hw.probes.native.hid import HidSensors, to_chip_heat
from impetus.hw.probes.native.io_report import IoReport
from impetus.hw.probes.native.process_info import Objects, ProcessInfo, ThermalPressure, read_gpu_limits
from impetus.hw.probes.native.readings import NativeReadings, to_thermal
from impetus.hw.probes.native.registry import GpuLoad, Registry, to_clocks
from impetus.hw.probes.native.smc import LENGTH, Smc, SmcReading, hottest, request, to_info, to_number
from impetus.hw.profile import Reading

GIB = 1024**3
not_on_a_mac = pytest.mark.skipif(sys.platform == "darwin", reason="here the libraries are there")


@not_on_a_mac
def test_without_macos_every_library_tells_nothing():
    foundation = CoreFoundation()
    registry = Registry(foundation)
    objects = Objects()
    assert libraries.open_library(libraries.SYSTEM) is None
    assert libraries.bind(libraries.IO_KIT, "IOServiceMatching", ctypes.c_void_p) is None
    assert sysctl.open_sysctl() is None
    assert memory.HostMemory().read_used_bytes() is None
    assert ThermalPressure().read_level() is None
    assert (ProcessInfo(objects).read_low_power(), ProcessInfo(objects).read_thermal_state()) == (None, None)
    assert read_gpu_limits(objects) == (None, None)
    assert (registry.read_gpu_cores(), registry.read_gpu_clocks(), registry.connect("AppleSMC")) == (None, (), None)
    assert registry.read_gpu_load() == GpuLoad()
    assert IoReport(foundation).read() == ([], [], 0.0)
    assert HidSensors(foundation).read_chip_heat() is None
    assert (foundation.available, foundation.to_text(7), list(foundation.items(7))) == (False, None, [])


@not_on_a_mac
def test_the_readings_of_no_mac_are_none():
    readings = NativeReadings()
    assert readings.read_sysctl(["hw.memsize"]) == {}
    assert readings.read_facts() == {}
    assert readings.read_load() == {}


class Kernel:
    """Answers sysctlbyname as the C function does, by addresses."""

    def __init__(self, values):
        self.values = values

    def __call__(self, name, buffer, size, new, new_length):
        value = self.values.get(name.decode())
        if value is None:
            return -1
        length = ctypes.cast(size, ctypes.POINTER(ctypes.c_size_t))
        if buffer is not None:
            if length[0] < len(value):
                return -1
            ctypes.memmove(buffer, value, len(value))
        length[0] = len(value)
        return 0


def test_kernel_values_are_read_in_the_size_that_the_kernel_gives():
    kernel = Kernel(
        {
            "hw.memsize": struct.pack("<Q", 17179869184),
            "hw.ncpu": struct.pack("<i", 10),
            "hw.perflevel0.name": b"Super\0",
            "machdep.cpu.brand_string": b"Apple M5 \0",
            "hw.cpufamily": struct.pack("<i", -634136515),
            "vm.swapusage": struct.pack("<3QII", 9 << 30, 1 << 30, 8 << 30, 16384, 1),
            "hw.empty": b"",
        }
    )

    def read(name):
        return sysctl.read_raw(kernel, name)

    assert sysctl.read_keys(read, [*kernel.values, "hw.unheard"]) == {
        "hw.memsize": "17179869184",
        "hw.ncpu": "10",
        "hw.perflevel0.name": "Super",
        "machdep.cpu.brand_string": "Apple M5",
        "hw.cpufamily": "-634136515",
    }
    assert sysctl.to_swap_used(read("vm.swapusage")) == 8 << 30
    assert sysctl.to_swap_used(b"\1\2") is None


def vm_statistics(**pages):
    raw = bytearray(160)
    for name, at in {"wired": 12, "purgeable": 88, "compressor": 128, "internal": 140}.items():
        struct.pack_into("<I", raw, at, pages.get(name, 0))
    return bytes(raw)


def test_memory_in_use_is_taken_from_fixed_places():
    raw = vm_statistics(wired=100, purgeable=30, compressor=50, internal=400)
    assert memory.to_used_bytes(raw, 16384) == 520 * 16384
    assert memory.to_used_bytes(vm_statistics(purgeable=30), 16384) is None
    assert memory.to_used_bytes(raw[:151], 16384) is None
    assert memory.to_used_bytes(raw, 0) is None


@pytest.mark.parametrize(("wanted", "told"), [(38, True), (40, True), (62, True), (62, False)])
def test_a_kernel_with_a_longer_structure_is_asked_once_more(wanted, told):
    raw = vm_statistics(internal=7).ljust(wanted * 4, b"\0")[: wanted * 4]
    asked = []

    def ask(values, count):
        asked.append(count.value)
        if count.value < wanted:
            count.value = wanted if told else count.value
            return -307
        ctypes.memmove(values, raw, len(raw))
        count.value = wanted
        return 0

    assert memory.to_used_bytes(memory.read_statistics(ask), 4096) == 7 * 4096
    assert asked == [38] if wanted == 38 else [38, wanted]


@pytest.mark.parametrize("code", [-307, 5])
def test_a_kernel_that_refuses_leaves_the_memory_unknown(code):
    asked = []

    def refuse(values, count):
        asked.append(count.value)
        return code

    assert memory.read_statistics(refuse) is None
    assert len(asked) == (2 if code == -307 else 1)


M2_ULTRA_GPU = [0, 444, 612, 808, 968, 1110, 1236, 1338, 1398]
M2_ULTRA_MV = [400, 618, 640, 671, 712, 778, 837, 890, 928]


def states_table(hertz, millivolts):
    return b"".join(struct.pack("<II", *pair) for pair in zip(hertz, millivolts, strict=True))


def test_the_clocks_of_the_gpu_leave_out_the_state_off():
    raw = states_table([mhz * 10**6 for mhz in M2_ULTRA_GPU], M2_ULTRA_MV)
    assert to_clocks(raw) == tuple(float(mhz) for mhz in M2_ULTRA_GPU[1:])
    assert to_clocks(states_table([1_020_000, 4_512_000], [700, 1100])) == (1020.0, 4512.0)
    assert to_clocks(states_table([7, 0xFFFFFFFF], [1, 1])) == ()
    assert to_clocks(b"\1\2\3") == ()


def test_the_clock_of_the_gpu_is_the_mean_over_the_time_it_was_on():
    residencies = (("OFF", 60), ("P1", 30), ("P2", 0), ("P3", 10))
    channels = [States("GPU Stats", "GPU_SW", (("P1", 1),)), States("GPU Stats", "GPUPH", residencies)]
    assert to_gpu_activity(channels, (400.0, 600.0, 800.0)) == (40.0, 500.0)
    assert to_gpu_activity(channels, (400.0, 600.0)) == (40.0, None)
    idle = [States("GPU Stats", "GPUPH", (("OFF", 5), ("P1", 0)))]
    assert to_gpu_activity(idle, (400.0,)) == (0.0, None)
    assert to_gpu_activity([], (400.0,)) == (None, None)


def test_power_is_summed_over_dies_and_the_gpu_counted_once():
    counters = [
        Counter("Energy Model", "GPU Energy", "nJ", 540_000_000),
        Counter("Energy Model", "GPU0_0", "mJ", 540),
        Counter("Energy Model", "DIE_0_CPU Energy", "mJ", 4000),
        Counter("Energy Model", "DIE_1_CPU Energy", "mJ", 2000),
        Counter("Energy Model", "DRAM0_0", "mJ", 1720),
        Counter("Energy Model", "DRAM0_1", "mJ ", 1700),
        Counter("Energy Model", "ANE0_0", "mJ", 0),
        Counter("Energy Model", "apciec2 Energy", "uJ", 5),
        Counter("CPU Stats", "GPU Energy", "nJ", 9),
    ]
    power = to_power(counters, 2.0)
    assert power == Power(cpu_w=3.0, gpu_w=0.27, ane_w=None, dram_w=1.71)
    assert power.chip_w == pytest.approx(4.98)


def test_counters_that_stand_still_are_unknown_and_not_zero():
    gone = [Counter("Energy Model", "GPU Energy", "nJ", 0), Counter("Energy Model", "CPU Energy", "mJ", -(1 << 63))]
    assert to_power(gone, 1.0) == Power()
    assert to_power(gone, 1.0).chip_w is None
    assert to_power([Counter("Energy Model", "GPU Energy", "nJ", 10**15)], 1.0) == Power()
    assert to_power([Counter("Energy Model", "GPU Energy", "furlongs", 5)], 1.0) == Power()
    assert to_power([Counter("Energy Model", "GPU Energy", "nJ", 5)], 0.0) == Power()


def flt(value):
    return "flt ", struct.pack("<f", value)


class Controller:
    """A system management controller with some keys; answers as the kernel does."""

    def __init__(self, keys):
        self.keys = {**keys, "#KEY": ("ui32", (len(keys) + 1).to_bytes(4, "big"))}
        self.asked = 0

    def __call__(self, wanted):
        self.asked += 1
        assert len(wanted) == LENGTH
        answer = bytearray(LENGTH)
        command, index = wanted[42], struct.unpack_from("<I", wanted, 44)[0]
        name = wanted[3::-1].decode()
        if command == 8:
            answer[0:4] = list(self.keys)[index].encode()[::-1]
        elif name not in self.keys:
            answer[40] = 132
        else:
            kind, value = self.keys[name]
            struct.pack_into("<I", answer, 28, len(value))
            answer[32:36] = kind.encode()[::-1]
            if command == 5:
                assert struct.unpack_from("<I", wanted, 28)[0] == len(value)
                answer[48 : 48 + len(value)] = value
        return bytes(answer)


M3_HEAT = {"Tg0C": b"\x00\x2c\x19\x42", "Tg0D": b"\x9a\xc5\x30\x42", "Tg0P": b"\xbc\xa1\x31\x42"}
"""Recorded: 38.3, 44.2 and 44.4 °C."""


def test_the_controller_tells_the_hottest_sensor_the_fastest_fan_and_the_power():
    controller = Controller(
        {key: ("flt ", raw) for key, raw in M3_HEAT.items()}
        | {
            "Tp01": flt(5.0),
            "Tp05": flt(-21.5),
            "TB0T": flt(99.0),
            "Te05": ("sp78", b"\x7f\x00"),
            "FNum": ("ui8 ", b"\x02"),
            "F0Ac": flt(1378.0),
            "F1Ac": flt(1494.0),
            "PSTR": flt(30.5),
        }
    )
    smc = Smc(controller)
    first = smc.read()
    assert first.temperature_c == pytest.approx(44.4, abs=0.05)
    assert (first.fan_rpm, first.system_w) == (1494.0, 30.5)
    assert smc.read_fan_count() == 2
    controller.asked = 0
    assert smc.read() == first
    # Sensors are found once, and types are remembered: five temperatures, two fans, their number and the power.
    assert controller.asked == 9


def test_a_controller_without_keys_tells_nothing_and_one_without_fans_says_so():
    assert Smc(Controller({})).read() == SmcReading()
    assert Smc(Controller({})).read_fan_count() is None
    assert Smc(lambda wanted: None).read() == SmcReading()
    fanless = Smc(Controller({"FNum": ("ui8 ", b"\0"), "PSTR": flt(0.0)}))
    assert (fanless.read_fan_count(), fanless.read()) == (0, SmcReading())
    resting = Smc(Controller({"FNum": ("ui8 ", b"\1"), "F0Ac": flt(0.0)}))
    assert resting.read().fan_rpm == 0.0


def test_the_structure_of_the_controller():
    wanted = request("FNum", 9, size=1, index=3)
    assert (wanted[0:4], wanted[42], wanted[28], wanted[44]) == (b"muNF", 9, 1, 3)
    assert to_info(b"\0" * 28 + b"\4\0\0\0" + b" tlf" + b"\0" * 44) == (4, "flt ")


@given(st.binary(max_size=40), st.text(max_size=5))
def test_any_value_of_the_controller_is_a_number_or_nothing(raw, kind):
    for name in (kind, "flt ", "ui8 ", "ui16", "ui32", "sp78", "fpe2"):
        number = to_number(name, raw)
        assert number is None or abs(number) < 4e38


@given(st.binary(max_size=200))
def test_any_bytes_of_the_kernel_are_read_without_a_fault(raw):
    to_clocks(raw)
    sysctl.to_integer(raw)
    sysctl.to_text(raw)
    sysctl.to_swap_used(raw)
    memory.to_used_bytes(raw, 16384)


def test_sensors_of_calibration_are_no_temperatures():
    readings = [("GPU MTR Temp Sensor4", 27.6), ("PMU tdie1", 37.3)]
    readings += [("PMU tcal", 51.9), ("PMU2 TR0Z", 51.9), ("PMU tdev4", -21.5), ("NAND CH0 temp", 45.0)]
    assert to_chip_heat(readings) == 37.3
    assert to_chip_heat([("PMU tdie1", -21.5)]) is None
    assert hottest([None, 8.0, 131.0]) is None


@pytest.mark.parametrize(
    ("level", "state", "expected"),
    [
        (None, None, None),
        ("nominal", "nominal", Reading("nominal", "notify(3)")),
        ("heavy", "moderate", Reading("heavy", "notify(3)")),
        ("nominal", "moderate", Reading("nominal", "notify(3)")),
        ("nominal", "trapping", Reading("trapping", "NSProcessInfo thermalState")),
        (None, "moderate", Reading("moderate", "NSProcessInfo thermalState", estimated=True)),
        (None, "nominal", Reading("nominal", "NSProcessInfo thermalState")),
    ],
)
def test_the_hotter_of_two_opinions_holds(level, state, expected):
    assert to_thermal(level, state) == expected


class Told:
    """Stands for the libraries of a Mac that tell some signals."""

    def __init__(self, keys=None, facts=None, load=None):
        self.keys, self.facts, self.load = keys or {}, facts or {}, load or {}

    def read_sysctl(self, names):
        return {name: self.keys[name] for name in names if name in self.keys}

    def read_facts(self):
        return {name: Reading(value, "library") for name, value in self.facts.items()}

    def read_load(self):
        return {name: Reading(value, "library") for name, value in self.load.items()}


M4_KEYS = {
    "machdep.cpu.brand_string": "Apple M4",
    "hw.model": "Mac16,12",
    "hw.memsize": str(16 * GIB),
    "hw.ncpu": "10",
    "hw.nperflevels": "2",
    "hw.perflevel0.physicalcpu": "4",
    "hw.perflevel0.name": "Performance",
    "hw.perflevel1.physicalcpu": "6",
    "hw.perflevel1.name": "Efficiency",
    "kern.osproductversion": "26.1",
    "kern.hv_vmm_present": "0",
}
VITAL = {
    "memory_total_bytes": 16 * GIB,
    "memory_used_bytes": 6 * GIB,
    "memory_pressure": "normal",
    "swap_used_bytes": 0,
    "gpu_percent": 12.0,
    "gpu_memory_bytes": GIB,
    "low_power_mode": False,
    "thermal_level": "moderate",
}


def test_where_the_libraries_tell_all_no_program_is_run(monkeypatch):
    monkeypatch.setattr(
        "psutil.sensors_battery", lambda: type("B", (), {"percent": 80, "power_plugged": False})(), raising=False
    )
    asked = []
    native = Told(M4_KEYS, {"gpu_cores": 10, "working_set_bytes": 11 * GIB, "fanless": True}, VITAL)
    probe = MacosProbe(native, run=lambda arguments: asked.append(arguments))
    profile = HardwareDetector(probe).detect()
    sample = probe.read_sample([])
    assert asked == []
    assert (profile.chip.value, profile.gpu_cores, profile.fanless.source) == ("Apple M4", Reading(10, "library"), "library")
    assert (profile.system, profile.memory_bandwidth_gbs.value) == ("macOS 26.1", 120)
    assert (sample.memory_available_bytes, sample.thermal_level, sample.swap_used_bytes) == (10 * GIB, "moderate", 0)
    assert (sample.on_battery, sample.battery_percent, sample.sources["on_battery"]) == (True, 80.0, "psutil")


def test_each_signal_that_the_libraries_do_not_tell_comes_from_a_program(printed_mac, monkeypatch):
    monkeypatch.setattr("psutil.sensors_battery", lambda: None, raising=False)
    pages = ["Mach Virtual Memory Statistics: (page size of 16384 bytes)", "Pages wired down: 10.", "Pages purgeable: 0."]
    pages += ["Anonymous pages: 20.", "Pages occupied by compressor: 5."]
    mac = printed_mac({"vm_stat": pages, "ioreg IOAccelerator": ['"Device Utilization %"=30,', '"gpu-core-count" = 10 ']})
    load = {name: value for name, value in VITAL.items() if name not in {"memory_used_bytes", "gpu_percent"}}
    probe = MacosProbe(Told(M4_KEYS, load=load), run=mac)
    assert probe.read_profile().gpu_cores == Reading(10, "ioreg gpu-core-count")
    mac.asked.clear()
    sample = probe.read_sample([])
    assert (sample.memory_used_bytes, sample.gpu_percent) == (35 * 16384, 30.0)
    assert (sample.sources["memory_used_bytes"], sample.sources["swap_used_bytes"]) == ("vm_stat", "library")
    assert {asked.split()[0] for asked in mac.asked} == {"vm_stat", "ioreg", "pmset"}


def test_a_virtual_machine_has_no_gpu_of_apples():
    native = Told(M4_KEYS | {"kern.hv_vmm_present": "1"}, {"gpu_cores": 10, "fanless": True})
    profile = HardwareDetector(MacosProbe(native, run=lambda arguments: None)).detect()
    assert (profile.gpu_cores, profile.fanless, profile.memory_bandwidth_gbs) == (None, None, None)


@not_on_a_mac
def test_without_libraries_the_programs_tell_everything(printed_mac):
    mac = printed_mac({"sysctl": [f"{name}: {value}" for name, value in M4_KEYS.items()]})
    assert HardwareDetector(MacosProbe(run=mac)).detect().tier_name == "M4"
