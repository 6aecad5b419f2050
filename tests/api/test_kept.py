"""What is kept for clients, and what makes room."""

from __future__ import annotations

from impetus.api.kept import Kept, keep_chats
from impetus.runtime.request import ImagePart, Message, TextPart


def test_what_was_unused_for_longest_makes_room() -> None:
    kept = Kept[str](len, most=2, most_bytes=100)
    kept.keep("a", "a")
    kept.keep("b", "b")
    assert kept.find("a") == "a"
    kept.keep("c", "c")
    assert (kept.find("a"), kept.find("b"), kept.find("c")) == ("a", None, "c")
    kept.keep("d", "d" * 99)
    assert (kept.find("a"), kept.find("c"), kept.find("d")) == (None, "c", "d" * 99)
    kept.keep("e", "e" * 101)
    assert kept.find("e") is None


def test_a_conversations_pictures_count_too() -> None:
    chats = keep_chats()
    picture = Message("user", (TextPart("x"), ImagePart(bytes(40 * 1024 * 1024), "image/png")))
    chats.keep("a", (picture,))
    chats.keep("b", (picture,))
    assert chats.find("a") is None
    assert chats.find("b") == (picture,)
