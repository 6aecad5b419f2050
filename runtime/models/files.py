"""The files that a model is made of: how old they are, and how they are removed."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from ..errors import InvalidRequest
from ..formats.coreml import PACKAGE_SUFFIXES
from ..formats.gguf import SHARD_NAME, shard_name
from ..formats.onnx_variants import SUFFIX, graph_files, model_folder
from .model import Model
from .repository import is_beside

_WHOSE = {
    "huggingface": "lies in the Hugging Face cache, which other programs share; `hf cache rm` removes it there",
    "starter": "came with the Python package of the starter model; uninstall that to remove it",
    "builtin": "is a part of Impetus",
}


def read_modified(model: Model) -> float | None:
    """Gives when a model's first file or its folder was written, in seconds since 1970; blocks. None where there is none."""
    try:
        return model.path.stat().st_mtime
    except OSError:
        return None


def check_removable(model: Model, models_dir: Path) -> None:
    """Refuses to remove what is not ours; raises InvalidRequest."""
    if model.store != "impetus" or not model.path.is_relative_to(models_dir):
        whose = _WHOSE.get(model.store, "does not lie in the models folder")
        raise InvalidRequest(f"'{model.id}' {whose}.", param="model", code="model_not_removable")


def remove(model: Model, models_dir: Path) -> None:
    """Removes a model from our own folder, with folders that are empty then; blocks.

    Raises:
        InvalidRequest: it is not ours, or the disk does not allow it.
    """
    check_removable(model, models_dir)
    try:
        for path in _files(model.path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        if model.path.suffix == SUFFIX or model.path.suffix in PACKAGE_SUFFIXES:
            _remove_beside(model_folder(model.path), models_dir)
    except OSError as error:
        raise InvalidRequest(f"'{model.id}' cannot be removed: {error}", param="model", code="model_not_removable") from error
    with suppress(OSError):
        for folder in model.path.parents:
            if folder == models_dir or not folder.is_relative_to(models_dir):
                break
            if folder.exists():
                folder.rmdir()


def _remove_beside(folder: Path, models_dir: Path) -> None:
    """Removes tokenizer and configs of a folder in which no other model is left."""
    if folder == models_dir or not folder.is_dir():
        return
    if all(path.is_dir() or is_beside(path.name) for path in folder.rglob("*")):
        shutil.rmtree(folder)


def _files(path: Path) -> list[Path]:
    """A model's folder, its file, a graph with its data, a package with its compiled form, or all its shards that are there."""
    if path.suffix == SUFFIX:
        return graph_files(path)
    if path.suffix == ".mlpackage":
        # Both were listed as one model: what is left of it would be listed again.
        compiled = path.with_suffix(".mlmodelc")
        return [path, compiled] if compiled.exists() else [path]
    shard = SHARD_NAME.fullmatch(path.name)
    if shard is None:
        return [path]
    count = int(shard["count"])
    shards = (path.with_name(shard_name(shard["stem"], number, count)) for number in range(1, count + 1))
    return [shard for shard in shards if shard.exists()]
