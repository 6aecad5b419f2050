"""Recognises SafeTensors: 8 bytes of length, a JSON table, then the numbers.

Source: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import msgspec

from ..errors import FormatError
from .config_weights import count_weights
from .folder import INDEX_SUFFIX, check_index, read_json, to_header, total_bytes
from .header import Format, Header

LARGEST_TABLE_BYTES = 100_000_000
"""The limit that the format's own library sets."""
INDEX_NAME = f"model.safetensors{INDEX_SUFFIX}"
_CONSOLIDATED = "consolidated"
_METADATA = "__metadata__"


class _Tensor(msgspec.Struct, frozen=True):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Table:
    """What the head of one file says."""

    made_for: str | None
    """The library named in its metadata: "pt", "mlx"."""
    parameters_by_type: dict[str, int]
    names: tuple[str, ...]
    """Of its tensors."""


def is_safetensors(path: Path) -> bool:
    """Says whether a file begins as SafeTensors does."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= min(size, LARGEST_TABLE_BYTES)


def read_table(path: Path) -> Table:
    """Reads a file's table, and makes sure that the numbers it speaks of are there.

    Raises:
        FormatError: they are not, or the table is none.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 10 or not 2 <= length <= min(size - 8, LARGEST_TABLE_BYTES):
            raise FormatError(path, "it does not begin as a SafeTensors file does", offset=0)
        text = file.read(length)
    try:
        made_for, tensors, names = _decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FormatError(path, f"its table of tensors cannot be read: {error}", offset=8) from error
    end = 8 + length + max((tensor.data_offsets[1] for tensor in tensors), default=0)
    if end > size:
        raise FormatError(path, f"its tensors need {end - size:,} bytes more than the file has: it was cut short", offset=size)
    by_type: dict[str, int] = {}
    for tensor in tensors:
        by_type[tensor.dtype] = by_type.get(tensor.dtype, 0) + prod(tensor.shape)
    return Table(made_for, by_type, names)


def _decode(text: bytes) -> tuple[str | None, list[_Tensor], tuple[str, ...]]:
    """Gives the library that is named in a table, the tensors, and their names."""
    raw = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    # MLX writes null where it has nothing to say.
    said = bytes(raw.pop(_METADATA, msgspec.Raw(b"null")))
    metadata = {} if said == b"null" else msgspec.json.decode(said, type=dict[str, str])
    # All at once, as that is several times as fast as one after the other.
    listed = b"[" + b",".join(map(bytes, raw.values())) + b"]"
    return metadata.get("format"), msgspec.json.decode(listed, type=list[_Tensor]), tuple(raw)


def read_safetensors(folder: Path, files: Iterable[Path]) -> Header:
    """Reads a folder of SafeTensors files; it is MLX's where its config or its files say so.

    Raises:
        FormatError: a file is damaged, or one that the index names is missing.
    """
    # Some publishers put the same weights beside them, once more, for a library of their own.
    paths = sorted(path for path in files if not path.name.startswith(_CONSOLIDATED)) or sorted(files)
    check_index(folder, INDEX_NAME)
    tables = [read_table(path) for path in paths]
    config = read_json(folder / "config.json") or {}
    mlx = "quantization" in config or any(table.made_for == "mlx" for table in tables)
    kind: Format = "mlx" if mlx else "safetensors"
    by_type: dict[str, int] = {}
    for table in tables:
        for dtype, count in table.parameters_by_type.items():
            by_type[dtype] = by_type.get(dtype, 0) + count
    header = to_header(folder, kind, config, total_bytes(paths))
    if (counted := count_weights(config)) is not None:
        header = replace(header, active=counted.active(header.size_bytes), kv_layout=counted.kv_layout)
    bits = config.get("quantization")
    if mlx and isinstance(bits, dict):
        width = msgspec.convert(bits, dict[str, object]).get("bits")
        # Packed numbers: the table counts words, not parameters.
        return replace(header, quantization=f"{width}-bit" if isinstance(width, int) else None, shards=len(paths))
    dtype = max(by_type, key=lambda name: by_type[name]) if by_type else None
    return replace(header, quantization=dtype, parameters=sum(by_type.values()), shards=len(paths))
