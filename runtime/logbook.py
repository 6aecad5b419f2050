"""The newest log lines, kept for the dashboard's log pane."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the log."""

    at_epoch_s: float
    level: int
    """As logging's: 10 debug, 20 info, 30 warning, 40 error."""
    source: str
    """The logger's name without the package: "engines.process"."""
    text: str


class LogBook(logging.Handler):
    """Collects records of the `impetus` loggers; a listener may be called from any thread."""

    def __init__(self, *, capacity: int = 2000) -> None:
        super().__init__()
        self._lines: deque[LogLine] = deque(maxlen=capacity)
        self._listeners: list[Callable[[LogLine], None]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a record and tells the listeners."""
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text = f"{text} ({type(record.exc_info[1]).__name__}: {record.exc_info[1]})"
        line = LogLine(record.created, record.levelno, record.name.removeprefix("impetus."), text)
        self._lines.append(line)
        for listener in tuple(self._listeners):
            listener(line)

    @property
    def lines(self) -> tuple[LogLine, ...]:
        """All kept lines, oldest first."""
        return tuple(self._lines)

    def listen(self, listener: Callable[[LogLine], None]) -> Callable[[], None]:
        """Adds a listener; gives the function that removes it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)
