"""JSON as it arrives: handed on while it is right, with the slips mended that can mean but one thing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from .reader import Reader, Steps

MAX_DEPTH = 100

_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_WORD = re.compile(r"[\w+.\-]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_HEX = re.compile(r"u[0-9a-fA-F]{4}")
_WORDS = {"true": "true", "false": "false", "null": "null", "True": "true", "False": "false", "None": "null"}

Say = Callable[[str], object]


class Broken(Exception):
    """What comes next is no JSON."""


class Cut(Broken):
    """The text ended before its JSON did."""


def read_value(reader: Reader, say: Say, depth: int = 0) -> Steps[str]:
    """Reads one value, blanks before it not among them, and hands it on bit by bit.

    Gives what the caller must hand on behind it, once what follows shows that the value ended there: a string's last quote.

    Left out are commas before a closing bracket; line breaks and the like within strings are spelled as JSON spells them, a
    backslash that escapes nothing is doubled, and Python's True, False and None become JSON's.

    Raises:
        Broken: at what cannot go on the JSON so far; the reader stands before it.
    """
    if depth > MAX_DEPTH:
        raise Broken
    match (yield from _next(reader)):
        case '"':
            yield from read_string(reader, say)
            return '"'
        case "{":
            yield from _read_members(reader, say, depth, "}")
        case "[":
            yield from _read_members(reader, say, depth, "]")
        case _:
            yield from _read_word(reader, say)
    return ""


def read_string(reader: Reader, say: Say) -> Steps[None]:
    """Reads a string with its quotes, and hands it on bit by bit, all but the last quote.

    Raises:
        Broken: no string comes next, or it does not end.
    """
    yield from expect(reader, '"')
    say('"')
    while True:
        match = _PLAIN.match(reader.text, reader.at)
        end = match.end() if match else reader.at
        if end > reader.at:
            say(reader.take(end))
        char = yield from _next(reader)
        if char == '"':
            reader.take(reader.at + 1)
            return
        if char == "\\":
            yield from _read_escape(reader, say)
        elif char < " ":
            say(json.dumps(reader.take(reader.at + 1))[1:-1])


def expect(reader: Reader, char: str) -> Steps[None]:
    """Takes a character.

    Raises:
        Broken: another one comes next.
    """
    if (yield from _next(reader)) != char:
        raise Broken
    reader.take(reader.at + 1)


def _next(reader: Reader) -> Steps[str]:
    char = yield from reader.peek()
    if not char:
        raise Cut
    return char


def _read_escape(reader: Reader, say: Say) -> Steps[None]:
    while len(reader.text) - reader.at < 2 or (reader.text[reader.at + 1] == "u" and len(reader.text) - reader.at < 6):
        if reader.ended:
            raise Cut
        yield
    at = reader.at + 1
    if reader.text[at] in '"\\/bfnrt':
        say(reader.take(at + 1))
    elif _HEX.match(reader.text, at):
        say(reader.take(at + 5))
    elif reader.text[at] == "'":
        reader.take(at)
    else:
        reader.take(at)
        say("\\\\")


def _read_members(reader: Reader, say: Say, depth: int, close: str) -> Steps[None]:
    """Reads an object or array."""
    say(reader.take(reader.at + 1))
    quote = comma = ""
    while True:
        blanks = yield from reader.blanks()
        if (yield from _next(reader)) == close:
            say(quote + blanks + reader.take(reader.at + 1))
            return
        say(quote + comma + blanks)
        if close == "}":
            yield from read_string(reader, say)
            blanks = yield from reader.blanks()
            yield from expect(reader, ":")
            say(f'"{blanks}:{(yield from reader.blanks())}')
        quote = yield from read_value(reader, say, depth + 1)
        comma = yield from reader.blanks()
        if (yield from _next(reader)) == close:
            say(quote + comma + reader.take(reader.at + 1))
            return
        yield from expect(reader, ",")
        comma += ","


def _read_word(reader: Reader, say: Say) -> Steps[None]:
    """Reads a number, true, false or null, whole."""
    while True:
        match = _WORD.match(reader.text, reader.at)
        end = match.end() if match else reader.at
        if end < len(reader.text) or reader.ended:
            break
        yield
    word = reader.text[reader.at : end]
    said = _WORDS.get(word) or (word if _NUMBER.fullmatch(word) else None)
    if said is None:
        raise Cut if end == len(reader.text) else Broken
    reader.take(end)
    say(said)
