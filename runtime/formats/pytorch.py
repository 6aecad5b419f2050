"""Recognises PyTorch checkpoints without unpickling anything: a pickle can run any code.

Sources: the zip layout of `torch.save` (`archive/data.pkl`) and of TorchScript (`archive/code/`), the magic number of the files
before them, and https://github.com/meta-llama/llama-models for the folders that Meta publishes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..errors import FormatError
from .folder import INDEX_SUFFIX, check_index, read_json, to_header, total_bytes
from .header import Header
from .zip_contents import read_contents

LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
INDEX_NAME = f"pytorch_model.bin{INDEX_SUFFIX}"
SUFFIXES = frozenset({".bin", ".pt", ".pth", ".ckpt"})
_CONSOLIDATED = re.compile(r"consolidated\.\d\d\.pth")
_TYPES = {"float32": ("F32", 4), "float16": ("F16", 2), "bfloat16": ("BF16", 2), "float64": ("F64", 8)}
"""What config.json calls a type of numbers: our name of it, and its bytes."""
_ZIP_HEAD = b"PK\x03\x04"
_PICKLE_HEADS = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))


def is_pytorch(path: Path) -> bool:
    """Says whether a file is a checkpoint: a zip with a pickle in it, also one that was cut short, or a bare pickle."""
    with path.open("rb") as file:
        head = file.read(len(LEGACY_MAGIC))
    if head.startswith(_ZIP_HEAD):
        names = _names_in(path)
        return path.suffix in SUFFIXES if names is None else b"/data.pkl" in names
    return head == LEGACY_MAGIC or (head.startswith(_PICKLE_HEADS) and path.suffix in SUFFIXES)


def check_pytorch(path: Path) -> None:
    """Makes sure that a checkpoint is whole, and is one of weights.

    Raises:
        FormatError: it was cut short, or is a program.
    """
    with path.open("rb") as file:
        if file.read(len(_ZIP_HEAD)) != _ZIP_HEAD:
            return
    names = _names_in(path)
    if names is None:
        size = path.stat().st_size
        raise FormatError(path, "its table of contents, which stands at its end, is missing: it was cut short", offset=size)
    if b"/constants.pkl" in names and b"/code/" in names:
        cure = "Download the model's weights, as SafeTensors or a checkpoint of tensors."
        raise FormatError(path, "it is a TorchScript program, not weights, and programs of models are never run", cure=cure)


def read_pytorch(folder: Path, files: list[Path]) -> Header:
    """Reads what a folder of checkpoints says of itself.

    Raises:
        FormatError: one of them is damaged or a program, or one that the index names is missing.
    """
    listed = check_index(folder, INDEX_NAME)
    # A folder may hold what was used to train beside the weights.
    parts = [path for path in files if path.name in listed] if listed else files
    for path in parts:
        check_pytorch(path)
    config = read_json(folder / "config.json") or {}
    size = total_bytes(parts)
    header = to_header(folder, "pytorch", config, size)
    kind = config.get("dtype", config.get("torch_dtype"))
    name, item_bytes = _TYPES.get(kind, (None, 0)) if isinstance(kind, str) else (None, 0)
    return replace(header, shards=len(parts), quantization=name, parameters=size // item_bytes if item_bytes else None)


def is_metas(folder: Path, params: Mapping[str, object]) -> bool:
    """Says whether a folder is one that Meta publishes: sizes in params.json, and weights in consolidated parts."""
    return {"dim", "n_layers", "n_heads"} <= params.keys() and bool(_consolidated(folder))


def read_metas(folder: Path, params: Mapping[str, object]) -> Header:
    """Reads a folder in Meta's own layout.

    Raises:
        FormatError: a part is missing or damaged.
    """
    parts = _consolidated(folder)
    for number, path in enumerate(parts):
        if path.name != f"consolidated.{number:02d}.pth":
            raise FormatError(folder, f"its part consolidated.{number:02d}.pth is missing")
        check_pytorch(path)
    size = total_bytes(parts)

    def integer(key: str) -> int | None:
        value = params.get(key)
        return value if isinstance(value, int) and value > 0 else None

    heads, width = integer("n_heads"), integer("dim")
    kv_heads = integer("n_kv_heads") or heads
    return Header(
        format="pytorch",
        size_bytes=size,
        architecture="llama",
        # Meta keeps its weights so.
        quantization="BF16",
        parameters=size // 2,
        layers=integer("n_layers"),
        embedding_length=width,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=width // heads if width and heads else None,
        vocabulary_size=integer("vocab_size"),
        shards=len(parts),
        made_for="Meta's llama",
    )


def _consolidated(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _CONSOLIDATED.fullmatch(path.name))


def _names_in(path: Path) -> bytes | None:
    """Gives the table of contents of a zip archive, with the names in it; None where it has none."""
    stat = path.stat()
    return read_contents(path, stat.st_size, stat.st_mtime_ns)
