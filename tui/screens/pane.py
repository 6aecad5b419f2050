"""What every pane of the control screen has."""

from __future__ import annotations

from typing import ClassVar

from textual.widget import Widget

from ..source import Endpoint, Source


class Pane(Widget):
    """One page of the control screen. Its `…_changed` methods are called only while it is seen."""

    TITLE: ClassVar[str]
    HELP: ClassVar[str | None]
    """What it is for and how to use it, in plain words."""
    FOCUS: ClassVar[str]
    """The selector of the widget that has the keys first."""

    def __init__(self, source: Source, endpoint: Endpoint, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self.source = source
        self.endpoint = endpoint

    def show_all(self) -> None:
        """Brings everything up to date; called when the pane comes into view."""
        self.sample_changed()
        self.models_changed()
        self.requests_changed()
        self.rates_changed()
        self.downloads_changed()
        self.log_changed()

    def sample_changed(self) -> None:
        """The machine was read."""

    def models_changed(self) -> None:
        """Models or their states are different."""

    def requests_changed(self) -> None:
        """Requests came, moved or gave tokens."""

    def rates_changed(self) -> None:
        """One more second of throughput is complete."""

    def downloads_changed(self) -> None:
        """Downloads are different."""

    def server_changed(self) -> None:
        """The server's state or its further ports are different."""

    def log_changed(self) -> None:
        """The log grew."""
