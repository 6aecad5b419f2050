"""A benchmark as bars of text, which a terminal and a Markdown card both show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .bench_result import BenchResult

WIDTH: Final = 40
"""Cells of the longest bar."""
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"


def to_plot(result: BenchResult) -> str:
    """Draws how fast a prompt is read and written after, by its length, and how much several answers give together.

    Each group has a scale of its own, as reading is many times faster than writing. What was not measured has no bar.
    """
    read = [(f"{point.prompt_tokens:,}", point.prefill_tps) for point in result.points]
    written = [(f"{point.prompt_tokens:,}", point.decode_tps) for point in result.points]
    together = [(f"{each.streams:,}", each.total_tps) for each in result.streams]
    groups = (
        ("prefill, tok/s, by tokens of prompt", read),
        ("decode, tok/s, by tokens of prompt", written),
        ("all answers, tok/s, by how many at once", together),
    )
    drawn = [_group(title, [(label, value) for label, value in bars if value is not None]) for title, bars in groups]
    return "\n\n".join(group for group in drawn if group)


def _group(title: str, bars: Sequence[tuple[str, float]]) -> str:
    if not bars:
        return ""
    most, width = max(value for _, value in bars), max(len(label) for label, _ in bars)
    lines = [f"{label:>{width}} {_bar(value / most if most else 0)} {value:,.1f}" for label, value in bars]
    return "\n".join([title, *lines])


def _bar(share: float) -> str:
    eighths = round(max(0.0, min(1.0, share)) * WIDTH * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).ljust(WIDTH)[:WIDTH]
