"""What an answer is made of, and what every reader of a model's own syntax offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Text:
    """Text for the user."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What the model thinks before it answers."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """The beginning of a tool call; the `Arguments` that follow belong to it, until anything else comes."""

    name: str
    id: str = ""
    """The model's own number for it, where its syntax has one; "" where it has not."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """A stretch of the arguments of the call that was begun last; together they are one JSON object."""

    text: str


Piece = Text | Reasoning | Call | Arguments


class Parser(Protocol):
    """Reads one answer as it is written.

    How the answer is cut into pushes changes neither what comes out in all, nor its order: stretches of one kind that follow
    each other, joined, are the same. What may be the beginning of a mark is held back until more of it comes. Text that is no
    call comes out to the letter.
    """

    def push(self, text: str) -> list[Piece]:
        """Takes new text and gives what is certain."""
        ...

    def finish(self) -> list[Piece]:
        """Ends the answer, complete or cut, and gives what was held back."""
        ...
