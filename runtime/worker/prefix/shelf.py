"""The files of one model: writes, reads and checks one at a time."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from ...prefix_files import (
    KEY_BYTES,
    PLAIN_SUFFIX,
    SEALED_SUFFIX,
    START_BYTES,
    FileHead,
    FileStart,
    StoredFile,
    checksum,
    pack_head,
    pack_start,
    parse_head,
    parse_start,
)
from .seal import TAG_BYTES, Sealer, sealed_bytes
from .segments import Segment, packed_key

STALE_S = 3600.0
"""An unfinished file is finished within this time, or never."""
ORDER_S = 0.001
"""Each position makes a file look so much older, so that of one prompt the end goes before the beginning."""


class _Damaged(Exception):
    """A file is torn, changed, or not what its name says."""


class _Foreign(Exception):
    """A file is sealed with another key: someone else's, for all we know."""


class Shelf:
    """A model's folder.

    Args:
        folder: where all models' folders lie.
        root: the root key of this model.
        label: the model's name, for people.
        sealer: encrypts all files; None leaves them plain.
    """

    def __init__(self, folder: Path, *, root: bytes, label: str, sealer: Sealer | None) -> None:
        self.folder = folder / root.hex()
        self.kind = "sealed" if sealer else "plain"
        self._root = root
        self._label = label
        self._sealer = sealer

    def open(self) -> None:
        """Makes the folders, for nobody but us; raises OSError."""
        for folder in (self.folder.parent, self.folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if folder.stat().st_mode & 0o077:
                folder.chmod(0o700)

    def path(self, key: bytes) -> Path:
        """Says where a segment's file lies."""
        if self._sealer:
            return self.folder / (self._sealer.name(key).hex() + SEALED_SUFFIX)
        return self.folder / (key.hex() + PLAIN_SUFFIX)

    def file_bytes(self, segment: Segment) -> int:
        """How large a segment's file is."""
        plain = START_BYTES + len(self._head(segment, 0)) + segment.size_bytes
        return plain if self._sealer is None else plain - segment.size_bytes + TAG_BYTES + sealed_bytes(segment.size_bytes)

    def write(self, segment: Segment, state: bytes) -> int | None:
        """Writes a segment's file; until it is whole nobody sees it under its name.

        Returns:
            Its size; 0 where another process has written it, None where it was deleted before it was finished.

        Raises:
            OSError: the disk does not take it.
        """
        path = self.path(segment.key)
        if path.exists():
            return 0
        draft = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileNotFoundError:  # the whole folder was cleared
            self.open()
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                size_bytes = sum(_write_all(file.fileno(), part) for part in self._parts(segment, state))
                os.fsync(file.fileno())
            _date(draft, segment.begin)
            draft.replace(path)
        except FileNotFoundError:
            return None
        finally:
            draft.unlink(missing_ok=True)
        return size_bytes

    def touch(self, segment: Segment, used_at: float) -> bool:
        """Notes when a segment was of use; False where its file is gone."""
        try:
            _date(self.path(segment.key), segment.begin, used_at)
        except FileNotFoundError:
            return False
        except OSError:
            return True  # a folder that cannot be written to can still be read
        return True

    def learn(self, file: StoredFile) -> Segment | None:
        """Reads what a file of this folder holds; a damaged one is deleted."""
        try:
            with file.path.open("rb") as opened:
                _, head = self._read_head(opened)
            segment = Segment(packed_key(head.parent, head.tokens), head.parent, head.begin, head.tokens, head.state_bytes)
            if self.path(segment.key).name != file.path.name:
                raise _Damaged
        except _Damaged:
            delete(file.path)
        except (_Foreign, OSError):
            return None
        else:
            return segment
        return None

    def read(self, segment: Segment) -> bytes | None:
        """Gives a segment's state; None where its file is gone, unreadable, or damaged and deleted now."""
        path = self.path(segment.key)
        try:
            with path.open("rb") as file:
                start, head = self._read_head(file)
                if (head.parent, head.begin, head.tokens) != (segment.parent, segment.begin, segment.tokens):
                    raise _Damaged
                return self._read_state(file, start, head)
        except _Damaged:
            delete(path)
        except (_Foreign, OSError):
            return None
        return None

    def _head(self, segment: Segment, crc: int) -> bytes:
        return pack_head(FileHead(segment.parent, segment.begin, segment.tokens, segment.size_bytes, crc, self._label))

    def _parts(self, segment: Segment, state: bytes) -> Iterator[bytes]:
        """The bytes of a file in order."""
        if self._sealer is None:
            head = self._head(segment, zlib.crc32(state))
            start = FileStart(False, len(head), self._root, bytes(KEY_BYTES), bytes(KEY_BYTES))
            yield pack_start(replace(start, seal=checksum(pack_start(start), head)))
            yield head
            yield state
            return
        head = self._head(segment, 0)
        salt = secrets.token_bytes(KEY_BYTES)
        begin = pack_start(FileStart(True, len(head) + TAG_BYTES, self._root, self._sealer.key_id, salt))
        yield begin
        yield self._sealer.seal_head(salt, begin, head)
        yield from self._sealer.seal_state(salt, state)

    def _read_head(self, file: BinaryIO) -> tuple[FileStart, FileHead]:
        begin = file.read(START_BYTES)
        start = parse_start(begin)
        if start is None or start.root != self._root or start.sealed != (self._sealer is not None):
            raise _Damaged
        if self._sealer is not None and start.key_id != self._sealer.key_id:
            raise _Foreign
        data = file.read(start.head_bytes)
        if self._sealer is not None:
            opened = self._sealer.open_head(start.seal, begin, data)
        else:
            opened = data if checksum(begin, data) == start.seal else None
        head = None if opened is None else parse_head(opened)
        if head is None:
            raise _Damaged
        stored = sealed_bytes(head.state_bytes) if start.sealed else head.state_bytes
        if os.fstat(file.fileno()).st_size != START_BYTES + start.head_bytes + stored:
            raise _Damaged
        return start, head

    def _read_state(self, file: BinaryIO, start: FileStart, head: FileHead) -> bytes:
        data = file.read()
        if self._sealer is not None:
            state = self._sealer.open_state(start.seal, data)
        else:
            state = data if zlib.crc32(data) == head.state_crc else None
        if state is None or len(state) != head.state_bytes:
            raise _Damaged
        return state


def delete(path: Path) -> None:
    """Deletes a file, if it is there and may be deleted."""
    with contextlib.suppress(OSError):
        path.unlink()


def is_abandoned(file: StoredFile, now: float) -> bool:
    """Whether nobody finishes an unfinished file any more."""
    if file.used_at < now - STALE_S:
        return True
    try:
        os.kill(file.writer_pid or 0, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _date(path: Path, begin: int, used_at: float | None = None) -> None:
    used = (time.time() if used_at is None else used_at) - begin * ORDER_S
    os.utime(path, (used, used))


def _write_all(descriptor: int, data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    return len(data)
