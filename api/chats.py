"""Conversations that the server keeps, so that clients need not send them again; in memory, and so gone with it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from ..runtime.request import ImagePart, Message, Part

MOST_CHATS = 512
MOST_BYTES = 64 * 1024 * 1024
"""Of all texts and pictures together; what two conversations share counts twice."""


class Chats:
    """Keeps conversations by the id of their last answer; the ones unused for longest go first."""

    def __init__(self, *, most_chats: int = MOST_CHATS, most_bytes: int = MOST_BYTES) -> None:
        self._most_chats = most_chats
        self._most_bytes = most_bytes
        self._bytes = 0
        self._chats: OrderedDict[str, tuple[tuple[Message, ...], int]] = OrderedDict()

    def keep(self, response_id: str, messages: tuple[Message, ...]) -> None:
        """Keeps a conversation, its last answer included."""
        size = _size(messages)
        self._chats[response_id] = (messages, size)
        self._bytes += size
        while len(self._chats) > self._most_chats or self._bytes > self._most_bytes:
            _, (_, dropped) = self._chats.popitem(last=False)
            self._bytes -= dropped

    def find(self, response_id: str) -> tuple[Message, ...] | None:
        """Gives a conversation; None where there is none, or no longer."""
        if response_id not in self._chats:
            return None
        self._chats.move_to_end(response_id)
        return self._chats[response_id][0]


def _size(messages: Iterable[Message]) -> int:
    return sum(len(message.reasoning) + sum(map(_part_size, message.parts)) for message in messages)


def _part_size(part: Part) -> int:
    return len(part.data) if isinstance(part, ImagePart) else len(part.text)
