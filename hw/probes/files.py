"""Reads small files of /proc and /sys: what is absent, forbidden or empty is None."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")


def read_text(path: Path) -> str | None:
    """Reads a file without the zero bytes and white space at its ends."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return None
    return text.strip("\0 \t\r\n") or None


def read_integer(path: Path) -> int | None:
    """Reads a file that holds one decimal number."""
    text = read_text(path)
    return int(text) if text is not None and _INTEGER.fullmatch(text) else None


def list_paths(folder: Path, pattern: str) -> list[Path]:
    """Lists what matches in a folder, sorted by name; nothing where the folder is absent or forbidden."""
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []
