import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impetus.runtime.worker.prefix import seal
from impetus.runtime.worker.prefix.seal import Sealer, open_key, sealed_bytes

MASTER, SALT, START = bytes(range(32)), bytes(16), b"start" * 12


@given(st.integers(0, 70))
def test_a_state_comes_back_from_its_pieces(size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seal, "CHUNK_BYTES", 16)
        sealer = Sealer(MASTER)
        state = os.urandom(size)
        sealed = b"".join(sealer.seal_state(SALT, state))
        assert len(sealed) == sealed_bytes(size)
        assert sealer.open_state(SALT, sealed) == state
        assert sealer.open_state(bytes(15) + b"\1", sealed) == (None if size else b"")


def test_pieces_cannot_change_places() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seal, "CHUNK_BYTES", 16)
        sealer = Sealer(MASTER)
        first, second = sealer.seal_state(SALT, bytes(32))
        assert sealer.open_state(SALT, first + second) == bytes(32)
        assert sealer.open_state(SALT, second + first) is None
        assert sealer.open_state(SALT, first[:-1]) is None


def test_a_head_belongs_to_its_file_and_its_key() -> None:
    sealer = Sealer(MASTER)
    sealed = sealer.seal_head(SALT, START, b"head")
    assert b"head" not in sealed
    assert sealer.open_head(SALT, START, sealed) == b"head"
    assert sealer.open_head(SALT, START[:-1] + b"x", sealed) is None
    other = Sealer(bytes(32))
    assert other.open_head(SALT, START, sealed) is None
    assert other.key_id != sealer.key_id
    assert other.name(b"key") != sealer.name(b"key") != sealer.name(b"kez")


def test_a_key_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "new" / "prefix.key"
    key = open_key(path)
    assert len(key) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    assert open_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["prefix.key"]


def test_a_file_that_is_no_key_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("something else")
    with pytest.raises(ValueError, match=r"notes\.txt"):
        open_key(path)
    assert path.read_text() == "something else"


def test_processes_that_start_together_agree_on_the_key(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from impetus.runtime.worker.prefix.seal import open_key;"
        "sys.stdin.read(1); print(open_key(pathlib.Path(sys.argv[1])).hex())"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "key")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("x")
        process.stdin.flush()
    keys = {process.communicate(timeout=30)[0] for process in processes}
    assert len(keys) == 1
    assert len(keys.pop()) == 65
