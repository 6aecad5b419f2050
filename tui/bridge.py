"""The only subscriber to runtime and server: turns what they tell into messages, at a steady pace.

Listeners only raise a flag, however often they are called. Four times per period one kind of flag is lowered and told,
so that gauges, tables and charts are never painted in one go: the server answers its clients in the same event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from textual.message import Message

from ..hw.sample import Sample
from ..runtime.journal import ENDED, RequestRecord
from ..runtime.logbook import LogLine
from .messages import DownloadsChanged, LogChanged, ModelsChanged, RatesChanged, RequestsChanged, Sampled, ServerChanged
from .source import Endpoint, Remover, Source

BEATS = 4
"""Beats per period; each has its own share of the work."""
NEWEST_REQUESTS = 64
"""How many of the newest requests are looked at for running ones."""


class Bridge:
    """Listens from `open` to `close`; `beat` is called by the owner's timer."""

    def __init__(self, source: Source, endpoint: Endpoint, post: Callable[[Message], object]) -> None:
        self._source = source
        self._endpoint = endpoint
        self._post = post
        self._loop: asyncio.AbstractEventLoop | None = None
        self._removers: list[Remover] = []
        self._beat = 0
        self._sample: Sample | None = None
        self._models = self._requests = self._server = self._log = False
        self._log_told = False

    def open(self) -> None:
        """Begins to listen; called in the loop."""
        self._loop = asyncio.get_running_loop()
        self._removers = [
            self._source.monitor.listen(self._on_sample_in_thread),
            self._source.listen(self._on_models),
            self._source.journal.listen(self._on_request),
            self._source.logbook.listen(self._on_line_in_thread),
            self._endpoint.listen(self._on_server),
        ]

    def close(self) -> None:
        """Ends listening."""
        while self._removers:
            self._removers.pop()()
        self._loop = None

    def beat(self) -> None:
        """Tells what has changed, as far as it is this beat's turn."""
        turn = self._beat % BEATS
        self._beat += 1
        if turn == 0 and self._sample is not None:
            self._post(Sampled(self._sample))
            self._sample = None
        elif turn == 1 and (self._requests or self._any_running()):
            self._requests = False
            self._post(RequestsChanged())
        elif turn == 2:
            self._post(RatesChanged())
        elif turn == 3 and self._log:
            self._log = False
            self._post(LogChanged())
        if turn % 2 and self._models:
            self._models = False
            self._post(ModelsChanged())
            self._post(DownloadsChanged())
        if self._server:
            self._server = False
            self._post(ServerChanged())

    def _any_running(self) -> bool:
        return any(record.stage not in ENDED for record in self._source.journal.newest(NEWEST_REQUESTS))

    def _on_sample_in_thread(self, sample: Sample) -> None:
        self._call_in_loop(lambda: self._take_sample(sample))

    def _take_sample(self, sample: Sample) -> None:
        self._sample = sample

    def _on_line_in_thread(self, _line: LogLine) -> None:
        # A flood of debug lines from another thread must not become a flood of callbacks.
        if not self._log_told:
            self._log_told = True
            self._call_in_loop(self._take_line)

    def _take_line(self) -> None:
        self._log_told = False
        self._log = True

    def _call_in_loop(self, callback: Callable[[], None]) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(callback)

    def _on_models(self) -> None:
        self._models = True

    def _on_request(self, _record: RequestRecord) -> None:
        self._requests = True

    def _on_server(self) -> None:
        self._server = True
