"""The log of what arrives at the socket and is no HTTP: somebody else's fault, so a line and no trace."""

from __future__ import annotations

import logging

from aiohttp.http import HttpProcessingError


def open_http_log() -> logging.Logger:
    """Gives the logger for aiohttp's own messages; by default they would go to the terminal that the dashboard draws on."""
    log = logging.getLogger(__name__)
    if not log.filters:
        log.addFilter(_calm)
    return log


def _calm(record: logging.LogRecord) -> bool:
    """Makes one quiet line of a trace about bytes that could not be parsed."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        reason = error.message.strip().partition("\n")[0]
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.msg, record.args = "refused what is no HTTP request: %s", (reason[:200],)
        record.exc_info = record.exc_text = None
    return True
