"""What the bridge tells the control screen. Each says that something changed; the newest one is enough."""

from __future__ import annotations

from dataclasses import dataclass

from textual.message import Message

from ..hw.sample import Sample


class _Newest(Message, bubble=False):
    """A message of which only the newest pending one is worth a repaint."""

    def can_replace(self, message: Message) -> bool:
        """Takes the place of an older one of its kind."""
        return isinstance(message, type(self))


@dataclass
class Sampled(_Newest):
    """The machine was read once more."""

    sample: Sample


class RequestsChanged(_Newest):
    """A request came, moved on or ended, or running ones gave tokens."""


class RatesChanged(_Newest):
    """Another second of throughput is complete."""


class ModelsChanged(_Newest):
    """A model appeared, went, or changed its state."""


class DownloadsChanged(_Newest):
    """A download began, moved on or ended."""


class LogChanged(_Newest):
    """The log has new lines."""


class ServerChanged(_Newest):
    """The server's state changed."""
