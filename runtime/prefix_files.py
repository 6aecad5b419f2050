"""The files that computed prompts are kept in: their names, their beginning, and what lies in a folder of them.

Each model's files lie in a folder of their own, named by the hash of all that shapes its states. A file is

    64 bytes    "IMPKV", CR, LF, 0x1A · version u16 · flags u16 (1: sealed) · length of the head u32 · root 16 ·
                key id 16 (0 in plain files) · seal 16 (plain: BLAKE2b-128 of the 48 bytes before it and of the head;
                sealed: the salt)
    the head    parent 16 · begin u32 · tokens u32 · length of the state u64 · CRC-32 of the state u32 (0 in sealed
                files) · length of the label u16 · the label, UTF-8 · token ids, int32
    the state   as the engine gave it

with all numbers little-endian. In a sealed file head and state are encrypted; `worker/prefix/seal.py` says how. The engine's
process writes and reads them; the command line lists and deletes them.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Literal

import msgspec

MAGIC = b"IMPKV\r\n\x1a"
VERSION = 1
KEY_BYTES = 16
TOKEN_BYTES = 4
PLAIN_SUFFIX = f".kv{VERSION}"
SEALED_SUFFIX = f".kv{VERSION}s"

_START = struct.Struct("<8sHHI16s16s16s")
_SEALED = 1
_HEAD = struct.Struct("<16sIIQIH")
START_BYTES = _START.size
SEAL_OFFSET = START_BYTES - KEY_BYTES
MAX_HEAD_BYTES = 64 * 1024 * 1024
"""A longer head is damaged: no prompt has so many tokens."""

_FOLDER = re.compile(r"[0-9a-f]{32}")
_FILE = re.compile(r"[0-9a-f]{32}\.kv\d+s?")
_TEMPORARY = re.compile(r"[0-9a-f]{32}\.kv\d+s?\.(\d+)-[0-9a-f]+\.tmp")


@dataclass(frozen=True, slots=True)
class FileStart:
    """What stands unencrypted at the beginning of every file."""

    sealed: bool
    head_bytes: int
    root: bytes
    key_id: bytes
    """Which key a sealed file was made with."""
    seal: bytes
    """A plain file's checksum of all before the state, a sealed one's salt."""


@dataclass(frozen=True, slots=True)
class FileHead:
    """What a state is for."""

    parent: bytes
    begin: int
    tokens: bytes
    """Packed: int32, little-endian."""
    state_bytes: int
    state_crc: int
    label: str
    """The model's name."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of ours as the folder lists it."""

    path: Path
    kind: Literal["plain", "sealed", "other", "temporary"]
    """`other` is of another version."""
    size_bytes: int
    used_at: float
    """When it was used last, in seconds of wall-clock time."""
    writer_pid: int | None = None
    """Who writes a temporary file."""


class StoredModel(msgspec.Struct, frozen=True):
    """What is kept of one model with one set of settings, for people."""

    model: str | None
    """None where nothing readable names it."""
    root: str
    segments: int
    tokens: int | None
    """None where they are encrypted."""
    size_bytes: int
    used_at: float
    """When one of them was used last, in seconds since 1970."""
    encrypted: bool
    """Whether any of them is."""


def pack_start(start: FileStart) -> bytes:
    """Gives the first 64 bytes of a file."""
    flags = _SEALED if start.sealed else 0
    return _START.pack(MAGIC, VERSION, flags, start.head_bytes, start.root, start.key_id, start.seal)


def parse_start(data: bytes) -> FileStart | None:
    """Reads the first 64 bytes of a file; None where they are not what this version writes."""
    if len(data) < START_BYTES:
        return None
    magic, version, flags, head_bytes, root, key_id, seal = _START.unpack_from(data)
    if magic != MAGIC or version != VERSION or flags & ~_SEALED or head_bytes > MAX_HEAD_BYTES:
        return None
    return FileStart(bool(flags & _SEALED), head_bytes, root, key_id, seal)


def pack_head(head: FileHead) -> bytes:
    """Gives a head's bytes."""
    label = head.label.encode()[:1024]
    count = len(head.tokens) // TOKEN_BYTES
    return _HEAD.pack(head.parent, head.begin, count, head.state_bytes, head.state_crc, len(label)) + label + head.tokens


def parse_head(data: bytes) -> FileHead | None:
    """Reads a head that was found undamaged; None where it is none."""
    if len(data) < _HEAD.size:
        return None
    parent, begin, count, state_bytes, state_crc, label_bytes = _HEAD.unpack_from(data)
    tokens_at = _HEAD.size + label_bytes
    if len(data) != tokens_at + count * TOKEN_BYTES:
        return None
    label = data[_HEAD.size : tokens_at].decode(errors="replace")
    return FileHead(parent, begin, data[tokens_at:], state_bytes, state_crc, label)


def checksum(start: bytes, head: bytes) -> bytes:
    """Gives a plain file's seal."""
    return blake2b(start[:SEAL_OFFSET] + head, digest_size=KEY_BYTES).digest()


def list_files(folder: Path) -> Iterator[StoredFile]:
    """Lists our files below a folder, in no order; all else there is passed over.

    Yields:
        Each with size and time; files that vanish meanwhile are left out.
    """
    for model in _folders(folder):
        try:
            with os.scandir(model) as entries:
                for entry in entries:
                    if file := _stored(entry):
                        yield file
        except FileNotFoundError:
            continue


def list_models(folder: Path) -> list[StoredModel]:
    """Adds up what is kept of each model, the one used last first; reads the beginning of every file."""
    files: dict[str, list[StoredFile]] = {}
    for file in list_files(folder):
        if file.kind != "temporary":
            files.setdefault(file.path.parent.name, []).append(file)
    models = [_summary(root, group) for root, group in files.items()]
    return sorted(models, key=lambda model: -model.used_at)


def clear(folder: Path) -> tuple[int, int]:
    """Deletes all our files below a folder, unfinished ones too, and the folders that this empties.

    Returns:
        How many files went, and their bytes.
    """
    count = size_bytes = 0
    for file in list(list_files(folder)):
        with contextlib.suppress(FileNotFoundError):
            file.path.unlink()
            count += 1
            size_bytes += file.size_bytes
    for model in list(_folders(folder)):
        with contextlib.suppress(OSError):  # not empty: someone else's file, or a server has just written another
            model.rmdir()
    return count, size_bytes


def _folders(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if _FOLDER.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                    yield Path(entry.path)
    except FileNotFoundError:
        return


def _stored(entry: os.DirEntry[str]) -> StoredFile | None:
    temporary = _TEMPORARY.fullmatch(entry.name)
    if not temporary and not _FILE.fullmatch(entry.name):
        return None
    try:
        if not entry.is_file(follow_symlinks=False):
            return None
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    path = Path(entry.path)
    if temporary:
        return StoredFile(path, "temporary", status.st_size, status.st_mtime, int(temporary[1]))
    kind = "plain" if path.suffix == PLAIN_SUFFIX else "sealed" if path.suffix == SEALED_SUFFIX else "other"
    return StoredFile(path, kind, status.st_size, status.st_mtime)


def _summary(root: str, files: list[StoredFile]) -> StoredModel:
    labels: dict[str, float] = {}
    tokens: int | None = 0
    for file in files:
        head = _read_counts(file.path) if file.kind == "plain" else None
        if head is None:
            tokens = None
            continue
        label, count = head
        labels[label] = max(labels.get(label, 0.0), file.used_at)
        tokens = None if tokens is None else tokens + count
    return StoredModel(
        model=max(labels, key=lambda label: labels[label]) or None if labels else None,
        root=root,
        segments=len(files),
        tokens=tokens,
        size_bytes=sum(file.size_bytes for file in files),
        used_at=max(file.used_at for file in files),
        encrypted=any(file.kind == "sealed" for file in files),
    )


def _read_counts(path: Path) -> tuple[str, int] | None:
    """A plain file's label and number of tokens."""
    try:
        with path.open("rb") as file:
            start = parse_start(file.read(START_BYTES))
            head = file.read(_HEAD.size)
            if start is None or len(head) < _HEAD.size:
                return None
            _, _, count, _, _, label_bytes = _HEAD.unpack(head)
            return file.read(label_bytes).decode(errors="replace"), count
    except OSError:
        return None
