"""Encryption of what lies on the disk: AES-256-GCM with a key of this installation.

Each file has a key of its own, derived from that key and the file's random salt, so a nonce need only be fresh within
the file: 0 for the head, then 1, 2, … for each CHUNK_BYTES of the state. The head authenticates the file's first 64 bytes
and states the state's length, so no part can be changed, cut off or moved without being noticed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MASTER_BYTES = 32
CHUNK_BYTES = 4 * 1024 * 1024
TAG_BYTES = 16


class Sealer:
    """Seals and opens files with one key."""

    def __init__(self, master: bytes) -> None:
        self._master = master
        self.key_id = self._derive(b"key id", b"", 16)
        """Says which key a file needs, and nothing about the key."""

    def name(self, key: bytes) -> bytes:
        """Gives the name of a segment's file: whoever guesses a prompt cannot check the guess against it."""
        return self._derive(b"file name", key, 16)

    def seal_head(self, salt: bytes, start: bytes, head: bytes) -> bytes:
        """Encrypts a head, bound to the file's first bytes."""
        return self._cipher(salt).encrypt(_nonce(0), head, start)

    def open_head(self, salt: bytes, start: bytes, sealed: bytes) -> bytes | None:
        """Gives back a head; None where anything in it or before it was changed."""
        from cryptography.exceptions import InvalidTag  # here and below: only who encrypts needs to hold it in memory

        with contextlib.suppress(InvalidTag):
            return self._cipher(salt).decrypt(_nonce(0), sealed, start)
        return None

    def seal_state(self, salt: bytes, state: bytes) -> Iterator[bytes]:
        """Encrypts a state piece by piece."""
        cipher, view = self._cipher(salt), memoryview(state)
        for number, at in enumerate(range(0, len(state), CHUNK_BYTES), 1):
            yield cipher.encrypt(_nonce(number), view[at : at + CHUNK_BYTES], None)

    def open_state(self, salt: bytes, sealed: bytes) -> bytes | None:
        """Gives back a state; None where anything in it was changed."""
        from cryptography.exceptions import InvalidTag

        cipher, view = self._cipher(salt), memoryview(sealed)
        step = CHUNK_BYTES + TAG_BYTES
        try:
            parts = [
                cipher.decrypt(_nonce(number), view[at : at + step], None)
                for number, at in enumerate(range(0, len(sealed), step), 1)
            ]
        except InvalidTag:
            return None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _cipher(self, salt: bytes) -> AESGCM:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self._derive(b"file key", salt, 32))

    def _derive(self, purpose: bytes, data: bytes, size: int) -> bytes:
        return blake2b(data, key=self._master, person=purpose, digest_size=size).digest()


def sealed_bytes(state_bytes: int) -> int:
    """How long a state is once it is encrypted."""
    return state_bytes + TAG_BYTES * -(-state_bytes // CHUNK_BYTES)


def open_key(path: Path) -> bytes:
    """Reads the installation's key, and makes it on first use, in a file that only its owner can read.

    Raises:
        OSError: it can be neither read nor made.
        ValueError: the file holds something else.
    """
    if not path.exists():
        _make_key(path)
    master = path.read_bytes()
    if len(master) != MASTER_BYTES:
        raise ValueError(f"{path} is not a key: it has {len(master)} bytes instead of {MASTER_BYTES}")
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)
    return master


def _make_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(MASTER_BYTES))
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, never replaces the key that another process has made in between.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")
