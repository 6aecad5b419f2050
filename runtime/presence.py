"""Tells other commands of this user where a server runs: a small file that lives as long as the server."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil


class Presence(msgspec.Struct, frozen=True):
    """A server that runs."""

    url: str
    pid: int


@contextmanager
def announce(folder: Path, url: str | None) -> Generator[None]:
    """States the server's address in a file for as long as the block lasts; None states nothing."""
    if url is None:
        yield
        return
    path = folder / f"server-{os.getpid()}.json"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(Presence(url, os.getpid())))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def find_servers(folder: Path) -> list[Presence]:
    """Gives the servers that run, newest first; what a killed one left behind is removed."""
    found: list[Presence] = []
    for path in sorted(folder.glob("server-*.json"), key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            presence = msgspec.json.decode(path.read_bytes(), type=Presence)
        except (OSError, msgspec.DecodeError):
            continue
        if psutil.pid_exists(presence.pid):
            found.append(presence)
        else:
            path.unlink(missing_ok=True)
    return found
