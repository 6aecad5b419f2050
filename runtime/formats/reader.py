"""Reads a file's head step by step, and never past its end."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from struct import Struct
from typing import BinaryIO

from ..errors import FormatError

CHUNK_BYTES = 256 * 1024


class ByteReader:
    """Walks forward through a file's head; every length is held against the file's size before a byte is read.

    It reads through a window and maps nothing, as a mapped file that another program cuts short ends the process.
    """

    def __init__(self, file: BinaryIO, path: Path, size_bytes: int) -> None:
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
        self._need(layout.size)
        values = layout.unpack_from(self._window, self._at)
        self._at += layout.size
        return values

    def read_bytes(self, count: int) -> bytes:
        """Reads so many bytes; raises FormatError where the file ends first."""
        self._need(count)
        start = self._at
        self._at += count
        return self._window[start : self._at]

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
