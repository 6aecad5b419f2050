"""Weights in another layout, written once into a cache folder, for engines that cannot read the one that a model came in."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ...errors import FormatError
from ...formats import pytorch, safetensors
from ...formats.checkpoint import ITEM_BYTES, StoredTensor, read_checkpoint
from ...formats.folder import INDEX_SUFFIX
from ..prefix.fingerprint import fingerprint_files
from .backend import LoadError

CHECKPOINT_SUFFIXES = (".bin", ".pt", ".pth")
PART_BYTES = 4 << 30
PIECE_BYTES = 16 << 20
SPARE_BYTES = 1 << 30
"""A disk is never filled beyond this."""


def convert_checkpoint(folder: Path, cache: Path | None, on_progress: Callable[[float], None]) -> Path:
    """Gives a folder with the weights of a PyTorch checkpoint as SafeTensors; its numbers are the same.

    Args:
        folder: holds pytorch_model.bin, or the parts that its index names.
        cache: where such folders lie; None makes none.
        on_progress: is told how far it is, 0 to 1.

    Raises:
        LoadError: the checkpoint is damaged or holds more than weights, or the disk is full.
    """
    files = checkpoint_files(folder)
    if not files:
        raise LoadError(f"no weights were found in '{folder.name}'. Download it again.")
    if cache is None:
        raise LoadError("it has to be converted once, and there is no folder for that.")
    target = cache / f"{folder.name}-{fingerprint_files(files).hex()}"
    if (target / safetensors.INDEX_NAME).is_file():
        return target
    try:
        tensors = {name: tensor for file in files for name, tensor in read_checkpoint(file).items()}
    except FormatError as error:
        raise LoadError(str(error)) from error
    needed = sum(tensor.count * ITEM_BYTES[tensor.dtype] for tensor in tensors.values())
    draft = target.with_name(f"{target.name}.{os.getpid()}.new")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(cache).free < needed + SPARE_BYTES:
            raise LoadError(f"to convert it takes {needed / 1e9:.1f} GB on the disk of {cache}, which has no room for that.")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        link_beside(folder, draft)
        write_safetensors(draft, tensors, on_progress)
        if target.exists():
            shutil.rmtree(draft)
        else:
            draft.rename(target)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise LoadError(f"it could not be converted into {cache}: {error.strerror or error}.") from error
    return target


def checkpoint_files(folder: Path) -> tuple[Path, ...]:
    """Finds the files of a checkpoint, in order: those that its index names, else all that look like one."""
    index = folder / pytorch.INDEX_NAME
    if index.is_file():
        try:
            named: Iterable[str] = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise LoadError(f"{index.name} cannot be read: {error}. Download it again.") from error
        files = tuple(folder / Path(name).name for name in named)
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise LoadError(f"{len(missing)} of its {len(files)} parts are missing, as {missing[0]}. Download it again.")
        return files
    return tuple(sorted(path for path in folder.iterdir() if path.suffix in CHECKPOINT_SUFFIXES and path.is_file()))


def link_beside(folder: Path, target: Path) -> None:
    """Makes everything but weights appear in another folder too."""
    for path in folder.iterdir():
        if path.is_file() and path.suffix in (".json", ".jinja", ".model", ".txt") and not path.name.endswith(INDEX_SUFFIX):
            (target / path.name).symlink_to(path.resolve())


def write_safetensors(folder: Path, tensors: Mapping[str, StoredTensor], on_progress: Callable[[float], None]) -> None:
    """Writes tensors in parts of a few gigabytes, with their index, which comes last.

    Raises:
        OSError: the disk does not take them.
    """
    parts: list[list[str]] = [[]]
    size = 0
    for name, tensor in tensors.items():
        count = tensor.count * ITEM_BYTES[tensor.dtype]
        if parts[-1] and size + count > PART_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(name)
        size += count
    weight_map: dict[str, str] = {}
    for number, names in enumerate(parts):
        file_name = f"model-{number + 1:05d}-of-{len(parts):05d}.safetensors"
        weight_map |= dict.fromkeys(names, file_name)
        with (folder / file_name).open("wb") as file:
            _write_part(file, {name: tensors[name] for name in names})
        on_progress((number + 1) / len(parts))
    (folder / safetensors.INDEX_NAME).write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")


def _write_part(file: BinaryIO, tensors: Mapping[str, StoredTensor]) -> None:
    table: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, tensor in tensors.items():
        size = tensor.count * ITEM_BYTES[tensor.dtype]
        table[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [at, at + size]}
        at += size
    head = json.dumps(table).encode()
    head += b" " * (-len(head) % 8)
    file.write(len(head).to_bytes(8, "little") + head)
    for tensor in tensors.values():
        _copy_numbers(tensor, file)
    file.flush()
    os.fsync(file.fileno())


def _copy_numbers(tensor: StoredTensor, target: BinaryIO) -> None:
    item = ITEM_BYTES[tensor.dtype]
    size = tensor.count * item
    if not size:
        return
    if not tensor.is_contiguous:
        numbers = np.memmap(tensor.path, f"V{item}", "r", tensor.at, (tensor.size_bytes // item,))
        strides = tuple(step * item for step in tensor.stride)
        target.write(np.lib.stride_tricks.as_strided(numbers, tensor.shape, strides).tobytes())
        return
    with tensor.path.open("rb") as source:
        source.seek(tensor.at)
        while size:
            piece = source.read(min(size, PIECE_BYTES))
            if not piece:
                raise OSError(f"{tensor.path.name} was cut short")
            target.write(piece)
            size -= len(piece)
