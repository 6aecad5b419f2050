"""Starts a server of this checkout with the scripted model, and asks it what came to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from sandbox import free_port

START_LIMIT_S = 60
_SETTINGS = "[models]\nstarter = false\nhuggingface_cache = false\nload_at_start = false\n"


@contextmanager
def scripted_server(folder: Path, *, context_length: int = 0) -> Iterator[str]:
    """Gives the address of a new server that keeps everything in a folder."""
    port = free_port()
    root = f"http://127.0.0.1:{port}"
    settings = folder / "impetus.toml"
    settings.write_text(f"{_SETTINGS}[engine]\ncontext_length = {context_length}\n")
    command = [sys.executable, "-m", "impetus", "serve", "--config", str(settings), "--port", str(port), "--scripted"]
    environment = {**os.environ, "IMPETUS_HOME": str(folder / "impetus")}
    with (folder / "server.log").open("wb") as log:
        # Not in this folder, whose modules would hide the package's.
        server = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _wait_for(root, server)
        yield root
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(5)


def read_requests(root: str) -> list[dict[str, Any]]:
    """Lists the requests that came to a server, the first one first."""
    with build_opener(ProxyHandler({})).open(f"{root}/impetus/v1/requests?limit=500", timeout=20) as answer:
        entries: list[dict[str, Any]] = json.load(answer)["requests"]
    return sorted(entries, key=lambda entry: entry["at_epoch_s"])


def _wait_for(root: str, server: subprocess.Popen[bytes]) -> None:
    opener = build_opener(ProxyHandler({}))
    until_s = time.monotonic() + START_LIMIT_S
    while time.monotonic() < until_s and server.poll() is None:
        try:
            with opener.open(f"{root}/health", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise SystemExit("the server did not start")
