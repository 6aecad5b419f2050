"""Bytes of tokens to text; a character whose bytes are spread over several tokens comes out whole."""

from __future__ import annotations

import codecs


class Utf8Assembler:
    """Turns pieces of a byte stream into text; how the stream is cut never changes what comes out in total."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def push(self, piece: bytes) -> str:
        """Gives the characters that are whole; U+FFFD stands only for bytes that no continuation can make valid."""
        if self._rest:
            piece = self._rest + piece
        text, used = codecs.utf_8_decode(piece, "replace", False)
        self._rest = piece[used:]
        return text

    def finish(self) -> str:
        """Ends the stream; a character that was never completed becomes U+FFFD."""
        text, _ = codecs.utf_8_decode(self._rest, "replace", True)
        self._rest = b""
        return text
