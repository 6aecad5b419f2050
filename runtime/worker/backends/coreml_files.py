"""Finds a Core ML model's files, and looks whether all of them are there and whole."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ...formats.coreml import PACKAGE_SUFFIXES, choose_packages
from .backend import LoadError

_BESIDE = ("tokenizer.json", "tokenizer_config.json", "config.json")
_BLOB = struct.Struct("<IIQQ")
"""How a weight begins where the program says: a mark, its type, how many bytes it has and where they are."""
_MARK = 0xDEADBEEF


def find_models(path: Path) -> tuple[list[Path], Path]:
    """Finds the models of a folder, or one that is named itself, and the folder that their tokenizer lies in.

    Raises:
        LoadError: there is none.
    """
    if path.suffix in PACKAGE_SUFFIXES:
        around = (path.parent, path.parent.parent)
        return [path], next((one for one in around if any((one / name).is_file() for name in _BESIDE)), path.parent)
    found = sorted(one for one in path.iterdir() if one.suffix in PACKAGE_SUFFIXES) if path.is_dir() else []
    if not found:
        raise LoadError("it has neither a .mlpackage nor a .mlmodelc.")
    return choose_packages(found), path


def list_files(models: list[Path]) -> tuple[Path, ...]:
    """Gives all files of some models, in order."""
    return tuple(sorted(file for model in models for file in model.rglob("*") if file.is_file()))


def check_items(package: Path) -> None:
    """Raises LoadError unless all is there that a package's manifest lists."""
    try:
        told: Any = json.loads((package / "Manifest.json").read_text(encoding="utf-8"))
        items: Mapping[str, Any] = told["itemInfoEntries"]
        missing = [str(one["path"]) for one in items.values() if not (package / "Data" / str(one["path"])).exists()]
    except FileNotFoundError as error:
        raise LoadError(f"'{package.name}' has no Manifest.json: it is not wholly downloaded. Download it again.") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise LoadError(f"'{package.name}/Manifest.json' cannot be read: {error}. Download it again.") from error
    if missing:
        raise LoadError(f"'Data/{missing[0]}' of '{package.name}' is missing: it is not wholly downloaded. Download it again.")


def check_weights(package: Path, program: Any) -> None:
    """Raises LoadError unless each weight lies where a program (of a specification) says."""
    places: dict[str, set[int]] = {}
    for name, offset in _list_weights(program):
        places.setdefault(name, set()).add(offset)
    root = (package / "Data" / "com.apple.CoreML").resolve()
    for name, offsets in places.items():
        file = (root / name.removeprefix("@model_path/")).resolve()
        if not file.is_relative_to(root):
            raise LoadError(f"'{package.name}' names weights outside of itself, which are never read: {name}.")
        if not file.is_file():
            raise LoadError(f"'{file.name}' of '{package.name}', its weights, is missing. Download it again.")
        size = file.stat().st_size
        with file.open("rb") as opened:
            ends = [_read_end(opened, offset) for offset in sorted(offsets)]
        if None in ends:
            raise LoadError(f"'{file.name}' of '{package.name}' holds no weight at byte {sorted(offsets)[ends.index(None)]:,}: "
                            "it is damaged. Download it again.")  # fmt: skip
        needed = max(end for end in ends if end is not None)
        if needed > size:
            raise LoadError(
                f"'{file.name}' of '{package.name}' is cut short: it has {size:,} of {needed:,} bytes. Download it again."
            )


def _read_end(file: BinaryIO, offset: int) -> int | None:
    """Gives where a weight ends, which may be behind the file; None where none begins."""
    file.seek(offset)
    head = file.read(_BLOB.size)
    if len(head) < _BLOB.size:
        return offset + _BLOB.size
    mark, _, count, begin = _BLOB.unpack(head)
    return begin + count if mark == _MARK else None


def _list_weights(program: Any) -> Iterator[tuple[str, int]]:
    """Gives the file and place of each weight."""
    for function in program.functions.values():
        for block in function.block_specializations.values():
            for operation in block.operations:
                bound = (one for given in operation.inputs.values() for one in given.arguments)
                values = [one.value for one in bound if one.WhichOneof("binding") == "value"]
                for value in (*values, *operation.attributes.values()):
                    if value.WhichOneof("value") == "blobFileValue":
                        yield value.blobFileValue.fileName, value.blobFileValue.offset
