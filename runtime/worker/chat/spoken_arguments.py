"""The arguments of calls as the model wrote them, found again when a client sends them back in other words.

Clients parse a call's arguments and write them anew, with other spaces or another order of keys. Shown to the model so, all
behind the call would have to be computed again.
"""

from __future__ import annotations

import json
from collections import OrderedDict

from ..output.pieces import Arguments, Call, Parser, Piece

MOST_CALLS = 2048
MOST_CHARACTERS = 8_000_000
"""Of all arguments that are remembered."""


class SpokenArguments:
    """Remembers the newest calls."""

    def __init__(self) -> None:
        self._texts: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._characters = 0

    def remember(self, name: str, arguments: str) -> None:
        """Takes a call that a model wrote; one whose arguments are no JSON object is none to find again."""
        key = _key(name, arguments)
        if key is None:
            return
        self._forget(key)
        self._texts[key] = arguments
        self._characters += len(arguments)
        while self._texts and (len(self._texts) > MOST_CALLS or self._characters > MOST_CHARACTERS):
            self._forget(next(iter(self._texts)))

    def find(self, name: str, arguments: str) -> str | None:
        """Gives the text that the model wrote for these arguments; None where it wrote none that is remembered."""
        key = _key(name, arguments)
        if key is None or key not in self._texts:
            return None
        self._texts.move_to_end(key)
        return self._texts[key]

    def listen(self, parser: Parser) -> Parser:
        """Gives a parser that remembers the calls of another one."""
        return _Listening(parser, self)

    def _forget(self, key: tuple[str, str]) -> None:
        self._characters -= len(self._texts.pop(key, ""))


class _Listening:
    """Passes all on, and tells of each call once it has ended."""

    def __init__(self, parser: Parser, memory: SpokenArguments) -> None:
        self._parser = parser
        self._memory = memory
        self._name: str | None = None
        self._texts: list[str] = []

    def push(self, text: str) -> list[Piece]:
        """Takes new text."""
        return self._note(self._parser.push(text))

    def finish(self) -> list[Piece]:
        """Ends the answer."""
        pieces = self._note(self._parser.finish())
        self._end()
        return pieces

    def _note(self, pieces: list[Piece]) -> list[Piece]:
        for piece in pieces:
            if isinstance(piece, Arguments):
                self._texts.append(piece.text)
            else:
                self._end()
                if isinstance(piece, Call):
                    self._name = piece.name
        return pieces

    def _end(self) -> None:
        if self._name is not None:
            self._memory.remember(self._name, "".join(self._texts))
        self._name = None
        self._texts.clear()


def _key(name: str, arguments: str) -> tuple[str, str] | None:
    """Gives what is the same for all ways to write the same arguments."""
    try:
        value: object = json.loads(arguments)
    except (ValueError, RecursionError):
        return None
    return (name, json.dumps(value, sort_keys=True, separators=(",", ":"))) if isinstance(value, dict) else None
