"""Cuts the bytes that come from an engine into frames."""

from __future__ import annotations

import msgspec

from ..frames import LENGTH, MAX_FRAME_BYTES, FromEngine, decode_from_engine


class BrokenStream(Exception):
    """What came is no frame: something else wrote to the pipe."""


class FrameReader:
    """Keeps what is not whole yet; a frame is decoded where it lies, without a copy of its own."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[FromEngine]:
        """Takes what arrived and gives the frames that are whole.

        Raises:
            BrokenStream: the bytes make no sense; nothing more can be read then.
        """
        rest = self._rest
        if rest:
            rest += data
            if not self._first_is_whole():
                return []
            data = bytes(rest)
            rest.clear()
        frames: list[FromEngine] = []
        view = memoryview(data)
        at, size = 0, len(data)
        while size - at >= LENGTH.size:
            (length,) = LENGTH.unpack_from(data, at)
            if length > MAX_FRAME_BYTES:
                raise BrokenStream(f"a frame of {length} bytes")
            end = at + LENGTH.size + length
            if end > size:
                break
            try:
                frames.append(decode_from_engine(view[at + LENGTH.size : end]))
            except msgspec.DecodeError as error:
                raise BrokenStream(str(error)) from error
            at = end
        if at < size:
            rest += view[at:]
        return frames

    def _first_is_whole(self) -> bool:
        if len(self._rest) < LENGTH.size:
            return False
        (length,) = LENGTH.unpack_from(self._rest)
        return len(self._rest) >= LENGTH.size + length or length > MAX_FRAME_BYTES
