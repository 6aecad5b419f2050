"""Broken JSON to the object that was meant, where there is no doubt about it."""

from __future__ import annotations

import ast
import json
import re
from typing import TypeAlias, cast

JsonObject: TypeAlias = "dict[str, object]"

_FENCE = re.compile(r"\A\s*```(?:json)?[ \t]*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)
_PUNCTUATION = re.compile(r"[\s\"'{}\[\],:\\]+")
_WORDS = re.compile(r"\b(?:True|False|None)\b")
_WORD_TO_JSON = {"True": "true", "False": "false", "None": "null"}
_DOUBTFUL_QUOTE = re.compile(r'"\s*[,:}\]]|[,:{\[]\s*"')
_STYLES: tuple[tuple[int | None, tuple[str, str]], ...] = (
    (None, (", ", ": ")),
    (None, (",", ":")),
    (2, (",", ": ")),
    (4, (",", ": ")),
)


def repair_object(text: str) -> JsonObject | None:
    """Gives the object that a broken text stands for, or None where it may stand for several, or for none.

    A repair may change nothing but quotes, brackets, commas and the like: what is said between them stays as it is.
    """
    text = _FENCE.sub(r"\1", text)
    whole = _read_whole(text)
    return whole if whole is not None else (_read_python(text) or _repair(text))


def go_on(begun: str, value: JsonObject) -> str | None:
    """Gives what must follow the beginning of a JSON text to make it that of a value; None if it cannot be."""
    for indent, separators in _STYLES:
        whole = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)
        if whole.startswith(begun):
            return whole[len(begun) :]
    return None


def _read_whole(text: str) -> JsonObject | None:
    """Reads what is JSON once a fence around it is gone."""
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return cast("JsonObject", value) if isinstance(value, dict) else None


def _read_python(text: str) -> JsonObject | None:
    """Reads a dict as Python writes it, in single quotes."""
    try:
        value: object = ast.literal_eval(text.strip())
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return cast("JsonObject", value) if isinstance(value, dict) and value else None


def _repair(text: str) -> JsonObject | None:
    from json_repair import loads  # what comes in order need not pay for

    if text.replace('\\"', "").count('"') % 2 or (text.replace("\\'", "").count("'") % 2 and '"' not in text):
        return None
    try:
        value: object = loads(text, skip_json_loads=True)
        said = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not value or _letters(text) != _letters(said) or _has_doubtful_quote(value):
        return None
    return cast("JsonObject", value)


def _letters(text: str) -> str:
    """Gives what is left without punctuation."""
    return _PUNCTUATION.sub("", _WORDS.sub(lambda match: _WORD_TO_JSON[match[0]], text))


def _has_doubtful_quote(value: object) -> bool:
    """Whether a quote stands in a string where one could as well end it."""
    match value:
        case str():
            return _DOUBTFUL_QUOTE.search(value) is not None
        case dict():
            members = cast("JsonObject", value)
            return any(map(_has_doubtful_quote, (*members, *members.values())))
        case list():
            return any(map(_has_doubtful_quote, cast("list[object]", value)))
        case _:
            return False
