"""Recognises Core ML models: packages, compiled ones and single specification files.

Source: https://apple.github.io/coremltools/mlmodel/Format/Model.html
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TypeVar

from ..errors import FormatError
from .folder import read_json
from .header import Header
from .protobuf import read_fields

P = TypeVar("P", bound=PurePath)

PACKAGE_SUFFIXES = (".mlpackage", ".mlmodelc")
"""Of folders: a package, and a compiled model."""
_SPECIFICATION_VERSION, _DESCRIPTION, _FIRST_KIND = 1, 2, 200


def is_coreml_file(path: Path) -> bool:
    """Says whether a file is a whole Model message: its version, its description, and one kind of model."""
    fields = read_fields(path)
    if not fields:
        return False
    numbers = {field.number for field in fields}
    return {_SPECIFICATION_VERSION, _DESCRIPTION} <= numbers and max(numbers) >= _FIRST_KIND


def is_coreml_folder(folder: Path) -> bool:
    """Says whether a folder is a package (it has a manifest of items) or a compiled model."""
    try:
        manifest = read_json(folder / "Manifest.json")
    except FormatError:
        manifest = None
    if manifest is not None and "itemInfoEntries" in manifest and "rootModelIdentifier" in manifest:
        return True
    compiled = ("model.mil", "model.espresso.net", "metadata.json")
    return (folder / "coremldata.bin").is_file() and any((folder / name).is_file() for name in compiled)


def choose_packages(models: Sequence[P]) -> list[P]:
    """Leaves out the compiled form of models that are there as packages too, which describe themselves better."""
    return [one for one in models if one.suffix == ".mlpackage" or one.with_suffix(".mlpackage") not in models]


def read_coreml(path: Path) -> Header:
    """Reads what is cheap of a Core ML model: its size."""
    files = [path] if path.is_file() else [inner for inner in path.rglob("*") if inner.is_file()]
    return Header(format="coreml", size_bytes=sum(file.stat().st_size for file in files))
