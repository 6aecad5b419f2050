"""Calls as Python writes them, `[get_weather(city="Paris", days=3), now()]`, handed on as JSON while they come."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import cast

from ...request import Tool
from .family import WrittenCall
from .json_family import MORE
from .json_text import MAX_DEPTH, Broken, Cut, Say
from .outlet import Outlet
from .reader import Reader, Steps
from .tagged import can_hold
from .tool_schema import JsonObject, held_or, read_properties, read_required, read_schema, value_types

_NAME = re.compile(r"[A-Za-z_][\w.:/$-]{0,127}")
_KEY = re.compile(r"[A-Za-z_]\w{0,127}")
_WORD = re.compile(r"[\w+.\-]*")
_NUMBER = re.compile(r"[+-]?(?:\d[\d_]*)?(?:\.\d*)?(?:[eE][+-]?\d+)?")
_WORDS = {"True": "true", "False": "false", "None": "null", "true": "true", "false": "false", "null": "null"}
_ESCAPES = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "b": "\b",
    "f": "\f",
    "0": "\0",
    "\\": "\\",
    "'": "'",
    '"': '"',
    "/": "/",
    "\n": "",
}
_HEX = {"x": 2, "u": 4, "U": 8}


class PythonCalls:
    """Reads a list of calls.

    A call of a tool that was offered is handed on as it arrives; one of any other name, or without the right brackets, is none.

    Args:
        reader: stands before the list, or before its first call, and keeps what is taken.
        outlet: gets calls and arguments.
        tools: those that were offered, by name.
        any_name: whether a whole call of another name is one, too.
    """

    def __init__(self, reader: Reader, outlet: Outlet, tools: Mapping[str, Tool], *, any_name: bool = False) -> None:
        self._reader = reader
        self._outlet = outlet
        self._tools = tools
        self._any_name = any_name

    def read(self) -> Steps[bool]:
        """Reads it, and tells whether a call was handed on; if not, what was taken is still text."""
        reader = self._reader
        yield from reader.blanks()
        in_list = bool((yield from reader.option("[")))
        any_call = False
        while True:
            yield from reader.blanks()
            if not (yield from self._read_one()):
                return any_call
            any_call = True
            yield from reader.blanks()
            if not (yield from reader.option(",", ";")):
                break
        if in_list:
            yield from reader.option("]")
        return True

    def _read_one(self) -> Steps[bool]:
        reader = self._reader
        name = yield from read_name(reader)
        name = name.removeprefix("functions.")
        if not name or (name not in self._tools and not self._any_name):
            return False
        yield from reader.blanks()
        if not (yield from reader.option("(")):
            return False
        yield from reader.blanks()
        # Until its first argument has a name it may be a sentence with brackets in it.
        key = ""
        if (yield from reader.peek()) != ")":
            key = yield from self._read_key()
            if not key:
                return False
        if name not in self._tools:
            return (yield from self._read_other(name, key))
        self._outlet.call(name)
        try:
            yield from self._read_arguments(key, read_properties(read_schema(self._tools[name])), self._outlet.arguments)
        except Cut:
            reader.take(len(reader.text))
        except Broken:
            yield from self._hand_on_rest()
        return True

    def _read_other(self, name: str, key: str) -> Steps[bool]:
        """Reads a call of a tool that was not offered, and hands it on once it is whole."""
        parts: list[str] = []
        try:
            yield from self._read_arguments(key, {}, parts.append)
        except Broken:
            return False
        self._outlet.call(name)
        self._outlet.arguments("".join(parts))
        return True

    def _read_arguments(self, key: str, properties: Mapping[str, JsonObject], say: Say) -> Steps[None]:
        """Reads what is behind the name of the first argument, up to the closing bracket."""
        reader = self._reader
        before = "{"
        while key:
            say(f"{before}{json.dumps(key, ensure_ascii=False)}: ")
            before = ", "
            types = value_types(properties.get(key, {}))
            yield from read_python(reader, say, as_text=types == frozenset({"string"}))
            yield from reader.blanks()
            if (yield from _next(reader)) == ")":
                break
            if not (yield from reader.option(",")):
                raise Broken
            yield from reader.blanks()
            if (yield from _next(reader)) == ")":
                break
            key = yield from self._read_key()
            if not key:
                raise Broken
            yield from reader.blanks()
        yield from _next(reader)
        reader.take(reader.at + 1)
        say("{}" if before == "{" else "}")

    def _read_key(self) -> Steps[str]:
        """Reads a name and the sign behind it; "" where none is."""
        reader = self._reader
        quote = yield from reader.option('"', "'")
        while True:
            match = _KEY.match(reader.text, reader.at)
            end = match.end() if match else reader.at
            if end < len(reader.text) or reader.ended:
                break
            yield
        if not match:
            return ""
        key = reader.take(end)
        if quote and not (yield from reader.option(quote)):
            return ""
        yield from reader.blanks()
        if not (yield from reader.option("=", ":")):
            return ""
        yield from reader.blanks()
        return key

    def _hand_on_rest(self) -> Steps[None]:
        """Hands on a broken call's rest as it is, up to where its line ends."""
        reader = self._reader
        while (char := (yield from reader.peek())) not in ("", "\n", "<"):
            self._outlet.arguments(char)
            reader.take(reader.at + 1)


def read_name(reader: Reader) -> Steps[str]:
    """Takes the name that comes next, or "" where none does."""
    while True:
        match = _NAME.match(reader.text, reader.at)
        end = match.end() if match else reader.at
        if end < len(reader.text) or reader.ended:
            return reader.take(end) if match else ""
        yield


def read_python(reader: Reader, say: Say, *, as_text: bool = False, depth: int = 0) -> Steps[None]:
    """Reads one Python value and hands it on as JSON; JSON itself is read as well.

    Args:
        reader: stands before it.
        say: takes the JSON as it comes.
        as_text: whether what is no text has to become one.
        depth: how many brackets it is in.

    Raises:
        Cut: the text ended within it.
        Broken: it is none; the reader stands before what is wrong.
    """
    if depth > MAX_DEPTH:
        raise Broken
    match (yield from _next(reader)):
        case '"' | "'":
            yield from _read_texts(reader, say)
        case "{":
            yield from _read_dict(reader, say, depth)
        case "[" | "(" as opening:
            yield from _read_list(reader, say, depth, "]" if opening == "[" else ")")
        case _:
            yield from _read_word(reader, say, as_text=as_text)


def _read_texts(reader: Reader, say: Say) -> Steps[None]:
    """Reads a text, and those right behind it, which Python puts together."""
    say('"')
    while True:
        quote = yield from reader.option('"""', "'''", '"', "'")
        yield from _read_text(reader, say, quote)
        kept = yield from reader.blanks()
        if kept.strip(" ") or (yield from reader.peek()) not in ('"', "'"):
            break
    say('"')


def _read_text(reader: Reader, say: Say, quote: str) -> Steps[None]:
    while True:
        char = yield from _next(reader)
        if char == "\\":
            say((yield from _read_escape(reader)))
            continue
        if char == quote[0]:
            if len(quote) == 1:
                reader.take(reader.at + 1)
                return
            if (yield from reader.option(quote)):
                return
        end = reader.at + 1
        while end < len(reader.text) and reader.text[end] not in (quote[0], "\\"):
            end += 1
        say(json.dumps(reader.take(end), ensure_ascii=False)[1:-1])


def _read_escape(reader: Reader) -> Steps[str]:
    """Reads an escape; one that Python does not know keeps its backslash."""
    while len(reader.text) - reader.at < 2:
        if reader.ended:
            raise Cut
        yield
    sign = reader.text[reader.at + 1]
    length = _HEX.get(sign)
    if length is None:
        reader.take(reader.at + 2)
        return json.dumps(_ESCAPES.get(sign, "\\" + sign), ensure_ascii=False)[1:-1]
    while len(reader.text) - reader.at < 2 + length:
        if reader.ended:
            raise Cut
        yield
    code = reader.text[reader.at + 2 : reader.at + 2 + length]
    if not re.fullmatch(r"[0-9a-fA-F]+", code) or int(code, 16) > 0x10FFFF:
        reader.take(reader.at + 2)
        return json.dumps("\\" + sign)[1:-1]
    reader.take(reader.at + 2 + length)
    # Halves of a pair stay as they are written: only together they are a character.
    number = int(code, 16)
    return f"\\u{number:04x}" if number <= 0xFFFF else json.dumps(chr(number), ensure_ascii=False)[1:-1]


def _read_dict(reader: Reader, say: Say, depth: int) -> Steps[None]:
    reader.take(reader.at + 1)
    before = "{"
    while True:
        yield from reader.blanks()
        if (yield from _next(reader)) == "}":
            break
        say(before)
        before = ", "
        yield from read_python(reader, say, as_text=True, depth=depth + 1)
        yield from reader.blanks()
        if (yield from _next(reader)) != ":":
            raise Broken
        reader.take(reader.at + 1)
        say(": ")
        yield from reader.blanks()
        yield from read_python(reader, say, depth=depth + 1)
        yield from reader.blanks()
        if (yield from _next(reader)) == "}":
            break
        if not (yield from reader.option(",")):
            raise Broken
    reader.take(reader.at + 1)
    say("{}" if before == "{" else "}")


def _read_list(reader: Reader, say: Say, depth: int, close: str) -> Steps[None]:
    reader.take(reader.at + 1)
    before = "["
    while True:
        yield from reader.blanks()
        if (yield from _next(reader)) == close:
            break
        say(before)
        before = ", "
        yield from read_python(reader, say, depth=depth + 1)
        yield from reader.blanks()
        if (yield from _next(reader)) == close:
            break
        if not (yield from reader.option(",")):
            raise Broken
    reader.take(reader.at + 1)
    say("[]" if before == "[" else "]")


def _read_word(reader: Reader, say: Say, *, as_text: bool) -> Steps[None]:
    """Reads a number, True, False or None, whole."""
    while True:
        match = _WORD.match(reader.text, reader.at)
        end = match.end() if match else reader.at
        if end < len(reader.text) or reader.ended:
            break
        yield
    word = reader.text[reader.at : end]
    said = _WORDS.get(word) or _number(word)
    if said is None:
        raise Cut if end == len(reader.text) else Broken
    if end == len(reader.text):
        raise Cut  # a number may go on
    reader.take(end)
    say(json.dumps(word) if as_text else said)


def _number(word: str) -> str | None:
    """Gives a number of Python as one of JSON; None if it is none."""
    if not _NUMBER.fullmatch(word) or not any(char.isdigit() for char in word):
        return None
    plain = word.replace("_", "").removeprefix("+")
    try:
        json.loads(plain)
    except ValueError:
        try:
            return json.dumps(float(plain))
        except ValueError:
            return None
    return plain


def _next(reader: Reader) -> Steps[str]:
    char = yield from reader.peek()
    if not char:
        raise Cut
    return char


def python_rules(tools: Sequence[Tool]) -> str:
    """Writes the rule of `call`: one of the tools, with arguments that fit it, in the order of its schema."""
    rules = ["call: " + " | ".join(f"call_{at}" for at in range(len(tools)))]
    for at, tool in enumerate(tools):
        rules.append(f'call_{at}: {json.dumps(tool.name + "(")} {_arguments(tool, at)} ")"')
        rules += _members(tool, at)
    return "\n".join(rules)


def _held(tool: Tool) -> tuple[dict[str, JsonObject], Collection[str]] | None:
    schema = read_schema(tool)
    properties, required = read_properties(schema), read_required(schema)
    if not can_hold(properties, required) or not all(_KEY.fullmatch(key) for key in properties):
        return None
    return properties, required


def _arguments(tool: Tool, at: int) -> str:
    held = _held(tool)
    if held is None:
        value = '%json {"type": ["string", "number", "boolean", "array", "object"]}'
        member = f'/[A-Za-z_][A-Za-z0-9_]{{0,63}}/ "=" {value}'
        return f'({member} (", " {member}){MORE})?'
    return f"first_{at}_0"


def _members(tool: Tool, at: int) -> list[str]:
    """Writes a rule for each argument on, with and without one before it: commas stand between those that are there."""
    held = _held(tool)
    if held is None:
        return []
    properties, required = held
    rules: list[str] = []
    schema = read_schema(tool)
    keys = list(properties)
    for number, key in enumerate(keys):
        value = f"{json.dumps(key + '=')} {_value(properties[key], schema)}"
        for state, comma, other in (("first", "", "first"), ("next", '", " ', "next")):
            there = f"{comma}{value} next_{at}_{number + 1}"
            rules.append(
                f"{state}_{at}_{number}: {there}"
                if key in required
                else f"{state}_{at}_{number}: {there} | {other}_{at}_{number + 1}"
            )
    rules += [f'{state}_{at}_{len(keys)}: ""' for state in ("first", "next")]
    return rules


def _value(schema: JsonObject, root: JsonObject) -> str:
    if value_types(schema) == frozenset({"boolean"}) and "enum" not in schema and "const" not in schema:
        return '("True" | "False")'
    definitions = {key: root[key] for key in ("$defs", "definitions") if key in root}
    types = sorted(value_types(schema)) or ["string", "number", "boolean", "array", "object"]
    return f"%json {held_or({**schema, **definitions}, json.dumps({'type': types}))}"


def write_python(call: WrittenCall) -> str:
    """Writes a call as Python does."""
    arguments = cast("dict[str, object]", json.loads(call.arguments))
    return f"{call.name}({', '.join(f'{key}={_literal(value)}' for key, value in arguments.items())})"


def _literal(value: object) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        members = cast("dict[str, object]", value).items()
        return "{" + ", ".join(f"{_literal(key)}: {_literal(one)}" for key, one in members) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, cast("list[object]", value))) + "]"
    return repr(value)
