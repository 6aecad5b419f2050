"""The pane of the log."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import ClassVar

from textual import getters
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.reactive import reactive

from ...runtime.logbook import LogLine
from ..format import clock
from ..source import Endpoint, Source
from ..widgets.flow import Flow, Paragraph
from .pane import Pane

LEVELS = (
    (logging.DEBUG, "all"),
    (logging.INFO, "info and above"),
    (logging.WARNING, "warnings and errors"),
    (logging.ERROR, "errors"),
)
_MARKS = {
    logging.DEBUG: ("debug  ", "dim"),
    logging.INFO: ("info   ", ""),
    logging.WARNING: ("▲ warn ", "warn"),
    logging.ERROR: ("✗ error", "bad"),
    logging.CRITICAL: ("✗ fatal", "bad"),
}


class LogPane(Pane):
    """The newest log lines, filtered by level."""

    TITLE = "Log"
    FOCUS = "#log-flow"
    HELP: ClassVar[str | None] = """\
What the server, the runtime and the engines report. `l` raises the level that is shown, `f` follows the end or stays \
where you are; scrolling up stops following."""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "level", "Level", id="log.level", tooltip="Show more or fewer levels"),
        Binding("f", "follow", "Follow", id="log.follow", tooltip="Follow the end of the log, or stay"),
    ]

    flow = getters.query_one("#log-flow", Flow)
    level = reactive(1, init=False)
    """An index of LEVELS."""

    def __init__(self, source: Source, endpoint: Endpoint, *, id: str) -> None:  # noqa: A002
        super().__init__(source, endpoint, id=id)
        self._last: LogLine | None = None

    def compose(self) -> ComposeResult:
        """Gives the whole pane to the lines."""
        yield Flow(id="log-flow")

    def on_mount(self) -> None:
        """Writes the titles."""
        self.flow.write_title("Log")
        self.watch(self.flow, "follow", self._write_subtitle, init=False)
        self._write_subtitle()

    def log_changed(self) -> None:
        """Adds what is new."""
        lines = self.source.logbook.lines
        start = len(lines)
        while start and lines[start - 1] is not self._last:
            start -= 1
        if not lines or start == len(lines):
            return
        self._last = lines[-1]
        new = self._paragraphs(lines[start:])
        if start == 0:
            self.flow.fill(new)
        else:
            self.flow.append(new)

    def watch_level(self) -> None:
        """Filters anew."""
        self.flow.fill(self._paragraphs(self.source.logbook.lines))
        self._write_subtitle()

    def action_level(self) -> None:
        """Goes to the next level, after the last one to the first."""
        self.level = (self.level + 1) % len(LEVELS)

    def action_follow(self) -> None:
        """Follows, or stops following."""
        self.flow.follow = not self.flow.follow

    def _write_subtitle(self) -> None:
        following = "▾ following" if self.flow.follow else "‖ staying"
        self.flow.write_subtitle(f"{LEVELS[self.level][1]} · {following}")

    def _paragraphs(self, lines: Iterable[LogLine]) -> list[Paragraph]:
        least = LEVELS[self.level][0]
        paragraphs: list[Paragraph] = []
        for line in lines:
            if line.level >= least:
                mark, tone = _MARKS.get(line.level, (f"{line.level:<7}", ""))
                head = f" {clock(line.at_epoch_s)}  {mark}  "
                paragraphs.append(Paragraph(f"{line.source}: {line.text}", tone, head, tone or "dim"))
        return paragraphs
