"""How large a picture is, from its first bytes: what is too large is refused before anything decodes it."""

from __future__ import annotations

import struct

MOST_PIXELS = 36_000_000
"""As a camera's; decoded they are 108 MB."""
KINDS = "PNG, JPEG, GIF and BMP"
_PNG = b"\x89PNG\r\n\x1a\n"
_GIFS = (b"GIF87a", b"GIF89a")
_NO_FRAMES = frozenset({0xC4, 0xC8, 0xCC})
"""JPEG's markers among those of frames that are none: tables and extensions."""


def read_size(data: bytes) -> tuple[int, int] | None:
    """Reads width and height of a PNG, JPEG, GIF or BMP file; None where it is none of them, or cut short.

    Sources: https://www.w3.org/TR/png/#11IHDR, https://www.w3.org/Graphics/JPEG/itu-t81.pdf (B.2.2),
    https://www.w3.org/Graphics/GIF/spec-gif89a.txt (18).
    """
    try:
        if data.startswith(_PNG):
            width, height = struct.unpack_from(">II", data, 16)
        elif data.startswith(_GIFS):
            width, height = struct.unpack_from("<HH", data, 6)
        elif data.startswith(b"BM"):
            width, height = map(abs, struct.unpack_from("<ii", data, 18))
        elif data.startswith(b"\xff\xd8"):
            return _read_jpeg_size(data)
        else:
            return None
    except struct.error:
        return None
    return (width, height) if width and height else None


def _read_jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    while True:
        fill, marker = struct.unpack_from(">BB", data, at)
        if fill != 0xFF:
            return None
        if marker == 0xFF:
            at += 1
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return (width, height) if width and height else None
        at += 2 + max(2, length)
