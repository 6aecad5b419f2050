"""An object whose names stand without quotes, and its texts between marks: `{path:<|"|>a.txt<|"|>,n:3}`, as Gemma writes it."""

from __future__ import annotations

import json
import re
from typing import cast

from .argument_values import to_json
from .json_text import MAX_DEPTH, Broken, Cut, Say, read_string
from .marks import Marks
from .reader import Reader, Steps
from .tool_schema import JsonObject, read_properties, value_types

_NAME = re.compile(r"[^\s:{}\[\],<\"'][^:{}\[\],<\"'\n]{0,127}")
_NEXT_NAME = re.compile(r"\s*[\w.$-]{1,128}\s*:|\s*[\"'}<]")
"""What stands behind a comma between two members."""
_PARTIAL_NEXT = re.compile(r"\s*[\w.$-]{0,128}\s*")
_BEGUN_WORD = re.compile(r"-?(?:\d+(?:\.\d*)?(?:[eE][+-]?)?)?|t(?:r(?:u)?)?|f(?:a(?:l(?:s)?)?)?|n(?:u(?:l)?)?")
"""The beginning of a word of JSON that the end of an answer cut off."""


class BareObject:
    """Reads one object and hands it on as JSON while it comes.

    Texts are handed on to the letter where they are meant to be texts; what the tool's schema takes for something else, and
    what stands without any mark, waits until it is whole and becomes what the schema says. Texts in plain quotes, and those
    whose first mark was forgotten, are read as well.

    Args:
        reader: stands before it, and keeps what is taken.
        quote: the mark before and behind a text. Within a text it is part of it, unless what may follow a value comes next.
        ends: marks that end the whole call.
        schema: of the object.
    """

    def __init__(self, reader: Reader, quote: str, ends: Marks, schema: JsonObject) -> None:
        self._reader = reader
        self._quote = quote
        self._quotes = Marks((quote, *ends.texts))
        self._ends = ends
        self._stops = Marks((quote, ",", "}", "]", *ends.texts))
        self._schema = schema

    def read(self, say: Say) -> Steps[None]:
        """Reads it; of one that is broken the rest of the call is handed on as it is.

        Raises:
            Cut: it did not end, or was broken.
        """
        try:
            yield from self._read_object(say, self._schema, 0)
        except Cut:
            raise
        except Broken:
            yield from self._reader.until(self._ends, say, takes=False)
            raise Cut from None

    def _read_object(self, say: Say, schema: JsonObject, depth: int) -> Steps[None]:
        self._reader.take(self._reader.at + 1)
        properties = read_properties(schema)
        before = "{"
        while True:
            yield from self._reader.blanks()
            if (yield from self._next()) == "}":
                break
            name = yield from self._read_name(say)
            say(f"{before}{json.dumps(name, ensure_ascii=False)}: ")
            before = ", "
            yield from self._reader.blanks()
            yield from self._read_value(say, properties.get(name, {}), "}", depth + 1)
            yield from self._reader.blanks()
            if (yield from self._next()) == "}":
                break
            yield from self._expect(",")
        self._reader.take(self._reader.at + 1)
        say("{}" if before == "{" else "}")

    def _read_list(self, say: Say, schema: JsonObject, depth: int) -> Steps[None]:
        self._reader.take(self._reader.at + 1)
        items = schema.get("items")
        of_one = cast("JsonObject", items) if isinstance(items, dict) else {}
        before = "["
        while True:
            yield from self._reader.blanks()
            if (yield from self._next()) == "]":
                break
            say(before)
            before = ", "
            yield from self._read_value(say, of_one, "]", depth + 1)
            yield from self._reader.blanks()
            if (yield from self._next()) == "]":
                break
            yield from self._expect(",")
        self._reader.take(self._reader.at + 1)
        say("[]" if before == "[" else "]")

    def _read_name(self, say: Say) -> Steps[str]:
        """Reads a name with its colon, in whatever quotes it stands; what is none is handed on as it is."""
        begin = self._reader.place
        quote = yield from self._reader.option(self._quote, '"', "'")
        parts: list[str] = []
        ends = self._ends.texts if quote == self._quote else ("\n", *self._ends.texts)
        yield from self._reader.until(Marks((quote or ":", *ends)), parts.append, takes=False)
        name = "".join(parts).rstrip()
        yield from self._next()
        closed = bool((yield from self._reader.option(quote)) if quote else _NAME.fullmatch(name))
        if closed and quote:
            yield from self._reader.blanks()
        if not closed or not (yield from self._reader.option(":")):
            say(self._reader.kept(begin))
            raise Broken
        return name

    def _read_value(self, say: Say, schema: JsonObject, closing: str, depth: int) -> Steps[None]:
        """Reads one value.

        Args:
            say: takes it.
            schema: of the value.
            closing: the bracket that ends what it is in.
            depth: how many brackets it is in.
        """
        if depth > MAX_DEPTH:
            raise Broken
        match (yield from self._next()):
            case "{":
                yield from self._read_object(say, schema, depth)
            case "[":
                yield from self._read_list(say, schema, depth)
            case '"':
                yield from read_string(self._reader, say)
                say('"')
            case "'":
                self._reader.take(self._reader.at + 1)
                yield from self._read_text(say, value_types(schema), Marks(("'", *self._ends.texts)), closing)
            case _ if (yield from self._reader.option(self._quote)):
                yield from self._read_text(say, value_types(schema), self._quotes, closing)
            case _:
                yield from self._read_bare(say, value_types(schema), closing)

    def _read_text(self, say: Say, types: frozenset[str], marks: Marks, closing: str) -> Steps[None]:
        """Reads a text behind its first mark; one that runs on to the end of the call forgot its last."""
        held: list[str] = []
        streams = not types or "string" in types

        def add(text: str) -> None:
            if streams:
                say(json.dumps(text, ensure_ascii=False)[1:-1])
            else:
                held.append(text)

        if streams:
            say('"')
        while True:
            mark = yield from self._until(marks, add)
            blanks = yield from self._reader.blanks()
            if not mark or (mark in self._ends.texts and (yield from self._is_over())):
                if held:
                    say(json.dumps("".join(held), ensure_ascii=False)[:-1])
                raise Cut
            if mark not in self._ends.texts and (yield from self._may_follow(closing)):
                break
            add(mark + blanks)
        say('"' if streams else to_json("".join(held), types))

    def _until(self, marks: Marks, say: Say) -> Steps[str]:
        """Reads as the reader does, but leaves out what may be a piece of a mark where the answer ends."""
        while True:
            found = marks.find(self._reader.text, self._reader.at)
            end = found[0] if found else marks.held_from(self._reader.text, self._reader.at)
            if end > self._reader.at:
                say(self._reader.take(end))
            if found:
                return self._reader.take(found[1])
            if self._reader.ended:
                self._reader.take(len(self._reader.text))
                return ""
            yield

    def _may_follow(self, closing: str) -> Steps[bool]:
        """Whether what comes next may stand behind a value, or the answer ends."""
        char = yield from self._reader.peek()
        return char in ("", ",", closing) or bool((yield from self._ends_here()))

    def _is_over(self) -> Steps[bool]:
        """Whether the answer ends, or a mark of a call comes next."""
        return not (yield from self._reader.peek()) or bool((yield from self._ends_here()))

    def _ends_here(self) -> Steps[str]:
        """Gives the mark that ends the call if it comes next, or as much of it as there is; does not take it."""
        while True:
            rest = self._reader.text[self._reader.at :]
            mark = next((mark for mark in self._ends.texts if rest.startswith(mark)), "")
            begun = not mark and any(one.startswith(rest) for one in self._ends.texts)
            if mark or self._reader.ended or not begun:
                return rest if begun else mark
            yield

    def _read_bare(self, say: Say, types: frozenset[str], closing: str) -> Steps[None]:
        """Reads a number, a word, or a text whose first mark was forgotten."""
        parts: list[str] = []
        while True:
            mark = yield from self._reader.until(self._stops, parts.append, takes=False)
            text = "".join(parts).strip()
            if not mark:
                if (said := to_json(text, types)) != json.dumps(text, ensure_ascii=False):
                    say(said)
                elif text and not _BEGUN_WORD.fullmatch(text):
                    kept = text[: self._quotes.held_from(text)]
                    say(json.dumps(kept, ensure_ascii=False)[:-1])
                raise Cut
            if mark == closing or mark in self._ends.texts:
                break
            if mark == self._quote:
                self._reader.take(self._reader.at + len(mark))
                break
            if mark == "," and (closing == "]" or to_json(text, frozenset())[0] != '"' or (yield from self._is_next_name())):
                break
            parts.append(self._reader.take(self._reader.at + len(mark)))
        if not text:
            raise Broken
        say(to_json(text, types))

    def _is_next_name(self) -> Steps[bool]:
        """Whether the comma that comes next stands before another member."""
        while True:
            at = self._reader.at + 1
            if _NEXT_NAME.match(self._reader.text, at):
                return True
            partial = _PARTIAL_NEXT.match(self._reader.text, at)
            if self._reader.ended or partial is None or partial.end() < len(self._reader.text):
                return False
            yield

    def _next(self) -> Steps[str]:
        char = yield from self._reader.peek()
        if not char:
            raise Cut
        return char

    def _expect(self, char: str) -> Steps[None]:
        if (yield from self._next()) != char:
            raise Broken
        self._reader.take(self._reader.at + 1)
