"""What the server keeps for clients, so that they need not send it again; in memory, and so gone with it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from ..runtime.request import ImagePart, Message, Part

Value = TypeVar("Value")

MIB = 1024 * 1024


class Kept(Generic[Value]):
    """Keeps so many values and bytes by their ids; those unused for longest go first."""

    def __init__(self, size: Callable[[Value], int], *, most: int, most_bytes: int) -> None:
        self._size = size
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._values: OrderedDict[str, Value] = OrderedDict()

    def keep(self, id_: str, value: Value) -> None:
        """Keeps a value under an id that was never used."""
        self._values[id_] = value
        self._bytes += self._size(value)
        while len(self._values) > self._most or self._bytes > self._most_bytes:
            _, dropped = self._values.popitem(last=False)
            self._bytes -= self._size(dropped)

    def find(self, id_: str) -> Value | None:
        """Gives a value; None where there is none, or no longer."""
        if id_ not in self._values:
            return None
        self._values.move_to_end(id_)
        return self._values[id_]


Chats = Kept[tuple[Message, ...]]
"""Conversations, by the id of their last answer."""
Files = Kept[bytes]
"""Files, by the id that they were given."""


def keep_chats() -> Chats:
    """Gives room for conversations; what two of them share counts twice."""
    return Kept(_chat_size, most=512, most_bytes=64 * MIB)


def keep_files() -> Files:
    """Gives room for files."""
    return Kept(len, most=64, most_bytes=64 * MIB)


def _chat_size(messages: Iterable[Message]) -> int:
    return sum(len(message.reasoning) + sum(map(_part_size, message.parts)) for message in messages)


def _part_size(part: Part) -> int:
    return len(part.data) if isinstance(part, ImagePart) else len(part.text)
