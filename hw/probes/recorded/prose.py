"""What people wrote in their own words: believed only where nothing contradicts it, and last of all."""

from __future__ import annotations

import re
from typing import Final

from ...chips import GIB
from ..macos_parsing import THERMAL_WORDS
from .evidence import Evidence, Rank
from .sysctl_texts import to_version
from .values import to_brand

_CHIP: Final = r"[AM][0-9]{1,3}(?: (?:Pro|Max|Ultra))?"
_BRAND: Final = re.compile(rf"\bApple {_CHIP}(?: \(Virtual\))?(?![\w.])(?! (?:Pr?|Ma?|Ul?t?r?)(?!\w))")
_MACBOOK: Final = re.compile(rf"\b(?:Apple )?({_CHIP}) (MacBook (?:Air|Pro)|Mac mini|Mac Studio|iMac)\b")
_NAMED: Final = re.compile(rf"\b(MacBook (?:Air|Pro)|Mac mini|Mac Studio|iMac)(?: with)? \(?(?:Apple )?({_CHIP})(?![\w.])")
_SIZE: Final = re.compile(
    r"^[^\w\n]{0,8}(?:RAM|Memory)[^\w\n]{1,9}([0-9]{1,3}) ?Gi?B(?=[^\w\n]{0,8}$|[;,.])"
    rf"|(?:\b{_CHIP}|MacBook (?:Air|Pro)|Mac mini|Mac Studio|iMac)\)?(?:, | with | )"
    r"([0-9]{1,3}) ?Gi?B (?:of )?(?:RAM|unified|memory)\b",
    re.MULTILINE,
)
"""A size that is this machine's own, not one that something requires."""
_MACOS: Final = re.compile(
    r"(?<!than )(?<!since )(?<!from )(?<!requires )(?<!before )(?<!after )(?<!until )"
    r"\bmacOS (?:(?:[A-Z][a-z]+ ){0,2}|[A-Z][a-z]+(?: [A-Z][a-z]+)?\n[ \t]{0,9}Version )"
    r"([0-9]{1,2}\.[0-9]{1,3}(?:\.[0-9]{1,3})?)\b(?! or| and later|\+)"
)
_LEVELS: Final = "nominal|moderate|heavy|trapping|sleeping"
_THERMAL: Final = re.compile(
    rf"\b({_LEVELS}) thermal pressure|\bthermal(?: ?pressure| ?state| ?level)?\s*[:=]?\s*\"?({_LEVELS})\b", re.IGNORECASE
)


def read_label(label: str, found: Evidence) -> None:
    """Notes what stands above a text: "IOReport as measured (M1 Max 32 GB, macOS 26.5)"."""
    for note in re.findall(r"\(([^()]{2,120})\)", label):
        chips = set(re.findall(rf"(?:^|[\s,;])(?:Apple )?({_CHIP})(?=$|[\s,;])", note))
        if len(chips) == 1:
            found.add("brand", f"Apple {chips.pop()}", "label", Rank.LABEL)
            memory = re.search(rf"{_CHIP},? ([0-9]{{1,3}}) GB\b", note)
            found.add("memory_bytes", int(memory[1]) * GIB if memory is not None else None, "label", Rank.LABEL)
        version = _MACOS.search(note)
        found.add("macos", to_version(version[1]) if version is not None else None, "label", Rank.LABEL)


def read_prose(text: str, found: Evidence) -> None:
    """Notes the one chip, Mac, version or thermal level that a text names."""
    # JSON that was cut behind a name may have cut that, too.
    whole = text if text[:1] not in "{[" else re.sub(r"\"[^\"]*\Z", "", text)
    brands = {" ".join(brand.split()) for brand in _BRAND.findall(whole)}
    if len(brands) == 1:
        found.add("brand", to_brand(brands.pop()), "text", Rank.PROSE)
    macs = set(_MACBOOK.findall(text)) | {(chip, name) for name, chip in _NAMED.findall(text)}
    if len(macs) == 1 and len(brands) < 2:
        chip, name = macs.pop()
        found.add("brand", f"Apple {chip}", "text", Rank.PROSE)
        found.add("model_name", name, "text", Rank.PROSE)
    for what, fact in (("GPU", "gpu_cores"), ("CPU", "cpu_cores")):
        counts = set(re.findall(rf"\b([0-9]{{1,3}})-core {what}\b", text))
        found.add(fact, int(counts.pop()) if len(counts) == 1 else None, "text", Rank.PROSE)
    sizes = {first or second for first, second in _SIZE.findall(text)}
    found.add("memory_bytes", int(sizes.pop()) * GIB if len(sizes) == 1 and len(brands) < 2 else None, "text", Rank.PROSE)
    versions = set(_MACOS.findall(text))
    if len(versions) == 1:
        found.add("macos", to_version(versions.pop()), "text", Rank.PROSE)
    levels = {(first or second).lower() for first, second in _THERMAL.findall(text)}
    if len(levels) == 1:
        found.add("thermal_level", THERMAL_WORDS[levels.pop()], "text", Rank.PROSE)
