"""A tool call's arguments as the object that some dialects answer with."""

from __future__ import annotations

import json
import re

import msgspec

_OPENING = re.compile(r"\s*\{")
_KEY = re.compile(r'\s*"(?:[^"\\]|\\.)*"\s*:\s*')
_COMMA = re.compile(r"\s*,")
_EMPTY = msgspec.Raw(b"{}")


class _Anything(msgspec.Struct, frozen=True):
    """Takes any JSON object and keeps none of it."""


_OBJECT = msgspec.json.Decoder(_Anything)
_VALUE = json.JSONDecoder()


def to_object(arguments: str) -> msgspec.Raw:
    """Gives arguments as a JSON object: as they were written; of those that were cut short the members that are whole.

    A member that is not whole is left out rather than closed: half a file is worse than a call that fails.
    """
    for text in (arguments, _cut_back(arguments)):
        try:
            _OBJECT.decode(text)
        except (msgspec.DecodeError, RecursionError):
            continue
        return msgspec.Raw(text.encode())
    return _EMPTY


def _cut_back(arguments: str) -> str:
    """Ends an object behind its last member that something follows."""
    opening = _OPENING.match(arguments)
    if opening is None:
        return ""
    end = at = opening.end()
    while key := _KEY.match(arguments, at):
        try:
            _, value_end = _VALUE.raw_decode(arguments, key.end())
        except (json.JSONDecodeError, RecursionError):
            break
        comma = _COMMA.match(arguments, value_end)
        if comma is None:
            break
        end, at = value_end, comma.end()
    return arguments[:end] + "}"
