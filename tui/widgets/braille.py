"""Areas drawn with braille dots: two columns and four rows of dots in one cell."""

from __future__ import annotations

from collections.abc import Sequence

_LEFT = (0x00, 0x40, 0x44, 0x46, 0x47)
_RIGHT = (0x00, 0x80, 0xA0, 0xB0, 0xB8)
_BLANK = 0x2800


def area(values: Sequence[float | None], width: int, height: int, *, top: float) -> list[str]:
    """Draws the newest values as a filled area that ends at the right edge.

    Args:
        values: two per cell, oldest first; None leaves a gap.
        width: in cells.
        height: in cells.
        top: the value that fills the whole height.

    Returns:
        The rows, the highest first, each of `width` characters.
    """
    newest = list(values[-2 * width :])
    levels = [_level(value, height * 4, top) for value in [None] * (2 * width - len(newest)) + newest]
    rows: list[str] = []
    for row in range(height - 1, -1, -1):
        low = row * 4
        rows.append(
            "".join(
                chr(_BLANK | _LEFT[max(0, min(4, left - low))] | _RIGHT[max(0, min(4, right - low))])
                for left, right in zip(levels[::2], levels[1::2], strict=True)
            )
        )
    return rows


def _level(value: float | None, dots: int, top: float) -> int:
    if value is None or top <= 0:
        return 0
    # A known value shows at least one dot: nothing is drawn only for what is unknown.
    return max(1, min(dots, round(value / top * dots)))
