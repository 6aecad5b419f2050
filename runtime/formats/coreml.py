"""Recognises Core ML models: packages, compiled ones and single specification files.

Source: https://apple.github.io/coremltools/mlmodel/Format/Model.html
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path, PurePath
from typing import TypeVar

from ..errors import FormatError
from .folder import read_json
from .header import Header
from .protobuf import read_fields

P = TypeVar("P", bound=PurePath)

PACKAGE_SUFFIXES = (".mlpackage", ".mlmodelc")
"""Of folders: a package, and a compiled model."""
META = "meta.yaml"
"""Beside packages that are parts of one model, as ANEMLL has them: embeddings, layers and head apart."""
_LAYERS = re.compile(r"_FFN.*_lut(?P<bits>[1-8])(?!\d)", re.IGNORECASE)
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


def find_parts(packages: Sequence[P], beside: Collection[str]) -> list[P]:
    """Gives those of a folder's packages that are parts of one model; none where each is a model of its own.

    Args:
        packages: the folder's.
        beside: the names of its files.
    """
    chosen = choose_packages(packages)
    return chosen if META in beside and len(chosen) > 1 else []


def read_coreml(path: Path) -> Header:
    """Reads what is cheap of a Core ML model: its size."""
    files = [path] if path.is_file() else [inner for inner in path.rglob("*") if inner.is_file()]
    return Header(format="coreml", size_bytes=sum(file.stat().st_size for file in files))


def quantization_of_parts(packages: Sequence[PurePath]) -> str | None:
    """Reads off the names of a model's parts how many bits the weights of its layers have: "lut6" is a table of 64 numbers."""
    layers = [match["bits"] for package in packages if (match := _LAYERS.search(package.name)) is not None]
    return f"{layers[0]}-bit" if layers else None
