import random
import time
from pathlib import Path

import pytest

from impetus.runtime.worker.prefix.fingerprint import fingerprint_files

MIB = 1024 * 1024


def test_small_files_are_read_whole(tmp_path: Path) -> None:
    one = tmp_path / "one"
    draw = random.Random(1)
    content = bytearray(draw.randbytes(3 * MIB))
    one.write_bytes(content)
    seen = {fingerprint_files([one])}
    for _ in range(20):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        one.write_bytes(content)
        seen.add(fingerprint_files([one]))
    assert len(seen) == 21


def test_a_copy_is_the_same_and_parts_have_an_order(tmp_path: Path) -> None:
    one, two, copy = tmp_path / "one", tmp_path / "two", tmp_path / "copy"
    one.write_bytes(b"a" * 100)
    two.write_bytes(b"b" * 100)
    copy.write_bytes(b"a" * 100)
    assert fingerprint_files([one]) == fingerprint_files([copy])
    assert len({fingerprint_files(paths) for paths in ([], [one], [two], [one, two], [two, one])}) == 5
    with pytest.raises(FileNotFoundError):
        fingerprint_files([tmp_path / "none"])


def test_a_change_of_a_layer_a_header_or_the_end_shows_in_a_large_file(tmp_path: Path) -> None:
    large = tmp_path / "large"
    size = 3 * 1024 * MIB
    with large.open("wb") as file:
        file.truncate(size)  # sparse: it takes no room
    seen = {fingerprint_files([large])}
    for offset, length in [(100, 1), (size - 1, 1), (size // 3, 8 * MIB), (size // 2, 8 * MIB)]:
        with large.open("r+b") as file:
            file.seek(offset)
            file.write(b"\1" * length)
        seen.add(fingerprint_files([large]))
    with large.open("r+b") as file:
        file.truncate(size - 1)
    seen.add(fingerprint_files([large]))
    assert len(seen) == 6


def test_gigabytes_take_milliseconds(tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(8 * 1024 * MIB)
    times: list[float] = []
    for _ in range(10):
        began = time.perf_counter()
        fingerprint_files([large])
        times.append(time.perf_counter() - began)
    assert min(times) < 0.05
