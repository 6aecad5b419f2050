"""Values as people read them: bytes, rates, times; and text made safe and cut for the screen."""

from __future__ import annotations

import re
import time

from rich.cells import cell_len, set_cell_size

from ..runtime.models.model import Speed

UNKNOWN = "unknown"
NOTHING = "–"
"""Stands in a table where a value does not exist (yet)."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


def size(value_bytes: int | None) -> str:
    """Writes bytes in binary units: "3.2 GiB", "98 MiB"."""
    if value_bytes is None:
        return UNKNOWN
    if value_bytes >= 1 << 30:
        amount = value_bytes / (1 << 30)
        return f"{amount:.1f} GiB" if amount < 1000 else f"{amount / 1024:.1f} TiB"
    if value_bytes >= 1 << 20:
        return f"{value_bytes / (1 << 20):.0f} MiB"
    return f"{value_bytes / 1024:.0f} KiB" if value_bytes else "0"


def percent(value: float | None) -> str:
    """Writes a share of 100."""
    return UNKNOWN if value is None else f"{value:.0f} %"


def bar(share: float | None, width: int) -> str:
    """Draws a share, 0..1, as a line of so many cells, to half a cell; nothing where it is unknown."""
    if share is None:
        return ""
    halves = round(max(0.0, min(1.0, share)) * width * 2)
    whole, half = divmod(halves, 2)
    return "━" * whole + "╸" * half + "─" * (width - whole - half)


def rate(tokens_per_s: float | None) -> str:
    """Writes tokens per second without the unit."""
    if tokens_per_s is None:
        return NOTHING
    return f"{tokens_per_s:.0f}" if tokens_per_s >= 1000 else f"{tokens_per_s:.1f}"


def speeds(decode: Speed, prefill: Speed | None) -> str:
    """Shows how fast a model is; a prediction as a range, never as one number."""
    writes = f"writes {speed(decode)}"
    if prefill is None:
        return f"{writes} tok/s ({decode.source})"
    if prefill.source == decode.source:
        return f"{writes}, reads {speed(prefill)} tok/s ({decode.source})"
    return f"{writes} tok/s ({decode.source}), reads {speed(prefill)} tok/s ({prefill.source})"


def speed(value: Speed | None) -> str:
    """Writes tokens per second without the unit; a prediction as a range."""
    if value is None:
        return NOTHING
    digits = 0 if value.tps >= 10 else 1
    if value.source == "measured":
        return f"{value.tps:.{digits}f}"
    return f"{value.low_tps:.{digits}f} to {value.high_tps:.{digits}f}"


def count(value: int | None) -> str:
    """Writes a count with its digits grouped."""
    return NOTHING if value is None else f"{value:,}"


def context(tokens: int | None) -> str:
    """Writes a context length: "128K", "2,000"."""
    if tokens is None:
        return NOTHING
    return f"{tokens // 1024}K" if tokens >= 1024 and tokens % 1024 == 0 else f"{tokens:,}"


def parameters(value: int | None) -> str:
    """Writes how many weights a model has: "135M", "7.6B"."""
    if value is None:
        return UNKNOWN
    return f"{value / 1e9:.1f}B" if value >= 1e9 else f"{value / 1e6:.0f}M"


def duration(seconds: float | None) -> str:
    """Writes a span of time: "84 ms", "1.2 s", "3 m 20 s"."""
    if seconds is None:
        return NOTHING
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 99.5:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} m {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} m"


def clock(epoch_s: float) -> str:
    """Writes the local time of day."""
    return time.strftime("%H:%M:%S", time.localtime(epoch_s))


def clean(text: str) -> str:
    """Replaces what could move the cursor, recolour the screen or turn the reading direction."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\t", "    ")) if not text.isprintable() else text


def one_line(text: str) -> str:
    """Joins the lines of a text and makes it safe."""
    return clean(" ".join(text.split())) if "\n" in text or "\r" in text else clean(text)


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Cuts or pads a text to a number of cells; a cut one ends in an ellipsis."""
    if width <= 0:
        return ""
    wide = len(text) if text.isascii() else cell_len(text)
    if wide > width:
        return text[: width - 1] + "…" if text.isascii() else set_cell_size(text, width - 1) + "…"
    gap = " " * (width - wide)
    return gap + text if right else text + gap


def wrap(text: str, width: int) -> list[str]:
    """Breaks a text into lines of at most so many cells, at spaces where there are any."""
    lines: list[str] = []
    for line in text.split("\n"):
        lines.extend(_wrap_line(line.rstrip("\r"), max(1, width)))
    return lines


def _wrap_line(line: str, width: int) -> list[str]:
    lines: list[str] = []
    while (len(line) if line.isascii() else cell_len(line)) > width:
        at = width if line.isascii() else max(1, len(set_cell_size(line, width).rstrip(" ")))
        space = line.rfind(" ", 0, at + 1)
        if space > width // 3:
            lines.append(line[:space])
            line = line[space + 1 :]
        else:
            lines.append(line[:at])
            line = line[at:]
    lines.append(line)
    return lines
