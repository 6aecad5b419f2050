"""Where the readers of a syntax put what they read: pieces, with the blanks around calls and thoughts left out."""

from __future__ import annotations

from .pieces import Arguments, Call, Piece, Reasoning, Text


class Outlet:
    """Gathers pieces, and joins stretches of one kind.

    Blanks at the borders of a thought belong to the syntax: they are dropped, as templates write them by themselves. So do
    those before and behind a call, where calls are read at all. All other text comes out to the letter.

    Args:
        holds_blanks: whether a call may come, so that blanks at the end of a text wait for what follows.
    """

    __slots__ = ("_blanks", "_fresh", "_holds_blanks", "_kind", "_parts", "_pieces", "thinks")

    def __init__(self, *, holds_blanks: bool) -> None:
        self._holds_blanks = holds_blanks
        self._pieces: list[Piece] = []
        self._kind: type[Text | Reasoning | Arguments] = Text
        self._parts: list[str] = []
        """Stretches of that kind."""
        self._blanks = ""
        """At the end of a text or thought."""
        self._fresh = False
        """Whether blanks that come next are dropped."""
        self.thinks = False
        """Whether what is said is a thought."""

    def say(self, text: str) -> None:
        """Adds text for the user, or to the thought that was begun."""
        if self._fresh:
            text = text.lstrip()
            if not text:
                return
            self._fresh = False
        if self._blanks:
            text = self._blanks + text
            self._blanks = ""
        if self.thinks or self._holds_blanks:
            said = text.rstrip()
            self._blanks = text[len(said) :]
            text = said
        if text:
            self._add(Reasoning if self.thinks else Text, text)

    def begin_thought(self) -> None:
        """Takes what is said next for a thought."""
        self._border(thinks=True)

    def end_thought(self) -> None:
        """Takes what is said next for text."""
        self._border(thinks=False)

    def call(self, name: str, call_id: str = "") -> None:
        """Begins a call."""
        self._border(thinks=False)
        self._flush()
        self._pieces.append(Call(name, call_id))

    def arguments(self, text: str) -> None:
        """Adds to the arguments of the call that was begun last."""
        if text:
            self._add(Arguments, text)

    def drain(self, *, last: bool = False) -> list[Piece]:
        """Hands out what was gathered; at the end with the blanks."""
        if last and self._blanks:
            self._add(Reasoning if self.thinks else Text, self._blanks)
            self._blanks = ""
        if self._parts:
            self._flush()
        pieces, self._pieces = self._pieces, []
        return pieces

    def _border(self, *, thinks: bool) -> None:
        self._blanks = ""
        self._fresh = True
        self.thinks = thinks

    def _add(self, kind: type[Text | Reasoning | Arguments], text: str) -> None:
        if kind is not self._kind:
            self._flush()
            self._kind = kind
        self._parts.append(text)

    def _flush(self) -> None:
        if self._parts:
            self._pieces.append(self._kind("".join(self._parts)))
            self._parts = []
