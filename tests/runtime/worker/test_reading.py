import os
import sys
import threading
from pathlib import Path

import pytest

from impetus.runtime.engines.frame_reader import FrameReader
from impetus.runtime.frames import Progress
from impetus.runtime.worker.__main__ import LoadProgress
from impetus.runtime.worker.pipe import Outlet
from impetus.runtime.worker.reading import ReadingWatch, cached_share, files_of

MIB = 1 << 20


def write_out(path: Path, size_bytes: int) -> None:
    """Writes a file and lets the system forget it."""
    path.write_bytes(bytes(size_bytes))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_through(path: Path) -> None:
    with path.open("rb") as file:
        while file.read(MIB):
            pass


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A folder whose files the system can forget; one in memory cannot."""
    if sys.platform != "linux":
        pytest.skip("only Linux can be told to forget a file")
    probe = tmp_path / "probe"
    write_out(probe, MIB)
    if cached_share([probe]) != 0:
        pytest.skip("this folder is kept in memory")
    return tmp_path


def test_a_file_that_was_just_written_is_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(bytes(3 * MIB + 5))
    assert cached_share([path]) == 1


def test_the_share_is_of_all_files_by_their_sizes(disk: Path) -> None:
    small, large = disk / "small", disk / "large"
    write_out(small, MIB)
    write_out(large, 3 * MIB)
    assert cached_share([small, large]) == 0
    read_through(large)
    assert cached_share([small, large]) == 0.75
    # To look does not make the system read.
    assert cached_share([small, large]) == 0.75


def test_what_cannot_be_told_is_none(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    assert cached_share([empty]) is None
    assert cached_share([]) is None
    assert cached_share([tmp_path / "missing"]) is None
    assert cached_share([tmp_path]) is None


def test_a_model_may_be_of_one_file_of_several_or_a_folder(tmp_path: Path) -> None:
    shards = [tmp_path / f"m-{number:05}-of-00003.gguf" for number in (1, 2, 3)]
    for shard in shards[:2]:
        shard.touch()
    assert files_of(shards[0]) == tuple(shards[:2])
    assert files_of(tmp_path / "m.gguf") == (tmp_path / "m.gguf",)
    (tmp_path / "inner").mkdir()
    assert files_of(tmp_path) == tuple(shards[:2])


def test_it_looks_at_once_and_again_until_the_block_ends(disk: Path) -> None:
    path = disk / "model.gguf"
    write_out(path, 2 * MIB)
    seen: list[float] = []
    looked = threading.Event()

    def report(share: float) -> None:
        seen.append(share)
        looked.set()

    with ReadingWatch(path, report):
        assert looked.wait(5)
        read_through(path)
        while seen[-1] != 1:
            looked.clear()
            assert looked.wait(5)
    assert seen[0] == 0
    assert seen == sorted(seen)
    ended = len(seen)
    looked.clear()
    assert not looked.wait(0.3)
    assert len(seen) == ended


def test_progress_follows_what_is_in_memory_and_never_goes_back() -> None:
    ends = os.pipe()
    try:
        progress = LoadProgress(Outlet(ends[1]), every_s=0)
        progress(0.25)
        progress.note_cached(0.5)
        progress(1.0)
        progress.note_cached(0.4)
        progress(1.0)
        progress.note_cached(1.0)
        progress(1.0)
        frames = FrameReader().feed(os.read(ends[0], 4096))
    finally:
        for end in ends:
            os.close(end)
    assert [frame.fraction for frame in frames if isinstance(frame, Progress)] == [0.25, 0.5, 0.5, 0.5, 0.5, 0.95, 0.95]


def test_what_cannot_be_watched_is_left_alone(tmp_path: Path) -> None:
    seen: list[float] = []
    with ReadingWatch(tmp_path / "missing", seen.append):
        pass
    assert seen == []
