"""Cuts streams into their events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import msgspec

DONE = b"[DONE]"

Event = TypeVar("Event", bound=msgspec.Struct)


def read_events(data: bytes, decoder: msgspec.json.Decoder[Event]) -> Iterator[Event]:
    """Gives the events of a server-sent stream or of lines of JSON; what fits no event is left out."""
    for line in data.splitlines():
        text = line.removeprefix(b"data:").strip()
        if text.startswith(b"{"):
            try:
                yield decoder.decode(text)
            except msgspec.DecodeError:
                continue
