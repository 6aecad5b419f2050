"""Recognises ONNX graphs.

Source: ModelProto in https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..errors import FormatError
from .folder import read_json, to_header, total_bytes
from .header import Header
from .onnx_variants import GENAI, choose_graph, find_variants, graph_files, model_folder, quantization_of, read_variant
from .protobuf import read_beginning, read_fields

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


def check_onnx(path: Path) -> None:
    """Makes sure that what begins as a ModelProto is not cut short.

    Raises:
        FormatError: it is.
    """
    fields, missing_bytes = read_beginning(path)
    began = [field.number for field in fields[:1]] == [_IR_VERSION]
    if began and missing_bytes:
        why = f"its graph needs {missing_bytes:,} bytes more than the file has: it was cut short"
        raise FormatError(path, why, offset=path.stat().st_size, cure="Download it again.")


def read_onnx(folder: Path, graphs: list[Path]) -> Header:
    """Reads what a folder with ONNX graphs says of itself; of several precisions the one that suits this machine."""
    variants = find_variants(graphs)
    place = model_folder(graphs[0]) if variants else folder
    header = to_header(place, "onnx", read_json(place / "config.json") or {}, 0)
    if variants:
        return _of_graph(header, place, choose_graph(variants, header.ability))
    return replace(header, size_bytes=total_bytes({path for graph in graphs for path in graph_files(graph)}))


def read_graph_header(graph: Path) -> Header:
    """Reads what a graph's name and the folder around it say of the model; its size is that of the graph and its data."""
    folder = model_folder(graph)
    return _of_graph(to_header(folder, "onnx", read_json(folder / "config.json") or {}, 0), folder, graph)


def _of_graph(header: Header, folder: Path, graph: Path) -> Header:
    return replace(
        header,
        size_bytes=total_bytes(graph_files(graph)),
        quantization=quantization_of(read_variant(graph.stem)[1]),
        kv_in_place=(folder / GENAI).is_file(),
    )
