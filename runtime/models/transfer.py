"""Brings one file from the Hub to the disk: streamed, resumed, checked. Blocking, so it runs in a thread of its own."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from ..errors import DownloadError
from .hub_errors import is_transient

log = logging.getLogger(__name__)

READ_TIMEOUT_S = 10.0
"""How long the Hub may be silent before the connection is made anew."""
MOST_TRIES = 6
"""In a row, without a single new byte between them."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 8.0
LOCK_TIMEOUT_S = 15.0
_HASH_BYTES = 1024 * 1024
_RANGE = re.compile(r"bytes (?P<start>\d+)-\d+/(?P<total>\d+|\*)")


class Stopped(Exception):
    """The download was cancelled; raised in its thread only."""


class StopSwitch:
    """Stops a transfer from another thread, also while it waits for bytes that do not come."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Stops at once: a read that waits is woken by closing its connection."""
        with self._lock:
            self._event.set()
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def check(self) -> None:
        """Raises Stopped after a stop."""
        if self._event.is_set():
            raise Stopped

    def pause(self, seconds: float) -> None:
        """Waits; raises Stopped as soon as there is a stop."""
        if self._event.wait(seconds):
            raise Stopped

    def watch(self, connection: socket.socket | None) -> None:
        """Says which connection a stop has to close."""
        with self._lock:
            self._socket = connection
        self.check()


@dataclass(frozen=True, slots=True)
class Source:
    """Where a file comes from, and what it has to be."""

    url: str
    size_bytes: int
    sha256: str | None
    blob_id: str | None = None
    """What git calls its content; looked at where there is no checksum."""


def fetch(source: Source, part: Path, *, switch: StopSwitch, on_size: Callable[[int], None]) -> None:
    """Completes a partial file: goes on where it ends, and on after a lost connection.

    Args:
        source: the file on the Hub.
        part: the partial file; made where it is missing, and kept whatever happens.
        switch: stops it.
        on_size: told the size on the disk after each piece.

    Raises:
        Stopped: the switch was used.
        DownloadError: another program writes the same file, or the Hub sends something else than it announced.
        Exception: what huggingface_hub or its client raised at last, or OSError from the disk.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    # Unbuffered, so that what was counted is in the file when the program is killed.
    with part.open("ab", buffering=0) as file:
        _lock(file, part, switch)
        if os.fstat(file.fileno()).st_size > source.size_bytes:
            file.truncate(0)
        tries = 0
        while (have := os.fstat(file.fileno()).st_size) < source.size_bytes:
            on_size(have)
            try:
                _stream(source, file, have, switch, on_size)
            except Exception as error:
                switch.check()
                if not is_transient(error):
                    raise
                tries = 1 if os.fstat(file.fileno()).st_size > have else tries + 1
                if tries >= MOST_TRIES:
                    raise
                log.info("The download of %s was interrupted (%s); it goes on.", part.name, error)
                switch.pause(min(FIRST_PAUSE_S * 2 ** (tries - 1), LONGEST_PAUSE_S))
        on_size(source.size_bytes)
        os.fsync(file.fileno())


def verify(source: Source, path: Path, *, switch: StopSwitch) -> bool:
    """Says whether a whole file is what the Hub has; by its size alone where the Hub states no checksum."""
    if path.stat().st_size != source.size_bytes:
        return False
    if source.sha256 is not None:
        digest, wanted = hashlib.sha256(), source.sha256
    elif source.blob_id is not None:
        # As git names a blob: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
        digest = hashlib.sha1(f"blob {source.size_bytes}\0".encode(), usedforsecurity=False)
        wanted = source.blob_id
    else:
        return True
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_HASH_BYTES):
            switch.check()
            digest.update(piece)
    return digest.hexdigest() == wanted


def _lock(file: FileIO, part: Path, switch: StopSwitch) -> None:
    """Makes sure that only one writes; a transfer that was just cancelled may need a moment to let go."""
    waited_s, step_s = 0.0, 0.1
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if waited_s >= LOCK_TIMEOUT_S:
                raise DownloadError(f"Another Impetus is already downloading {part.name}.") from error
            switch.pause(step_s)
            waited_s += step_s
        else:
            return


def _stream(source: Source, file: FileIO, have: int, switch: StopSwitch, on_size: Callable[[int], None]) -> None:
    """Appends what one request gives."""
    from huggingface_hub import get_session
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # pyright: ignore[reportUnknownVariableType]

    headers = build_hf_headers(library_name="impetus") | {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    switch.check()
    with get_session().stream("GET", source.url, headers=headers, timeout=READ_TIMEOUT_S, follow_redirects=True) as response:
        stream = response.extensions.get("network_stream")
        connection: object = stream.get_extra_info("socket") if stream is not None else None
        switch.watch(connection if isinstance(connection, socket.socket) else None)
        try:
            if response.status_code == 416 and have:
                file.truncate(0)
                raise _other_size(source, f"{have:,} or fewer")
            hf_raise_for_status(response)
            length = response.headers.get("Content-Length") if response.status_code == 200 else None
            if length is not None and int(length) != source.size_bytes:
                raise _other_size(source, f"{int(length):,}")
            size = _start(source, file, have, response.status_code, response.headers.get("Content-Range"))
            for piece in response.iter_raw():
                if size + len(piece) > source.size_bytes:
                    raise _other_size(source, "more")
                _write(file, piece)
                size += len(piece)
                on_size(size)
                switch.check()
            if size < source.size_bytes:
                raise ConnectionError(f"the Hub ended {source.size_bytes - size:,} bytes too early")
        finally:
            with suppress(Stopped):
                switch.watch(None)


def _start(source: Source, file: FileIO, have: int, status: int, content_range: str | None) -> int:
    """Makes the file fit to what the answer begins with; gives its size then."""
    if not have:
        return 0
    if status != 206:
        # The Hub, or a proxy before it, gives all from the start.
        file.truncate(0)
        return 0
    given = _RANGE.fullmatch(content_range or "")
    if given is not None and given["total"] not in ("*", str(source.size_bytes)):
        file.truncate(0)
        raise _other_size(source, f"{int(given['total']):,}")
    if given is None or int(given["start"]) != have:
        raise ConnectionError("the Hub went on at another place than it was asked to")
    return have


def _other_size(source: Source, given: str) -> DownloadError:
    return DownloadError(f"The Hub announced {source.size_bytes:,} bytes, but has {given}. Pull it again later.")


def _write(file: FileIO, piece: bytes) -> None:
    """Writes all of a piece: a nearly full disk takes a part of it before it refuses."""
    rest = memoryview(piece)
    while rest:
        rest = rest[file.write(rest) :]
