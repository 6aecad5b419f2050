"""Reads a quantisation's name out of a file's name, and says which one to take where nobody chose."""

from __future__ import annotations

import re

_NAME = re.compile(
    r"(?<![A-Z0-9])(?P<name>(?:UD-)?(?:I?Q[1-9](?:_(?:0|1|K|NL|XXS|XS|S|M|L|XL))*|TQ[12]_0|MXFP4(?:_MOE)?|NVFP4|BF16|FP?16|FP?32))"
    r"(?![A-Z0-9_])",
    re.IGNORECASE,
)

PREFERRED = (
    "Q4_K_M", "UD-Q4_K_XL", "Q4_K_S", "Q4_0", "Q4_1", "MXFP4", "MXFP4_MOE", "IQ4_NL", "IQ4_XS", "Q5_K_M", "Q5_K_S", "Q5_0",
    "Q5_1", "Q6_K", "Q8_0", "4-bit", "6-bit", "8-bit", "Q3_K_L", "Q3_K_M", "Q3_K_S",
)  # fmt: skip
"""From the best bargain of size and quality downwards."""


def find_quantization(name: str) -> str | None:
    """Finds the last quantisation a file name speaks of, as "Q4_K_M"; None where it speaks of none."""
    found = [match["name"].upper() for match in _NAME.finditer(name)]
    return found[-1].replace("FP16", "F16").replace("FP32", "F32") if found else None


def preference(quantization: str | None) -> int:
    """Ranks a quantisation for a user who named none; the lowest is taken."""
    return PREFERRED.index(quantization) if quantization in PREFERRED else len(PREFERRED)


def same_quantization(one: str | None, other: str) -> bool:
    """Says whether two words mean the same numbers: "fp16" and "F16", "4bit" and "4-bit"."""
    return one is not None and _plain(one) == _plain(other)


def _plain(name: str) -> str:
    low = name.lower().replace("-", "").replace("_", "").replace("bits", "bit")
    return f"f{low[2:]}" if low in ("fp16", "fp32") else low
