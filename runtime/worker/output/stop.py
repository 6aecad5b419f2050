"""Stop strings: found across the borders of tokens, and never shown in part."""

from __future__ import annotations

from collections.abc import Sequence


class StopFilter:
    """Lets text through up to the stop string that is complete first; of two that end together, the longer one.

    What may be the beginning of a stop string is held back until the text after it decides.
    """

    __slots__ = ("_held", "_stops", "met", "stopped")

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held: str = ""
        self.stopped = False
        """Whether a stop string was met; nothing comes out after it."""
        self.met: str | None = None
        """The one that was met."""

    def push(self, text: str) -> str:
        """Takes new text and gives what is safe to show."""
        if self.stopped:
            return ""
        text = self._held + text
        end, start = min(((at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0), default=(-1, -1))
        if end >= 0:
            self.stopped = True
            self.met = text[start:end]
            self._held = ""
            return text[:start]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """Ends the text and gives what was still held back."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of a text are a true beginning of a stop string."""
    at = max(0, len(text) - len(stop) + 1)
    while (at := text.find(stop[0], at)) >= 0:
        if stop.startswith(text[at:]):
            return len(text) - at
        at += 1
    return 0
