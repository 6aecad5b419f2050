"""Recognises PyTorch checkpoints without unpickling anything: a pickle can run any code.

Source: the zip layout of `torch.save` (`archive/data.pkl`), and the magic number of the files before it.
"""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

from .folder import read_json, to_header, total_bytes
from .header import Header

LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
_PICKLE_HEADS = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))


def is_pytorch(path: Path) -> bool:
    """Says whether a file is a checkpoint: a zip with a pickle in it, or a bare pickle."""
    with path.open("rb") as file:
        head = file.read(len(LEGACY_MAGIC))
        if head.startswith(b"PK\x03\x04"):
            try:
                with zipfile.ZipFile(file) as archive:
                    return any(name.endswith("/data.pkl") for name in archive.namelist())
            except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
                return False
    return head == LEGACY_MAGIC or (head.startswith(_PICKLE_HEADS) and path.suffix in {".bin", ".pt", ".pth", ".ckpt"})


def read_pytorch(folder: Path, files: list[Path]) -> Header:
    """Reads what a folder of checkpoints says of itself."""
    header = to_header(folder, "pytorch", read_json(folder / "config.json") or {}, total_bytes(files))
    return replace(header, shards=len(files))
