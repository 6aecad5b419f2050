"""Values by their shape: a chip's name, a model's id, a size, kinds of cores; in whatever language they were printed."""

from __future__ import annotations

import re
from typing import Final

from ...chips import GIB, parse_brand
from ...profile import CpuLevel
from .evidence import Evidence, Rank

_MODEL: Final = re.compile(
    r"(?:Mac|MacBook|MacBookPro|MacBookAir|Macmini|MacPro|iMac|iMacPro|VirtualMac|VMware|Parallels|ADP)[0-9]{1,3},[0-9]{1,3}"
)
_MEMORY: Final = re.compile(r"([0-9]{1,6}(?:[.,][0-9]{1,2})?)\s*(?:(G)(?:B|iB|o|t|b|Б)?|ГБ|(T)(?:B|iB|o|t|b)?|ТБ)")
_UNIFIED: Final = re.compile(r" unified(?: memory)?(?: \([^()]{0,60}\))?$")
_CORES: Final = re.compile(r"([0-9]{1,4})\s*\(([^()]{1,200})\)")
_SPEED_STEMS: Final = (
    ("Super", ("super", "スーパー", "超级", "超級", "슈퍼", "супер")),
    (
        "Performance",
        (
            "perform",
            "leistung",
            "rendimi",
            "prestazion",
            "desempe",
            "パフォーマンス",
            "性能",
            "效能",
            "성능",
            "производит",
            "wydajno",
            "prestanda",
        ),
    ),
    (
        "Efficiency",
        (
            "effi",
            "efic",
            "effek",
            "高効率",
            "効率",
            "能效",
            "節能",
            "效率",
            "효율",
            "энергоэфф",
            "эффектив",
            "energoo",
            "energi",
        ),
    ),
)


def to_brand(text: str) -> str | None:
    """Takes a text that is a numbered Apple chip's name, or a processor's of Intel; None for any other."""
    name = " ".join(text.split())
    if parse_brand(name) is not None and not is_cut_brand(name):
        return name
    return name if re.fullmatch(r"(?:Genuine )?Intel\(R\) .{3,80}", name) and not is_cut_brand(name) else None


def is_cut_brand(text: str) -> bool:
    """Tells whether a chip's name ends in the middle, as "Appl" or "Apple M1 P"."""
    if (
        "VirtualApple".startswith(text)
        or "Apple".startswith(text)
        or text.endswith((" @", " CPU", "(R)", "(TM)"))
        or re.fullmatch(r"Apple [A-Z]", text) is not None
    ):
        return True
    word = re.fullmatch(r"Apple [AM][0-9]{1,3} ([A-Za-z]{1,4})", text)
    return word is not None and any(tier.startswith(word[1]) and tier != word[1] for tier in ("Pro", "Max", "Ultra"))


def to_memory(size_bytes: int | None) -> int | None:
    """Takes a size of memory that is a whole number of MiB; any other lost its last digits."""
    return size_bytes if size_bytes is not None and size_bytes % (1 << 20) == 0 else None


def is_model(text: str) -> bool:
    """Tells whether a text is a Mac's model id, as "Mac16,5"."""
    return _MODEL.fullmatch(text) is not None


def find_model(text: str) -> str | None:
    """Finds the one model id in a text; None where there are several, or none."""
    models = set(re.findall(rf"(?<![\w,]){_MODEL.pattern}(?![\w,])", text))
    return models.pop() if len(models) == 1 else None


def parse_memory(text: str) -> int | None:
    """Reads a size such as "16 GB", "16 Go" or "1 TB": powers of 1024, as system_profiler counts memory."""
    plain = _UNIFIED.sub("", text.strip())
    exact = re.fullmatch(r"([0-9]{1,3}(?:,[0-9]{3}){2,4}) bytes", plain)
    if exact is not None:
        return to_memory(int(exact[1].replace(",", "")))
    match = _MEMORY.fullmatch(plain)
    if match is None:
        return None
    size = float(match[1].replace(",", ".")) * (GIB * 1024 if match[3] or "Т" in text else GIB)
    return to_memory(int(size)) or None


def parse_core_counts(text: str, found: Evidence, source: str) -> bool:
    """Notes cores told as "12 (8 performance and 4 efficiency)", whatever the language; tells whether there were any."""
    match = _CORES.search(text)
    if match is None:
        return False
    total, inner = int(match[1]), match[2].lower()
    counts = [int(number) for number in re.findall(r"[0-9]{1,4}", inner)]
    if not 1 <= len(counts) <= 4 or sum(counts) != total:
        return False
    found.add("cpu_cores", total, source, Rank.REPORT)
    found.add("level_counts", "/".join(str(count) for count in counts), source, Rank.REPORT)
    spoken = [(at, name) for name, stems in _SPEED_STEMS if (at := _first(inner, stems)) is not None]
    if len(spoken) == len(counts):
        named = dict(zip([name for _, name in sorted(spoken)], counts, strict=True))
        levels = tuple(CpuLevel(name, named[name]) for name, _ in _SPEED_STEMS if named.get(name))
        found.add("levels", levels, source, Rank.REPORT)
        found.add("levels_named", True, source, Rank.REPORT)
    return True


def _first(text: str, stems: tuple[str, ...]) -> int | None:
    return min((at for stem in stems if (at := text.find(stem)) >= 0), default=None)


def read_processors(text: str, found: Evidence, source: str) -> None:
    """Notes system_profiler's `number_processors`: a count, or "proc TOTAL:…" whose parts change their order with each macOS.

    The total is always right. The parts are only counts without names; the chip's table tells which is which.
    """
    plain = re.fullmatch(r"[0-9]{1,4}", text.strip())
    if plain is not None:
        found.add("cpu_cores", int(text), source, Rank.REPORT)
        return
    match = re.fullmatch(r"proc ([0-9]{1,4})((?::[0-9]{1,4}){2,4})", text.strip())
    if match is None:
        return
    total, parts = int(match[1]), [int(part) for part in match[2].split(":")[1:]]
    if sum(parts) == total:
        found.add("cpu_cores", total, source, Rank.REPORT)
        found.add("level_counts", "/".join(str(part) for part in parts if part), source, Rank.TOOL)
