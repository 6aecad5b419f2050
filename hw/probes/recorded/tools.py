"""What other programs print: ioreg, vm_stat, pmset, powermetrics, Metal's and MLX's own lines, sw_vers, uname."""

from __future__ import annotations

import re
from typing import Final

from ... import thermal
from ...profile import CpuLevel
from .. import macos_parsing as parsing
from ..macos_parsing import THERMAL_WORDS
from ..native.smc import hottest
from .evidence import Evidence, Rank
from .sysctl_texts import to_version
from .values import find_model, is_model, to_brand, to_memory

_MEGA: Final = 10**6
_MIB: Final = 1 << 20
_GPU_NAME: Final = re.compile(
    r"(?:GPU name|found device|picking default device|Device name|GPU|device_name):\s*"
    r"(?:MTL[0-9]+ )?\(?(Apple [^\n()]{2,30})"
)
_PERCENT: Final = r"([0-9]{0,3}\.?[0-9]{1,4})%"


def read_tools(label: str, text: str, found: Evidence) -> None:
    """Notes what any of the programs that we know by their output says."""
    _read_ioreg(text, found)
    _read_memory(label, text, found)
    _read_power_source(label, text, found)
    _read_powermetrics(text, found)
    _read_metal(label, text, found)
    _read_version(label, text, found)
    _read_translation(text, found)
    _read_kernel(label, text, found)
    _read_monitors(text, found)
    _read_smctemp(label, text, found)
    _read_summaries(label, text, found)
    _read_thermal(label, text, found)


def _read_ioreg(text: str, found: Evidence) -> None:
    if '"' not in text or "=" not in text:
        return
    gpu = parsing.parse_gpu(text)
    variable = re.search(r'"num_cores"\s*=\s*([0-9]{1,4})(?=[,}\s])', text)
    found.add("gpu_cores", gpu.cores, "ioreg gpu-core-count", Rank.DRIVER)
    found.add("gpu_cores", int(variable[1]) if variable is not None else None, "ioreg num_cores", Rank.DRIVER)
    found.add("gpu_percent", gpu.busy_percent, "ioreg Device Utilization %", Rank.DRIVER)
    found.add("gpu_memory_bytes", gpu.memory_bytes, "ioreg In use system memory", Rank.DRIVER)
    found.add("brand", to_brand(gpu.chip or ""), "ioreg model", Rank.DRIVER)
    found.add("virtual", "Apple Paravirtual" in text or None, "ioreg", Rank.DRIVER)
    model = re.search(r'"model"\s*=\s*<"([^"]{1,40})">', text)
    if model is not None and is_model(model[1]):
        found.add("model", model[1], "ioreg model", Rank.DRIVER)


def _read_memory(label: str, text: str, found: Evidence) -> None:
    found.add("memory_used_bytes", parsing.parse_memory_used(text), "vm_stat", Rank.REPORT)
    system = re.search(r"The system has ([0-9]{8,15}) \([0-9]+ pages with a page size of [0-9]+\)", text)
    found.add("memory_bytes", to_memory(int(system[1])) if system is not None else None, "memory_pressure", Rank.DRIVER)
    found.add("free_percent", parsing.parse_free_percent(text), "memory_pressure", Rank.DRIVER)
    swap = re.search(r"total\s*=\s*\S+\s+used\s*=\s*\S+\s+free\s*=", text)
    found.add("swap_used_bytes", parsing.parse_swap_used(text) if swap else None, "vm.swapusage", Rank.DRIVER)
    if text.strip().isdecimal() and "memorystatus_vm_pressure_level" in label:
        found.add("memory_pressure", parsing.parse_pressure_level(text.strip()), "sysctl", Rank.KERNEL)


def _read_power_source(label: str, text: str, found: Evidence) -> None:
    source = parsing.parse_power_source(text)
    found.add("on_battery", source.on_battery, "pmset -g batt", Rank.REPORT)
    found.add("battery_percent", source.battery_percent, "pmset -g batt", Rank.REPORT)
    if re.search(r"^\s*(AC|Battery|UPS) Power:", text, re.MULTILINE) is None:
        found.add("low_power", parsing.parse_low_power(text), "pmset -g", Rank.REPORT)
    if "isLowPowerModeEnabled" in label and text.strip() in {"true", "false"}:
        found.add("low_power", text.strip() == "true", "NSProcessInfo", Rank.KERNEL)


def _read_powermetrics(text: str, found: Evidence) -> None:
    """Notes the last sample's figures; a share may be printed as ".97%"."""
    model = re.search(r"^Machine model:\s*(\S+)", text, re.MULTILINE)
    if model is not None and is_model(model[1]):
        found.add("model", model[1], "powermetrics", Rank.REPORT)
    busy = _last(rf"GPU (?:HW )?active residency:\s*{_PERCENT}", text)
    clock = _last(r"GPU (?:HW )?active frequency:\s*([0-9]{1,6}) MHz", text)
    chip = _last(r"(?:Combined|Package) Power[^:\n]{0,40}:\s*([0-9]{1,7}) mW", text)
    gpu = _last(r"^GPU Power:\s*([0-9]{1,7}) mW", text)
    energy = _last(r"GPU Energy \(nJ\) = ([0-9]{1,4}\.[0-9]{1,4})W", text)
    found.add("gpu_power_w", energy or None, "IOReport Energy Model", Rank.TOOL)
    found.add("gpu_percent", busy, "powermetrics", Rank.REPORT, changes=True)
    found.add("gpu_mhz", clock or None, "powermetrics", Rank.REPORT, changes=True)
    found.add("chip_power_w", chip / 1000 if chip else None, "powermetrics", Rank.REPORT, changes=True)
    found.add("gpu_power_w", gpu / 1000 if gpu else None, "powermetrics", Rank.REPORT, changes=True)


def _read_metal(label: str, text: str, found: Evidence) -> None:
    """Notes what ggml and Metal say of the GPU: its name, and the most it may hold.

    Its first builds printed MiB under the name of MB, with one space before the sign.
    """
    name = _GPU_NAME.search(text)
    if name is not None:
        found.add("brand", to_brand(name[1]), "Metal", Rank.DRIVER)
    limit = re.search(r"recommendedMaxWorkingSetSize(\s*)[=:]\s*([0-9]{1,15}(?:\.[0-9]{1,4})?)(?:\s*(MiB|MB|GB))?", text)
    if limit is not None:
        found.add("working_set_bytes", _limit_bytes(text, *limit.groups()), "Metal", Rank.DRIVER)
    torch = re.search(r"recommended_max_memory(?:\(\))?\W{1,4}([0-9]{9,15})\b", f"{label}: {text}")
    found.add("working_set_bytes", int(torch[1]) if torch is not None else None, "Metal", Rank.DRIVER)
    cores = re.search(
        r"GPU (?:core count|cores)\s*[:=]\s*([0-9]{1,4})\b"
        r"|\bGPU(?::| \|)\s*(?:(?:Integrated )?Apple [AM][0-9]{1,3}(?: [A-Z][a-z]+)?(?:,| -) )?([0-9]{1,4})[ -]cores?\b",
        text,
        re.IGNORECASE,
    )
    found.add("gpu_cores", int(cores[1] or cores[2]) if cores is not None else None, "a tool", Rank.TOOL)


def _limit_bytes(text: str, spaces: str, number: str, unit: str | None) -> int | None:
    if unit is None:
        return int(float(number)) if float(number) >= _MEGA else None
    old = "ggml_metal_device_init" not in text and (len(spaces) < 2 or "maxTransferRate" in text)
    scale = _MIB if unit == "MiB" or (unit == "MB" and old) else _MEGA if unit == "MB" else 1000 * _MEGA
    return round(float(number) * scale)


def _read_version(label: str, text: str, found: Evidence) -> None:
    stated = re.search(r"^[ \t]{0,16}ProductVersion:\s*([0-9.]+)\s*(?:BuildVersion:|$)", text, re.MULTILINE)
    if stated is not None:
        found.add("macos", to_version(stated[1]), "sw_vers", Rank.KERNEL)
    elif "productVersion" in label:
        found.add("macos", to_version(text), "sw_vers", Rank.KERNEL)
    platform = re.search(r"\bmacOS-([0-9]{1,2}(?:\.[0-9]{1,3}){1,2})-(arm64|x86_64)\b", text)
    if platform is not None:
        # A translated Python calls itself x86_64.
        found.add("macos", to_version(platform[1]), "Python's platform", Rank.TOOL)
        found.add("architecture", platform[2], "Python's platform", Rank.TOOL)


def _read_translation(text: str, found: Evidence) -> None:
    """Notes the processor that a translated program believes in, whoever printed it."""
    found.add("rosetta", re.search(r"\bVirtualApple @ [0-9]", text) is not None or None, "name of the processor", Rank.TOOL)


def _read_kernel(label: str, text: str, found: Evidence) -> None:
    soc = re.search(r"RELEASE_ARM64_(VMAPPLE|T[0-9]{4})\b", text)
    if soc is not None:
        found.add("architecture", "arm64", "uname", Rank.REPORT)
        found.add("virtual", soc[1] == "VMAPPLE" or None, "uname", Rank.REPORT)
        found.add("soc", soc[1].lower() if soc[1] != "VMAPPLE" else None, "uname", Rank.REPORT)
    elif "RELEASE_X86_64" in text:
        found.add("architecture", "x86_64", "uname", Rank.REPORT)
    if label.strip() in {"uname -m", "arch"} and text.strip() in {"arm64", "x86_64"}:
        # A translated program is told x86_64.
        found.add("architecture", text.strip(), label.strip(), Rank.TOOL)


def _read_monitors(text: str, found: Evidence) -> None:
    """Notes the line that SiliconScope's `sscope` prints, and kinds of cores as "6 Super + 12 Performance"."""
    line = re.search(
        r"\b[1-9][0-9]{0,2} (?:Super|Performance)"
        r"(?:(?:,| \+|,? and) [1-9][0-9]{0,2} (?:Performance|Efficiency)\b){1,2}(?!,| and| \+)",
        text,
    )
    pairs = re.findall(r"([0-9]+) ([A-Z][a-z]+)", line[0]) if line is not None else []
    found.add("level_pairs", tuple(CpuLevel(name, int(count)) for count, name in pairs), "a monitor", Rank.TOOL)
    memory = re.search(r"\bMEM [0-9.]{1,8}/([0-9]{1,5}) GB\b", text)
    found.add("memory_bytes", int(memory[1]) << 30 if memory is not None else None, "a monitor", Rank.TOOL)
    gpu = re.findall(rf"\bGPU\s+{_PERCENT} @\s+([0-9]{{1,6}}) MHz", text)
    if gpu:
        found.add("gpu_percent", float(gpu[-1][0]), "a monitor", Rank.TOOL)
        found.add("gpu_mhz", float(gpu[-1][1]) or None, "a monitor", Rank.TOOL)
    hot = [
        float(value)
        for value in re.findall(r"^\s*T[gpes]\S{2}\s+\[flt ?\]\s+(-?[0-9]{1,4}(?:\.[0-9]{1,4})?)(?![\w.])", text, re.MULTILINE)
    ]
    found.add("temperature_c", hottest(hot), "SMC", Rank.TOOL)


def _read_smctemp(label: str, text: str, found: Evidence) -> None:
    """Notes the one number that `smctemp -c` or `-g` prints."""
    sensor = re.search(r"\bsmctemp -([cg])\b", label)
    value = re.match(r"\s*([0-9]{1,3}\.[0-9]{1,2})\s*(?:\n|$)", text)
    if sensor is not None and value is not None:
        found.add("cpu_temp_avg" if sensor[1] == "c" else "gpu_temp_avg", float(value[1]), "smctemp", Rank.TOOL)


def _read_summaries(label: str, text: str, found: Evidence) -> None:
    """Notes what fastfetch and its like, hostinfo, psutil and nproc print."""
    for what, fact in (("GPU", "gpu_cores"), ("CPU", "cpu_cores")):
        cores = re.search(
            rf"^[^\w\n]{{0,12}}{what}[^:\n]{{0,12}}:\s*Apple [AM][0-9]{{1,3}}(?: (?:Pro|Max|Ultra))? \(([0-9]{{1,4}})\)",
            text,
            re.MULTILINE,
        )
        found.add(fact, int(cores[1]) if cores is not None else None, "a summary", Rank.TOOL)
    memory = re.search(r"^[^\w\n]{0,12}Memory:\s*[0-9.]{1,8}\s*[GM]iB / ([0-9]{1,7})(?:\.00)?\s*([GM])iB", text, re.MULTILINE)
    size = int(memory[1]) << (30 if memory[2] == "G" else 20) if memory is not None else None
    found.add("memory_bytes", size, "a summary", Rank.TOOL)
    used = re.search(r"^[^\w\n]{0,12}Swap:\s*([0-9]{1,4}(?:\.[0-9]{1,2})?)\s*([GM])iB / ", text, re.MULTILINE)
    swapped = round(float(used[1]) * (1 << (30 if used[2] == "G" else 20))) if used is not None else None
    found.add("swap_used_bytes", swapped, "a summary", Rank.TOOL)
    primary = re.search(r"Primary memory available: ([0-9]{1,5})\.00 gigabytes", text)
    found.add("memory_bytes", int(primary[1]) << 30 if primary is not None else None, "hostinfo", Rank.REPORT)
    logical = re.search(r"([0-9]{1,4}) processors are logically available", text)
    found.add("logical_cpus", int(logical[1]) if logical is not None else None, "hostinfo", Rank.REPORT)
    total = re.search(r"\bsvmem\(total=([0-9]{8,15}),", text)
    found.add("memory_bytes", to_memory(int(total[1])) if total is not None else None, "psutil", Rank.DRIVER)
    swap = re.search(r"\bsswap\(total=[0-9]{1,15}, used=([0-9]{1,15}),", text)
    found.add("swap_used_bytes", int(swap[1]) if swap is not None else None, "psutil", Rank.TOOL)
    battery = re.search(r"\bsbattery\(percent=([0-9]{1,3})(?:\.[0-9]+)?, .{0,80}power_plugged=(True|False)", text)
    if battery is not None:
        found.add("battery_percent", float(battery[1]), "psutil", Rank.TOOL)
        found.add("on_battery", battery[2] == "False", "psutil", Rank.TOOL)
    if re.search(r"\bnproc\b|_NPROCESSORS_ONLN|os\.cpu_count", label) and re.fullmatch(r"[0-9]{1,4}", text.strip()):
        found.add("logical_cpus", int(text), label, Rank.REPORT)


def _read_thermal(label: str, text: str, found: Evidence) -> None:
    level = re.findall(r"Current pressure level:\s*([A-Za-z]+)", text)
    if level:
        found.add("thermal_level", THERMAL_WORDS.get(level[-1].lower()), "powermetrics", Rank.REPORT)
    raw = re.search(
        r"thermalpressurelevel\"?\s*[:= ]\s*([0-9]{1,2})\b", f"{label} {text}" if text.strip().isdecimal() else text
    )
    if raw is not None:
        found.add("thermal_level", thermal.from_raw(int(raw[1])), "notify(3)", Rank.KERNEL)
    word = text.strip().lower()
    if "thermalState" in label and word in THERMAL_WORDS:
        found.add("thermal_level", THERMAL_WORDS[word], "NSProcessInfo", Rank.REPORT, estimated=word == "fair")
    if "thermalState" in label and word in {"0", "1", "2", "3"}:
        found.add("thermal_level", thermal.from_process_state(int(word)), "NSProcessInfo", Rank.REPORT, estimated=word == "1")


def read_model_anywhere(text: str, found: Evidence) -> None:
    """Notes the one model id that a text names."""
    found.add("model", find_model(text), "text", Rank.PROSE)


def _last(pattern: str, text: str) -> float | None:
    values = re.findall(pattern, text, re.MULTILINE)
    return float(values[-1]) if values else None
