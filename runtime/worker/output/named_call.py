"""A call whose name is known before its arguments, which are one JSON object: `NAME{…}`, with a family's marks between."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection

from .json_text import Broken, Cut, Say, read_value
from .marks import Marks
from .outlet import Outlet
from .reader import Reader, Steps
from .repair import go_on, repair_object

_WORD = re.compile(r"[\w.:/$-]*")
_EXCESS = re.compile(r"[\s}\]`;]*")

ReadArguments = Callable[[Reader, Say], Steps[object]]
"""Reads arguments, and hands them on as JSON; raises Broken where they are none."""


def read_word(reader: Reader) -> Steps[str]:
    """Takes the name that comes next, or "" where none does."""
    while True:
        match = _WORD.match(reader.text, reader.at)
        end = match.end() if match else reader.at
        if end < len(reader.text) or reader.ended:
            return reader.take(end)
        yield


def read_arguments(
    reader: Reader,
    outlet: Outlet,
    name: str,
    names: Collection[str],
    ends: Marks,
    *,
    call_id: str = "",
    read: ReadArguments = read_value,
) -> Steps[bool]:
    """Reads the arguments of a call, and tells whether it was one; if not, what was taken is still text.

    Those of a tool that was offered are handed on as they arrive; those of any other once they are whole.

    Args:
        reader: stands before them, and keeps what is taken.
        outlet: gets the call and its arguments.
        name: of the tool.
        names: of the tools that were offered.
        ends: what stands behind the arguments, where broken ones are searched for their end.
        call_id: the model's own number.
        read: reads them.
    """
    begin = reader.place
    parts: list[str] = []
    streams = name in names

    def say(text: str) -> None:
        parts.append(text)
        if streams:
            outlet.arguments(text)

    if streams:
        outlet.call(name, call_id)
    try:
        yield from read(reader, say)
    except Cut:
        if streams and reader.ended and ends.find(reader.text, reader.at) is None:  # half an escape or word is left
            reader.take(len(reader.text))
        return streams
    except Broken:
        broken_at = reader.place
        mark = yield from reader.until(ends, _drop, takes=False)
        raw = reader.kept(begin)
        meant = repair_object(raw) if mark or _EXCESS.sub("", raw[-1:]) == "" else None
        if streams:
            rest = go_on("".join(parts), meant) if meant is not None else None
            outlet.arguments(reader.kept(broken_at) if rest is None else rest)
            return True
        if meant is None:
            return False
        parts[:] = [json.dumps(meant, ensure_ascii=False)]
    if not streams:
        outlet.call(name, call_id)
        outlet.arguments("".join(parts))
    return True


def _drop(text: str) -> None:
    """Takes text that nobody needs."""
