import os
import subprocess
import sys
from pathlib import Path

import msgspec

from impetus.runtime.presence import Presence, announce, find_servers


def test_a_server_is_found_as_long_as_it_runs(tmp_path: Path) -> None:
    with announce(tmp_path / "state", "http://127.0.0.1:1"):
        assert find_servers(tmp_path / "state") == [Presence("http://127.0.0.1:1", os.getpid())]
    assert find_servers(tmp_path / "state") == []


def test_what_a_killed_server_left_is_removed(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(timeout=30)
    path = tmp_path / f"server-{gone.pid}.json"
    path.write_bytes(msgspec.json.encode(Presence("http://127.0.0.1:1", gone.pid)))
    (tmp_path / "server-1.json").write_text("{")
    assert find_servers(tmp_path) == []
    assert not path.exists()


def test_no_address_states_nothing(tmp_path: Path) -> None:
    with announce(tmp_path, None):
        assert find_servers(tmp_path) == []
