"""What the readers of all syntaxes with marks share: thoughts first, then text with calls in it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence

from ...request import Tool
from .marks import Marks
from .outlet import Outlet
from .pieces import Arguments, Call, Parser, Piece
from .reader import Reader, Steps
from .thoughts import ThoughtMarks

MAX_TRIED = 16
"""Marks in a thought that never ended, from the last one back, at which its call may begin."""


class MarkedParser(Parser, ABC):
    """Reads an answer: thoughts, text, and calls behind their marks.

    A thought stands at the beginning, or right behind a call or another thought; its marks anywhere else are text. Of a thought
    that never ended, a whole call that it ends with is called: models forget to close it.

    Args:
        tools: those that were offered.
        thoughts: the marks around a thought, if the model has any.
        rendered_end: how the prompt ends.
    """

    opens: tuple[str, ...] = ()
    """The marks that a call, or several, begin with."""

    def __init__(self, tools: Sequence[Tool], thoughts: ThoughtMarks | None, rendered_end: str = "") -> None:
        self.tools = {tool.name: tool for tool in tools}
        self.reader = Reader()
        self.mark = ""
        self.outlet = Outlet(holds_blanks=bool(tools))
        self._thoughts = thoughts
        self._opens = Marks(self.opens if tools else ())
        self._inside = thoughts is not None and thoughts.is_open(rendered_end)
        self._steps = self._read()
        next(self._steps)

    def push(self, text: str) -> list[Piece]:
        """Takes new text and gives what is certain."""
        self.reader.feed(text)
        next(self._steps, None)
        return self.outlet.drain()

    def finish(self) -> list[Piece]:
        """Ends the answer, complete or cut, and gives what was held back."""
        self.reader.ended = True
        next(self._steps, None)
        return self.outlet.drain(last=True)

    @abstractmethod
    def read_call(self) -> Steps[bool]:
        """Reads what stands behind an opening mark, up to the end of the call, or of the last one of several.

        The reader keeps what is taken, the mark first, which is `mark`, too. With False all of it comes out as text; that is no
        answer once a call was handed on.
        """

    def _read(self) -> Steps[None]:
        yield
        if self._thoughts is not None:
            yield from self._read_thoughts(self._thoughts, inside=self._inside)
        yield from self.read_answer()

    def read_answer(self) -> Steps[None]:
        """Reads all that comes behind the first thoughts, to the end."""
        while True:
            mark = yield from self.reader.until(self._opens, self.outlet.say)
            if not mark:
                return
            yield from self.read_marked(mark)

    def read_marked(self, mark: str) -> Steps[None]:
        """Reads what begins with an opening mark: a call and the thoughts behind it, or text."""
        self.mark = mark
        self.reader.keep(mark)
        is_call = yield from self.read_call()
        if not is_call:
            self.outlet.say(self.reader.kept())
        self.reader.forget()
        if is_call and self._thoughts is not None:
            yield from self._read_thoughts(self._thoughts)
        if is_call:
            yield from self._drop_cut_mark()

    def _drop_cut_mark(self) -> Steps[None]:
        """Takes the beginning of a further call's mark, where the answer is cut within it."""
        blanks = yield from self.reader.blanks()
        while not self.reader.take_cut(*self._opens.texts):
            rest = self.reader.text[self.reader.at :]
            if self.reader.ended or (rest and not any(mark != rest and mark.startswith(rest) for mark in self._opens.texts)):
                break
            yield
        self.outlet.say(blanks)

    def _read_thoughts(self, marks: ThoughtMarks, *, inside: bool = False) -> Steps[None]:
        """Reads the thoughts that come next, and no text."""
        if inside:
            yield from self._read_thought(marks)
        while True:
            blanks = yield from self.reader.blanks()
            match (yield from self.reader.option(marks.open, marks.close)):
                case marks.open:
                    yield from self._read_thought(marks)
                case marks.close:
                    self.outlet.end_thought()
                case _:
                    self.outlet.say(blanks)
                    return

    def _read_thought(self, marks: ThoughtMarks) -> Steps[None]:
        """Reads a thought behind its opening, and its end."""
        self.outlet.begin_thought()
        yield from self.reader.blanks()
        # A prompt may have opened the thought already, and the model does so again.
        yield from self.reader.option(marks.open)
        stops = Marks((marks.close, *self._opens.texts))
        calls: list[int] = []
        """Where one may begin."""
        while (mark := (yield from self.reader.until(stops, self.outlet.say))) not in ("", marks.close):
            if not calls:
                self.reader.keep(mark)
            calls.append(self.reader.place - len(mark))
            self.outlet.say(mark)
        if mark:
            self.outlet.end_thought()
        else:
            any(self._call_from_thought(self.reader.kept(begin)) for begin in calls[-MAX_TRIED:])
        self.reader.forget()

    def _call_from_thought(self, text: str) -> bool:
        """Hands on the calls that a thought without an end ends with, if this text is nothing else."""
        parser = self.open_again()
        pieces = [*parser.push(text), *parser.finish()]
        arguments = ""
        for piece in (*pieces[1:], Call("")):
            match piece:
                case Arguments():
                    arguments += piece.text
                case Call() if _is_json(arguments):
                    arguments = ""
                case _:
                    return False
        for piece in pieces:
            if isinstance(piece, Call):
                self.outlet.call(piece.name, piece.id)
            else:
                self.outlet.arguments(piece.text)
        return True

    def open_again(self) -> MarkedParser:
        """Makes a parser of the same kind, for a text without thoughts."""
        return type(self)(tuple(self.tools.values()), None)

    def read_end(self, *marks: str) -> Steps[str]:
        """Takes the mark that ends a call, and brackets too many before it; gives the mark, or "" where it was forgotten."""
        yield from self.reader.blanks()
        mark = yield from self.reader.option(*marks)
        if not mark:
            while (yield from self.reader.peek()) in ("}", "]"):
                self.reader.take(self.reader.at + 1)
                yield from self.reader.blanks()
            mark = yield from self.reader.option(*marks)
        if not mark:
            self.reader.take_cut(*marks)
        return mark


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
