"""Text that grows at its end: the log, a conversation."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from textual.reactive import reactive
from textual.strip import Strip

from ..format import clean, wrap
from .lines import width_of
from .scroller import Scroller

MAX_PARAGRAPHS = 4000
"""Older ones are forgotten."""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A text with a head before its first line; further lines are indented by the head's width."""

    text: str
    tone: str = ""
    head: str = ""
    head_tone: str = "dim"


@dataclass(frozen=True, slots=True)
class _Line:
    head: str
    head_tone: str
    text: str
    tone: str


class Flow(Scroller):
    """Wraps paragraphs to its width; adding to the end costs as much as what is added."""

    follow = reactive(True, repaint=False, init=False)

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._paragraphs: deque[Paragraph] = deque(maxlen=MAX_PARAGRAPHS)
        self._lines: list[_Line] = []
        self._wrapped_width = 0

    @property
    def text(self) -> str:
        """Everything in it, for tests and for copying."""
        return "\n".join(paragraph.head + paragraph.text for paragraph in self._paragraphs)

    def line_count(self) -> int:
        """Counts the lines after wrapping."""
        return len(self._lines)

    def build_line(self, index: int, width: int) -> Strip:
        """Gives one line."""
        line = self._lines[index]
        return self.line([(line.head, self.tone(line.head_tone)), (line.text, self.tone(line.tone))], width)

    def fill(self, paragraphs: Iterable[Paragraph]) -> None:
        """Puts these in place of everything."""
        self._paragraphs = deque(paragraphs, maxlen=MAX_PARAGRAPHS)
        self._wrap_all()

    def append(self, paragraphs: Iterable[Paragraph]) -> None:
        """Adds paragraphs at the end."""
        for paragraph in paragraphs:
            if len(self._paragraphs) == MAX_PARAGRAPHS:
                # A quarter at once, so that wrapping all of the rest again is rare.
                self._paragraphs = deque(islice(self._paragraphs, MAX_PARAGRAPHS // 4, None), maxlen=MAX_PARAGRAPHS)
                self._lines = [line for kept in self._paragraphs for line in self._wrap(kept)]
            self._paragraphs.append(paragraph)
            self._lines.extend(self._wrap(paragraph))
        self.lines_changed()

    def extend(self, text: str) -> None:
        """Adds text to the last paragraph."""
        last = self._paragraphs.pop()
        whole = Paragraph(last.text + text, last.tone, last.head, last.head_tone)
        self._paragraphs.append(whole)
        line_start = last.text.rfind("\n") + 1
        if line_start and self._wrapped_width:
            # Earlier lines of the paragraph are wrapped already: only its last one is wrapped again.
            indent = " " * width_of(last.head)
            self._drop(Paragraph(last.text[line_start:], last.tone, indent))
            self._lines.extend(self._wrap(Paragraph(whole.text[line_start:], whole.tone, indent)))
        else:
            self._drop(last)
            self._lines.extend(self._wrap(whole))
        self.lines_changed()

    def on_resize(self) -> None:
        """Wraps for the new width."""
        if self.size.width != self._wrapped_width:
            self._wrap_all()
        super().on_resize()

    def _wrap_all(self) -> None:
        self._wrapped_width = self.size.width
        self._lines = [line for paragraph in self._paragraphs for line in self._wrap(paragraph)]
        self.lines_changed()

    def _drop(self, paragraph: Paragraph) -> None:
        del self._lines[len(self._lines) - len(self._wrap(paragraph)) :]

    def _wrap(self, paragraph: Paragraph) -> list[_Line]:
        indent = width_of(paragraph.head)
        room = max(8, self.size.width - indent - 1)
        lines: list[_Line] = []
        for place, text in enumerate(wrap(clean_lines(paragraph.text), room)):
            head = paragraph.head if place == 0 else " " * indent
            lines.append(_Line(head, paragraph.head_tone, text, paragraph.tone))
        return lines


def clean_lines(text: str) -> str:
    """Makes a text safe line by line."""
    return "\n".join(clean(line.rstrip("\r")) for line in text.split("\n"))
