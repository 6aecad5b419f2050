"""Tells the model formats apart, by bytes and by the shape of folders; a name alone decides nothing."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ..errors import FormatError
from .adapter import CONFIG_NAME, tell_layout
from .coreml import choose_packages, is_coreml_file, is_coreml_folder, quantization_of_parts, read_coreml
from .folder import read_json
from .gguf import read_gguf
from .gguf_part import MAGIC
from .header import Header
from .onnx import check_onnx, is_onnx, read_graph_header, read_onnx
from .onnx_variants import SUFFIX, list_graphs
from .pytorch import SUFFIXES, check_pytorch, is_metas, is_pytorch, read_metas, read_pytorch
from .safetensors import is_safetensors, read_safetensors, read_table

# Which files of a folder are worth a look; their bytes then decide.
_TENSOR_SUFFIX = ".safetensors"


def detect(path: Path) -> Header | None:
    """Says what a file or a folder is.

    Returns:
        What it says of itself, or None where it is no model that an engine could serve.

    Raises:
        FormatError: it is one, but damaged, cut short or incomplete.
    """
    try:
        return _detect_folder(path) if path.is_dir() else _detect_file(path)
    except OSError as error:
        raise FormatError(
            path, f"cannot be read: {error.strerror or error}", cure="Look at its permissions and its disk."
        ) from error


def is_gguf(path: Path) -> bool:
    """Says whether a file begins as GGUF does."""
    with path.open("rb", buffering=0) as file:
        return file.read(4) == MAGIC


def _detect_file(path: Path) -> Header | None:
    # A file named .gguf that is none is a damaged model, and its owner should read why.
    if is_gguf(path) or path.suffix.lower() == ".gguf":
        return read_gguf(path)
    if is_safetensors(path):
        table = read_table(path)
        kind = "mlx" if table.made_for == "mlx" else "safetensors"
        return Header(format=kind, size_bytes=path.stat().st_size, parameters=sum(table.parameters_by_type.values()))
    if is_pytorch(path):
        check_pytorch(path)
        return Header(format="pytorch", size_bytes=path.stat().st_size)
    if is_onnx(path):
        return read_graph_header(path)
    if path.suffix == SUFFIX:
        check_onnx(path)
    return read_coreml(path) if is_coreml_file(path) else None


def _detect_folder(folder: Path) -> Header | None:
    if is_coreml_folder(folder):
        return read_coreml(folder)
    with os.scandir(folder) as entries:
        files = sorted(Path(entry.path) for entry in entries if not entry.name.startswith(".") and entry.is_file())
    tensors = [path for path in files if path.suffix == _TENSOR_SUFFIX]
    if any(path.name == CONFIG_NAME for path in files):
        # An adapter may lie beside the config of the model that it was made for, or beside that model.
        tensors = [path for path in tensors if tell_layout(read_table(path).names) is None]
    if tensors:
        # A lone file without a config is not a whole model.
        return read_safetensors(folder, tensors) if (folder / "config.json").is_file() else None
    checkpoints = [path for path in files if path.suffix in SUFFIXES and is_pytorch(path)]
    if checkpoints and (folder / "config.json").is_file():
        return read_pytorch(folder, checkpoints)
    if checkpoints and (params := read_json(folder / "params.json")) is not None and is_metas(folder, params):
        return read_metas(folder, params)
    graphs = list_graphs(folder)
    if any(is_onnx(graph) for graph in graphs):
        return read_onnx(folder, graphs)
    for graph in graphs:
        check_onnx(graph)
    packages = choose_packages(sorted(path for path in folder.iterdir() if path.is_dir() and is_coreml_folder(path)))
    if not packages:
        return None
    headers = [read_coreml(package) for package in packages]
    size_bytes, quantization = sum(header.size_bytes for header in headers), quantization_of_parts(packages)
    return replace(headers[0], size_bytes=size_bytes, quantization=quantization, shards=len(packages))
