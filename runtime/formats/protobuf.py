"""Walks the fields of a Protocol Buffers message without reading what is in them.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path

MOST_FIELDS = 4_096
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message."""

    number: int
    length: int | None
    """Of its content in bytes, where it has one."""
    value: int | None
    """Where it is a number of variable length."""


def read_fields(path: Path) -> list[Field] | None:
    """Lists a file's outermost fields; None where it is no such message, or ends before its fields do."""
    fields, missing_bytes = read_beginning(path)
    return fields if missing_bytes == 0 else None


def read_beginning(path: Path) -> tuple[list[Field], int | None]:
    """Lists the outermost fields that are whole, and how many bytes the file lacks behind them; None where it is no message."""
    fields: list[Field] = []
    size = path.stat().st_size
    with path.open("rb") as file:
        at = 0
        while at < size and len(fields) < MOST_FIELDS:
            file.seek(at)
            head = file.read(20)
            tag, at_value = _varint(head, 0)
            value, after = _varint(head, at_value)
            if tag is None or tag >> 3 == 0:
                return fields, None
            kind, length = tag & 7, None
            if kind == _VARINT and value is not None:
                at += after
            elif kind == _LENGTH and value is not None:
                at, length, value = at + after + value, value, None
            elif kind in (_FIXED64, _FIXED32):
                at, value = at + at_value + (8 if kind == _FIXED64 else 4), None
            else:
                return fields, None
            if at > size:
                return fields, at - size
            fields.append(Field(tag >> 3, length, value))
    return fields, 0


def walk_message(content: bytes | mmap, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Walks the fields of a message in memory.

    Args:
        content: holds it.
        begin: where it begins.
        end: where it ends.

    Yields:
        Of each field its number, and where its content begins and ends.

    Raises:
        ValueError: it is no message, or a field ends behind it.
    """
    at = begin
    while at < end:
        head = content[at : at + 20]
        tag, after_tag = _varint(head, 0)
        length, after = _varint(head, after_tag)
        if tag is None or (kind := tag & 7) not in (_VARINT, _FIXED64, _LENGTH, _FIXED32):
            raise ValueError(f"there is no field at {at}")
        first = at + (after if kind == _LENGTH else after_tag)
        at = first + {_FIXED64: 8, _FIXED32: 4, _LENGTH: length or 0}.get(kind, after - after_tag)
        if at > end or (length is None and kind in (_VARINT, _LENGTH)):
            raise ValueError(f"the field at {first} is not whole")
        yield tag >> 3, first, at


def read_numbers(content: bytes | mmap, begin: int, end: int) -> list[int]:
    """Gives the numbers of variable length in a field's content: one, or several that are packed; raises ValueError."""
    numbers: list[int] = []
    while begin < end:
        number, after = _varint(content[begin : min(begin + 10, end)], 0)
        if number is None:
            raise ValueError(f"there is no number at {begin}")
        numbers.append(number)
        begin += after
    return numbers


def _varint(head: bytes, at: int) -> tuple[int | None, int]:
    if at < len(head) and head[at] < 0x80:
        return head[at], at + 1
    value = 0
    for index in range(10):
        if at + index >= len(head):
            return None, at
        byte = head[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if not byte & 0x80:
            return value, at + index + 1
    return None, at
