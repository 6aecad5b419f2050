"""The size of a picture from its first bytes, on crafted ones."""

import struct

import pytest
from tiny_companions import make_picture

from impetus.runtime.worker.picture import read_size

JPEG = (
    b"\xff\xd8\xff\xe0\x00\x10JFIF\0" + bytes(9)  # what a camera writes before the frame
    + b"\xff\xc4\x00\x04\0\0" + b"\xff\xff\xc2\x00\x11\x08" + struct.pack(">HH", 300, 400) + bytes(10)
)  # fmt: skip
GIF = b"GIF89a" + struct.pack("<HH", 20, 10)
BMP = b"BM" + bytes(16) + struct.pack("<ii", 7, -5)


@pytest.mark.parametrize(
    ("data", "size"),
    [(make_picture(1, width=96, height=64), (96, 64)), (JPEG, (400, 300)), (GIF, (20, 10)), (BMP, (7, 5))],
)
def test_the_size_is_read_and_every_shorter_beginning_is_none(data: bytes, size: tuple[int, int]) -> None:
    assert read_size(data) == size
    shortest = next(length for length in range(len(data) + 1) if read_size(data[:length]) is not None)
    assert all(read_size(data[:length]) in (None, size) for length in range(len(data)))
    assert read_size(data[: shortest - 1]) is None


@pytest.mark.parametrize(
    "data",
    [b"", b"no picture", b"RIFF\0\0\0\0WEBPVP8 ", b"\xff\xd8\xff\xe0\0\0" * 50, b"\xff\xd8" + b"\xff" * 99, GIF[:6] + bytes(4)],
)
def test_anything_else_is_none(data: bytes) -> None:
    assert read_size(data) is None
