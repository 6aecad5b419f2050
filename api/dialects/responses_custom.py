"""The free text in the arguments of a custom tool's call: taken out of their JSON while it arrives."""

from __future__ import annotations

import re

import msgspec

from .responses_tools import FREE_INPUT

_OPENING = re.compile(r'\s*\{\s*"' + FREE_INPUT + r'"\s*:\s*"')
_CHARACTER = re.compile(r'[^"\\]+|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\[^u]')
_HIGH_SURROGATE = re.compile(r"\\u[dD][89abAB]")
_PAIR_LENGTH = 12
"""Of two `\\u` escapes that together are one character."""

_TEXTS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


class FreeInput:
    """Reads the input of one call; what it gave so far is never taken back."""

    def __init__(self) -> None:
        self._written = ""
        """The arguments as they came."""
        self._at: int | None = None
        """How far the text is read; None until it begins."""
        self._given: list[str] = []

    @property
    def text(self) -> str:
        """All that was given."""
        return "".join(self._given)

    def push(self, piece: str) -> str:
        """Takes new arguments and gives the text that is certain."""
        self._written += piece
        if self._at is None:
            opening = _OPENING.match(self._written)
            if opening is None:
                return ""
            self._at = opening.end()
        read: list[str] = []
        while (found := self._next(self._at)) is not None:
            read.append(_unescape(found))
            self._at += len(found)
        text = "".join(read)
        self._given.append(text)
        return text

    def finish(self) -> str:
        """Gives what is still missing; of arguments without the one field that was asked for, all that can be had."""
        whole, given = _whole(self._written), self.text
        if whole is None:
            rest = self._written if self._at is None else ""
        else:
            rest = whole.removeprefix(given) if whole.startswith(given) else ""
        self._given.append(rest)
        return rest

    def _next(self, at: int) -> str | None:
        """The next stretch of the string that is complete; None at its end, or where more must come first."""
        found = _CHARACTER.match(self._written, at)
        if found is None:
            return None
        if _HIGH_SURROGATE.match(found[0]) and len(found[0]) < _PAIR_LENGTH and len(self._written) - at < _PAIR_LENGTH:
            return None
        return found[0]


def _unescape(written: str) -> str:
    if not written.startswith("\\"):
        return written
    if written[1] == "u":
        text = "".join(chr(int(code, 16)) for code in written.split("\\u")[1:])
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return _ESCAPES.get(written[1], written[1])


def _whole(written: str) -> str | None:
    """The input in finished arguments: the field, else the only one if it is a text, else all of them; None of broken ones."""
    try:
        fields = _TEXTS.decode(written)
    except msgspec.DecodeError:
        return None
    texts = {name: msgspec.json.decode(raw, type=str) for name, raw in fields.items() if bytes(raw).startswith(b'"')}
    if FREE_INPUT in texts:
        return texts[FREE_INPUT]
    return next(iter(texts.values())) if len(texts) == 1 and len(fields) == 1 else written
