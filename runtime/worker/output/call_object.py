"""A call as a JSON object, `{"name": …, "arguments": {…}}`: its arguments are handed on as they arrive."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import cast

from .json_text import Broken, Cut, expect, read_string, read_value
from .marks import Marks
from .outlet import Outlet
from .reader import Reader, Steps
from .repair import JsonObject, go_on, repair_object


@dataclass(frozen=True, slots=True)
class CallKeys:
    """What the parts of a call are named."""

    name: tuple[str, ...] = ("name", "function", "tool_name")
    arguments: tuple[str, ...] = ("arguments", "parameters", "args", "input")
    id: tuple[str, ...] = ("id", "tool_call_id", "call_id")
    idle: tuple[str, ...] = ("type", "index")
    """Parts that say nothing."""


KEYS = CallKeys()


class CallObject:
    """Reads one call.

    Arguments are handed on as they arrive if the call's name came before them and is one that was offered. Those of any other
    are handed on once they are whole: only then it is sure that they are no text.

    Args:
        reader: stands before the object, and keeps what is taken.
        outlet: gets the call and its arguments.
        names: of the tools that were offered.
        ends: what stands behind a call, where a broken one is searched for its end.
        any_name: whether a call of another name is one, too; if not, reading stops at such a name, or at a part that no call
            has.
        keys: what its parts are named.
    """

    def __init__(
        self,
        reader: Reader,
        outlet: Outlet,
        names: Collection[str],
        ends: Marks,
        *,
        any_name: bool = True,
        keys: CallKeys = KEYS,
    ) -> None:
        self._reader = reader
        self._outlet = outlet
        self._names = names
        self._ends = ends
        self._any_name = any_name
        self._keys = keys
        self._name = ""
        self._id = ""
        self._arguments: str | None = None
        self._streamed: list[str] | None = None
        """What was handed on; None while nothing was."""
        self._others = False
        """Whether there are parts that no call has."""

    def read(self) -> Steps[bool]:
        """Reads it, and tells whether it was a call; if not, what was taken is still text."""
        begin = self._reader.place
        try:
            yield from self._members()
        except Cut:
            is_call = self._streamed is not None or (self._arguments is not None and self._hand_on())
            if is_call:  # half an escape or word is left
                self._reader.take(len(self._reader.text))
            return is_call
        except Broken:
            if not self._any_name and (self._others or self._name not in self._names):
                return False
            return (yield from self._mend(begin))
        return self._streamed is not None or self._hand_on()

    def _members(self) -> Steps[None]:
        yield from expect(self._reader, "{")
        while True:
            yield from self._reader.blanks()
            if (yield from self._reader.peek()) == "}":
                break
            key = yield from self._string()
            yield from self._reader.blanks()
            yield from expect(self._reader, ":")
            yield from self._reader.blanks()
            yield from self._value(key, (yield from self._reader.peek()))
            yield from self._reader.blanks()
            if (yield from self._reader.peek()) == "}":
                break
            yield from expect(self._reader, ",")
        yield from expect(self._reader, "}")

    def _value(self, key: str, first: str) -> Steps[None]:
        if key == "function" and first == "{":
            yield from self._members()
        elif key in self._keys.name and first == '"' and not self._name:
            self._name = yield from self._string()
            if not self._any_name and self._name not in self._names:
                raise Broken
        elif key in self._keys.id and first == '"':
            self._id = yield from self._string()
        elif key in self._keys.arguments and first == "{" and self._arguments is None:
            yield from self._read_arguments()
        elif key in self._keys.arguments and first == '"' and self._arguments is None:
            self._arguments = _object_text((yield from self._string()))
        else:
            if not self._any_name and key not in self._keys.idle:
                self._others = True
                raise Broken
            yield from read_value(self._reader, _drop)
            self._others |= key not in self._keys.idle and first != "n"

    def _read_arguments(self) -> Steps[None]:
        parts: list[str] = []
        if self._name and self._name in self._names:
            self._streamed = parts
            self._outlet.call(self._name, self._id)
        yield from read_value(self._reader, self._say_argument if self._streamed is parts else parts.append)
        self._arguments = "".join(parts)

    def _say_argument(self, text: str) -> None:
        self._outlet.arguments(text)
        if self._streamed is not None:
            self._streamed.append(text)

    def _string(self) -> Steps[str]:
        parts: list[str] = []
        yield from read_string(self._reader, parts.append)
        return str(json.loads("".join(parts) + '"', strict=False))

    def _hand_on(self) -> bool:
        """Hands the whole call on, if it is one."""
        if not self._name or (self._others and self._arguments is None):
            return False
        if not self._any_name and self._name not in self._names:
            return False
        self._outlet.call(self._name, self._id)
        self._outlet.arguments(self._arguments or "{}")
        return True

    def _mend(self, begin: int) -> Steps[bool]:
        """Reads on to the end of a call that is no JSON, and makes of it what can be made."""
        broken_at = self._reader.place
        mark = yield from self._reader.until(self._ends, _drop, takes=False)
        raw = self._reader.kept(begin)
        text = raw if mark else raw.rstrip().removesuffix("]").rstrip()
        whole = repair_object(text) if mark or text.endswith("}") else None
        meant = self._arguments_of(whole) if whole else None
        if self._streamed is None:
            if meant is None:
                return False
            self._arguments = json.dumps(meant, ensure_ascii=False)
            return self._hand_on()
        if self._arguments is None:
            rest = go_on("".join(self._streamed), meant) if meant is not None else None
            self._outlet.arguments(self._reader.kept(broken_at) if rest is None else rest)
        return True

    def _arguments_of(self, call: JsonObject) -> JsonObject | None:
        """Finds the arguments in a call that was mended, and takes note of its name."""
        inner = call.get("function")
        if isinstance(inner, dict):
            call = cast("JsonObject", inner)
        self._name = next((value for key in self._keys.name if isinstance(value := call.get(key), str)), "")
        for key in self._keys.arguments:
            if isinstance(value := call.get(key), dict):
                return cast("JsonObject", value)
        return None


def _object_text(text: str) -> str:
    """Gives arguments that were written as a string; raises Broken if they are no object."""
    try:
        value: object = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        value = repair_object(text)
        text = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict):
        raise Broken
    return text.strip()


def _drop(text: str) -> None:
    """Takes text that nobody needs."""
