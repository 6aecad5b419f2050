import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impetus.runtime import prefix_files
from impetus.runtime.prefix_files import (
    FileHead,
    FileStart,
    clear,
    list_files,
    list_models,
    pack_head,
    pack_start,
    parse_head,
    parse_start,
)

KEYS = st.binary(min_size=16, max_size=16)
NAME = "0123456789abcdef" * 2


@given(st.builds(FileStart, st.booleans(), st.integers(0, prefix_files.MAX_HEAD_BYTES), KEYS, KEYS, KEYS))
def test_a_start_is_read_as_it_was_written(start: FileStart) -> None:
    packed = pack_start(start)
    assert len(packed) == prefix_files.START_BYTES == 64
    assert parse_start(packed) == start


@given(
    st.builds(
        FileHead,
        KEYS,
        st.integers(0, 2**32 - 1),
        st.integers(0, 40).map(lambda count: os.urandom(4 * count)),
        st.integers(0, 2**64 - 1),
        st.integers(0, 2**32 - 1),
        st.text(st.characters(codec="utf-8"), max_size=20),
    )
)
def test_a_head_is_read_as_it_was_written(head: FileHead) -> None:
    assert parse_head(pack_head(head)) == head


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(data: bytes) -> None:
    parse_start(data)
    parse_head(data)


def test_another_version_or_an_absurd_length_is_not_ours() -> None:
    packed = bytearray(pack_start(FileStart(False, 100, bytes(16), bytes(16), bytes(16))))
    assert parse_start(bytes(packed)) is not None
    for at, value in ((0, 0), (8, prefix_files.VERSION + 1), (10, 2), (15, 255)):
        other = packed.copy()
        other[at] = value
        assert parse_start(bytes(other)) is None


def test_a_label_too_long_is_shortened() -> None:
    head = parse_head(pack_head(FileHead(bytes(16), 0, b"", 0, 0, "a" * 5000)))
    assert head is not None
    assert head.label == "a" * 1024


@pytest.mark.parametrize(
    "name", ["notes.txt", NAME, f"{NAME}.txt", f"{NAME}.kv1.tmp", f"{NAME[:-1]}.kv1", f"{NAME}.kv1.12.tmp", f"{NAME}.kv1x"]
)
def test_what_is_not_ours_is_neither_listed_nor_deleted(tmp_path: Path, name: str) -> None:
    for folder in (tmp_path / NAME, tmp_path / "elsewhere"):
        folder.mkdir()
        (folder / name).write_bytes(b"x")
    (tmp_path / f"{NAME}.kv1").write_bytes(b"x")
    (tmp_path / "elsewhere" / f"{NAME}.kv1").write_bytes(b"x")
    before = sorted(tmp_path.rglob("*"))
    assert list(list_files(tmp_path)) == []
    assert list_models(tmp_path) == []
    assert clear(tmp_path) == (0, 0)
    assert sorted(tmp_path.rglob("*")) == before


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / f"{NAME}.kv1").write_bytes(b"x")
    folder = tmp_path / "prefix"
    folder.mkdir()
    (folder / NAME).symlink_to(outside)
    inside = folder / ("f" * 32)
    inside.mkdir()
    (inside / f"{NAME}.kv1").symlink_to(outside / f"{NAME}.kv1")
    assert list(list_files(folder)) == []
    clear(folder)
    assert (outside / f"{NAME}.kv1").exists()


def test_damaged_files_are_listed_with_what_is_known(tmp_path: Path) -> None:
    folder = tmp_path / NAME
    folder.mkdir()
    (folder / f"{NAME}.kv1").write_bytes(b"damaged")
    (folder / f"{NAME}.kv7").write_bytes(b"of the future")
    (folder / f"{NAME}.kv1.77-ab.tmp").write_bytes(b"unfinished")
    kinds = {file.kind: file.writer_pid for file in list_files(tmp_path)}
    assert kinds == {"plain": None, "other": None, "temporary": 77}
    (model,) = list_models(tmp_path)
    assert (model.model, model.root, model.segments, model.tokens, model.size_bytes) == (None, NAME, 2, None, 20)
    assert clear(tmp_path) == (3, 30)
    assert list(tmp_path.iterdir()) == []


def test_no_folder_is_an_empty_one(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    assert (list(list_files(nothing)), list_models(nothing), clear(nothing)) == ([], [], (0, 0))
