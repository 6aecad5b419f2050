"""system_profiler's reports as text: told apart by the shape of their values, since their words are the user's language."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from ...macs import is_virtual_model
from .evidence import Evidence, Rank
from .sysctl_texts import to_version
from .values import is_model, parse_core_counts, parse_memory, to_brand

SOURCE: Final = "system_profiler"
_LINE: Final = re.compile(r"\s*([^:：=]{2,60}?)\s*[:：]\s*(\S.*?)\s*")
_CORE_WORDS: Final = re.compile(
    r"core|kern|c(?:œ|oe)ur|núcleo|nucle|コア|核|코어|ядер|ядра|rdzen|kjern|kärn|ydin|jader|mag|çekirdek|πυρήν", re.IGNORECASE
)
_MEMORY_WORDS: Final = re.compile(
    r"memor|speicher|mémoire|memór|arbeitsspeicher|メモリ|内存|記憶體|메모리|geheugen|minne|память|pamięć|hukommelse|muisti|bellek|μνήμη|ram",
    re.IGNORECASE,
)
_NO_MEMORY: Final = re.compile(r"vram|cache|speed|type|slot|upgrade|manufacturer", re.IGNORECASE)
_DISPLAYS: Final = re.compile(r"Chipset|SPDisplays|Metal|0x106b|sppci|GPU")
_SYSTEM: Final = re.compile(r"macOS (?:[A-Z][a-z]+ ){0,2}([0-9]{1,2}(?:\.[0-9]{1,3}){1,2})(?: \([0-9A-Za-z]+\))?")
_INTEL: Final = re.compile(r"(?:[A-Z][a-z]+-Core |[0-9]{1,2}-Core )?Intel (?:Core|Xeon)[ \w()-]{0,30}")
_ENABLED: Final = frozenset(
    {"Enabled", "Aktiviert", "Activé", "Activée", "Activado", "Activada", "Attivata", "有効", "已启用", "Включено"}
)
_ROW: Final = re.compile(r"\s*\|\s*([^|]{1,60}?)\s*\|\s*([^|]{1,120}?)\s*\|\s*")
_COMPUTER: Final = re.compile(
    r"(MacBook(?: Air| Pro| Neo)?|Mac mini|Mac Studio|Mac Pro|iMac(?: Pro)?)"
    r"(?: \((?:[^()]{0,60}, )?(?:20[0-9]{2}|(Mac[A-Za-z]*[0-9]{1,3},[0-9]{1,3}))\))?"
)
_UNKEYED: Final = re.compile(r"Chipset Model:?\s+(Apple [AM][0-9]{1,3}(?: (?:Pro|Max|Ultra))?)\b")
_UNKEYED_CORES: Final = re.compile(r"Total Number of Cores:?\s+([0-9]{1,4})\b(?!\s*\()")


@dataclass(slots=True)
class _Block:
    """Lines under one heading of no indentation."""

    title: str
    lines: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    text: list[str] = field(default_factory=list[str])

    @property
    def whole(self) -> str:
        """Its text, heading and all."""
        return "\n".join([self.title, *self.text])


def read_report(label: str, text: str, found: Evidence) -> None:
    """Notes what a report of hardware, displays, memory, software or power says."""
    for block in _blocks(text):
        about_displays = "SPDisplays" in label or (_DISPLAYS.search(block.whole) is not None and "SPHardware" not in label)
        about_memory = "SPMemory" in label or block.title.startswith("Memory")
        about_hardware = not about_displays and (
            "SPHardware" in label
            or "Hardware" in block.whole
            or any(is_model(value) or to_brand(value) for _, value in block.lines)
        )
        _read_identity(block.lines, found)
        for name, value in block.lines:
            if about_displays:
                _read_gpu_cores(name, value, found)
            # Somebody may have put both reports together; what tells them apart is a bare count of cores.
            if about_hardware or about_memory or about_displays:
                _read_hardware(name, value, found, bare=about_hardware)
        if about_displays:
            _read_unkeyed(block.whole, found)
    if "Power" in label or "pmset" in label:
        _read_power(text, found)


def _blocks(text: str) -> Iterator[_Block]:
    block = _Block("")
    for line in map(_without_markup, text.splitlines()):
        if re.fullmatch(r"\S[^:]{0,40}:\s*", line):
            if block.text:
                yield block
            block = _Block(line.strip())
            continue
        block.text.append(line)
        # Somebody may have put the lines into one: "Model Identifier: Mac17,6; Chip: Apple M5 Max; …".
        matches = (_LINE.fullmatch(part) for part in line.split("; "))
        named = [(match[1].rsplit(":", 1)[-1].strip(), match[2]) for match in matches if match is not None]
        # What sysctl prints is read elsewhere, and more strictly.
        block.lines += [(name, value) for name, value in named if re.fullmatch(r"[a-z]+(?:\.\w+)+", name) is None]
    yield block


def _without_markup(line: str) -> str:
    """Makes a plain line of one of a table, or of a list, in Markdown: "| **Chip** | Apple M4 |"."""
    cells = _ROW.fullmatch(line)
    plain = f"{cells[1]}: {cells[2]}" if cells is not None else line
    return re.sub(r"^(\s*)[-*]\s+|[*`]", r"\1", plain)


def _read_identity(lines: Sequence[tuple[str, str]], found: Evidence) -> None:
    for name, value in lines:
        brand = to_brand(value)
        found.add("brand", brand, SOURCE, Rank.REPORT)
        if brand is not None:
            found.add("virtual", brand.endswith("(Virtual)") or None, SOURCE, Rank.REPORT)
        found.add("virtual", value.startswith("Apple Paravirtual") or None, SOURCE, Rank.DRIVER)
        if is_model(value):
            found.add("model", value, SOURCE, Rank.REPORT)
            found.add("virtual", is_virtual_model(value) or None, SOURCE, Rank.REPORT)
            # macOS runs in VMware's machines on Intel's processors alone.
            found.add("architecture", "x86_64" if value.startswith("VMware") else None, SOURCE, Rank.TOOL)
        computer = _COMPUTER.fullmatch(value)
        if computer is not None:
            found.add("model_name", computer[1], SOURCE, Rank.REPORT)
            found.add("model", computer[2], SOURCE, Rank.TOOL)
        version = _SYSTEM.fullmatch(f"macOS {value}" if name == "macOS" else value)
        found.add("macos", to_version(version[1]) if version is not None else None, SOURCE, Rank.REPORT)
        if _INTEL.fullmatch(value) is not None:
            found.add("brand", value, SOURCE, Rank.TOOL)
            found.add("architecture", "x86_64", SOURCE, Rank.REPORT)
        # Only Intel's reports tell a clock.
        if name == "Processor Speed" or name.startswith(("Prozessorgeschw", "Vitesse du processeur")):
            found.add("architecture", "x86_64", SOURCE, Rank.TOOL)


def _read_gpu_cores(name: str, value: str, found: Evidence) -> None:
    if re.fullmatch(r"[0-9]{1,4}", value) and _CORE_WORDS.search(name) is not None:
        found.add("gpu_cores", int(value), SOURCE, Rank.REPORT)


def _read_hardware(name: str, value: str, found: Evidence, *, bare: bool) -> None:
    if parse_core_counts(value, found, SOURCE):
        return
    if bare and re.fullmatch(r"[0-9]{1,4}", value) and _CORE_WORDS.search(name) is not None and "(" not in name:
        found.add("cpu_cores", int(value), SOURCE, Rank.REPORT)
    if _NO_MEMORY.search(name) is None and _MEMORY_WORDS.search(name) is not None:
        found.add("memory_bytes", parse_memory(value), SOURCE, Rank.REPORT)
    if "Hyper-Threading" in name and value in _ENABLED:
        found.add("two_threads", True, SOURCE, Rank.REPORT)


def _read_unkeyed(text: str, found: Evidence) -> None:
    """Reads a report that somebody squeezed into one line."""
    chip, cores = _UNKEYED.search(text), _UNKEYED_CORES.search(text)
    if chip is not None:
        found.add("brand", to_brand(chip[1]), SOURCE, Rank.REPORT)
    if cores is not None:
        found.add("gpu_cores", int(cores[1]), SOURCE, Rank.REPORT)


def _read_power(text: str, found: Evidence) -> None:
    """Notes low-power mode, which each source of power has its own setting of; only the one in use counts."""
    settings: dict[str, str] = {}
    current = section = ""
    for line in text.splitlines():
        header = re.fullmatch(r"\s*(AC|Battery|UPS) Power:\s*", line)
        if header is not None:
            section = header[1]
        mode = re.fullmatch(r"\s*(?:Low ?Power ?Mode:?|lowpowermode|powermode)\s+(Yes|No|[0-9])\s*", line, re.IGNORECASE)
        if mode is not None:
            settings[section] = mode[1].lower()
        if re.fullmatch(r"\s*Current Power Source:\s*Yes\s*", line):
            current = section
    values = {settings[current]} if current in settings else set(settings.values())
    if len(values) == 1:
        found.add("low_power", values.pop() in {"yes", "1"}, "settings of power", Rank.REPORT)
    for section, name in (("AC", "low_power_ac"), ("Battery", "low_power_battery")):
        if section in settings:
            found.add(name, settings[section] in {"yes", "1"}, "settings of power", Rank.REPORT)
