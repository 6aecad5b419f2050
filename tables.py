"""How commands print: tables for people, JSON for scripts."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import msgspec

from .runtime.models.model import Speed


def write_json(values: msgspec.Struct | Sequence[msgspec.Struct]) -> None:
    """Writes values to stdout as JSON that a person can read."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(values).decode(), indent=2) + "\n")


def write_table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Writes rows to stdout below their heads, each column as wide as it needs."""
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    for row in (heads, *rows):
        sys.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")


def tell_speed(speed: Speed | None) -> str:
    """A prediction as a range with a mark, a measurement as a number."""
    if speed is None:
        return "?"
    return f"{speed.tps:.0f}" if speed.source == "measured" else f"~{speed.low_tps:.0f}-{speed.high_tps:.0f}"


def tell_gigabytes(size_bytes: int) -> str:
    """A size for people."""
    return f"{size_bytes / 1e9:.2f} GB"
