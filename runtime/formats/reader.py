"""Reads a file's head step by step, and never past its end."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Protocol
from zlib import crc32

from ..errors import FormatError

CHUNK_BYTES = 256 * 1024
_WORTH_REMEMBERING = 4096
"""Strings; shorter lists are walked through in no time."""
_BEGINNING_BYTES = 4096
_LONGEST_REMEMBERED_BYTES = 32 << 20
_MOST_REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class _List:
    """A list of strings that was walked through."""

    size_bytes: int
    checksum: int
    is_there: bool


_known_lists: dict[tuple[object, ...], _List] = {}
"""By how many there are, what was looked for and how they begin, the oldest first; as a cache of a pure function is."""


class ByteStream(Protocol):
    """What is read from: an open file, or bytes in memory."""

    def read(self, size: int, /) -> bytes:
        """Reads so many bytes, or what is left."""
        ...

    def seek(self, offset: int, /) -> int:
        """Goes to a place, counted from the start."""
        ...


class ByteReader:
    """Walks forward through a file's head; every length is held against the file's size before a byte is read.

    It reads through a window and maps nothing, as a mapped file that another program cuts short ends the process.
    """

    def __init__(self, file: ByteStream, path: Path, size_bytes: int) -> None:
        self._file = file
        self._window = b""
        self._window_start = 0
        self._at = 0
        self.path = path
        self.size_bytes = size_bytes
        self.bytes_read = 0
        """How much was taken from the file so far."""

    @property
    def position(self) -> int:
        """Where the next byte comes from, counted from the file's start."""
        return self._window_start + self._at

    @property
    def remaining_bytes(self) -> int:
        """How much is left of the file."""
        return self.size_bytes - self.position

    def fail(self, why: str, *, cure: str = "Download it again.") -> FormatError:
        """Makes the error for trouble at this place."""
        return FormatError(self.path, why, offset=self.position, cure=cure)

    def read_number(self, layout: Struct) -> int:
        """Reads one whole number."""
        return int(self.read_values(layout)[0])

    def read_values(self, layout: Struct) -> tuple[int | float | bool, ...]:
        """Reads what a layout describes; raises FormatError where the file ends first."""
        if len(self._window) - self._at < layout.size:
            self._need(layout.size)
        values = layout.unpack_from(self._window, self._at)
        self._at += layout.size
        return values

    def read_bytes(self, count: int) -> bytes:
        """Reads so many bytes; raises FormatError where the file ends first."""
        if len(self._window) - self._at < count:
            self._need(count)
        start = self._at
        self._at += count
        return self._window[start : self._at]

    def read_sized(self, length: Struct, most: int, what: str) -> bytes:
        """Reads bytes that have their number before them; raises FormatError where that is too large or the file ends first.

        A header has thousands of them, so this and `read_counted` ask nobody else while the window has what is asked for.
        """
        if len(self._window) - self._at < length.size:
            self._need(length.size)
        count: int = length.unpack_from(self._window, self._at)[0]
        self._at += length.size
        if count > most:
            raise self.fail(f"{what} is {count:,} bytes long")
        if len(self._window) - self._at < count:
            self._need(count)
        start = self._at
        self._at += count
        return self._window[start : self._at]

    def read_counted(self, count: Struct, layouts: Sequence[Struct]) -> tuple[int, ...] | None:
        """Reads a number, and the values whose layout stands at its place; None where there is no such layout."""
        if len(self._window) - self._at < count.size:
            self._need(count.size)
        number: int = count.unpack_from(self._window, self._at)[0]
        self._at += count.size
        if number >= len(layouts):
            return None
        layout = layouts[number]
        if len(self._window) - self._at < layout.size:
            self._need(layout.size)
        values = layout.unpack_from(self._window, self._at)
        self._at += layout.size
        return values

    def skip(self, count: int) -> None:
        """Passes over so many bytes without reading those outside the window."""
        if count > self.remaining_bytes:
            raise self.fail(f"the file ends {count - self.remaining_bytes:,} bytes too early")
        self._at += count
        if self._at > len(self._window):
            self._window_start = self.position
            self._window, self._at = b"", 0
            self._file.seek(self._window_start)

    def skip_strings(self, count: int, length: Struct, looked_for: Sequence[bytes] = ()) -> bool:
        """Passes over strings that each have their length before them; says whether any that is looked for is among them.

        A vocabulary has up to half a million of them, so the loop is written for speed. What is looked for may be missed where
        a window ends in it.
        """
        if count * length.size > self.remaining_bytes:
            raise self.fail(f"a list of {count:,} strings does not fit into the file")
        if count < _WORTH_REMEMBERING:
            return self._walk_strings(count, length, looked_for)
        self._need(min(_BEGINNING_BYTES, self.remaining_bytes))
        key = (count, length.format, tuple(looked_for), self._window[self._at : self._at + _BEGINNING_BYTES])
        known = _known_lists.get(key)
        if known is not None and known.size_bytes <= self.remaining_bytes:
            self._need(known.size_bytes)
            if crc32(self._window[self._at : self._at + known.size_bytes]) == known.checksum:
                self._at += known.size_bytes
                return known.is_there
        start = self.position
        is_there = self._walk_strings(count, length, looked_for)
        self._remember(key, start, is_there)
        return is_there

    def _remember(self, key: tuple[object, ...], start: int, is_there: bool) -> None:
        """Keeps how long a list is and what its bytes are, as models of one family have the same."""
        size = self.position - start
        if size > _LONGEST_REMEMBERED_BYTES:
            return
        end = self.position
        self._file.seek(start)
        body = self._file.read(size)
        self._file.seek(end)
        self._window_start, self._window, self._at = end, b"", 0
        if len(body) == size:
            while len(_known_lists) >= _MOST_REMEMBERED:
                _known_lists.pop(next(iter(_known_lists)))
            _known_lists[key] = _List(size, crc32(body), is_there)

    def _walk_strings(self, count: int, length: Struct, looked_for: Sequence[bytes]) -> bool:
        unpack, width = length.unpack_from, length.size
        left, is_there = count, False
        while left:
            self._need(width)
            window, at = self._window, self._at
            done = 0
            try:
                for done in range(left):  # noqa: B007
                    at += width + unpack(window, at)[0]
                left = 0
            except (struct.error, OverflowError):
                # The window, or the file, ends before the next length; so many were read.
                left -= done
            is_there = is_there or any(window.find(text, self._at, at) >= 0 for text in looked_for)
            self.skip(at - self._at)
        return is_there

    def _need(self, count: int) -> None:
        if len(self._window) - self._at >= count:
            return
        if count > self.remaining_bytes:
            raise self.fail(f"the file ends {count - self.remaining_bytes:,} bytes too early")
        rest = self._window[self._at :]
        fresh = self._file.read(max(count - len(rest), CHUNK_BYTES))
        self.bytes_read += len(fresh)
        self._window_start, self._at = self.position, 0
        self._window = rest + fresh
        if len(self._window) < count:
            raise self.fail("the file became shorter while it was read")
