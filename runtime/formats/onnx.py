"""Recognises ONNX graphs.

Source: ModelProto in https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

from pathlib import Path

from .folder import read_json, to_header
from .header import Header
from .protobuf import read_fields

_IR_VERSION, _GRAPH, _OPSET_IMPORT = 1, 7, 8


def is_onnx(path: Path) -> bool:
    """Says whether a file is a whole ModelProto: its version, a graph, and the operators it is written for."""
    fields = read_fields(path)
    if not fields:
        return False
    versions = [field.value for field in fields if field.number == _IR_VERSION]
    lengths = {field.number: field.length for field in fields}
    return (
        len(versions) == 1
        and versions[0] is not None
        and 1 <= versions[0] <= 255
        and lengths.get(_GRAPH) is not None
        and lengths.get(_OPSET_IMPORT) is not None
    )


def read_onnx(folder: Path, graphs: list[Path]) -> Header:
    """Reads what a folder with ONNX graphs says of itself; the graphs' data files count as well."""
    size = sum(
        path.stat().st_size
        for place in sorted({graph.parent for graph in graphs})
        for path in place.iterdir()
        if path.is_file() and (path.suffix == ".onnx" or ".onnx" in path.name or path.suffix == ".data")
    )
    return to_header(folder, "onnx", read_json(folder / "config.json") or {}, size)
