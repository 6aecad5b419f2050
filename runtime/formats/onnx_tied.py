"""Finds in an ONNX graph the matrix that tokens are looked up in and, turned round, scored with.

Models whose two matrices are tied come with one of them, and an operator that turns it. ONNX Runtime turns such a matrix when
it loads the graph, into a copy that it lays out anew for its kernels, though they take it as it is.

Source: GraphProto, NodeProto and TensorProto in https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import math
import mmap
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path, PurePath

from .protobuf import read_numbers, walk_message

LEAST_BYTES = 16 << 20
"""Smaller matrices are turned within milliseconds."""
_MODEL_GRAPH = 7
_NODE, _INITIALIZER, _OUTPUT = 1, 5, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_KIND, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_GRAPH, _ATTRIBUTE_NUMBERS, _ATTRIBUTE_GRAPHS = 1, 6, 8, 11
_TENSOR_DIMENSION, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_ENTRY = 1, 2, 8, 13
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_SINGLE_PRECISION, _SINGLE_BYTES = 1, 4
_HALVES = frozenset({10, 16})
"""Kinds of 16 bits, which are widened beforehand where no kernel takes them."""
_NUMBERS_A_STORED_ONE = 2
"""Two numbers of 4 bits are stored as one."""
_NEVER_FOLDED = frozenset({"Gather", "GatherBlockQuantized", "Gemm", "MatMul", "MatMulNBits"})
"""Operators that take a weight beside what the model is asked, so that nothing can be computed of it alone."""


@dataclass(frozen=True, slots=True)
class Tied:
    """The matrix, in single precision."""

    name: str
    shape: tuple[int, int]
    data: Path
    """The file beside the graph that holds its numbers."""
    offset: int
    """Where they begin in that file."""

    @property
    def size_bytes(self) -> int:
        """How many bytes they are."""
        return math.prod(self.shape) * _SINGLE_BYTES


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    kind: int
    shape: tuple[int, ...]
    entries: tuple[tuple[int, int], ...]
    """Where it is said in which file its numbers are; none where the graph itself holds them."""

    @property
    def is_matrix(self) -> bool:
        size_bytes = math.prod(self.shape) * _SINGLE_BYTES
        is_large = size_bytes >= LEAST_BYTES
        return is_large and self.kind == _SINGLE_PRECISION and len(self.shape) == 2 and bool(self.entries)


@dataclass(frozen=True, slots=True)
class _Node:
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    order: tuple[int, ...]
    """Of dimensions, where it turns something and names it."""
    holds_graph: bool


class _Graph:
    """Nodes and constants of a graph, read where they are asked for."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        ((begin, end),) = (
            (first, last) for number, first, last in walk_message(content, 0, len(content)) if number == _MODEL_GRAPH
        )
        self.tensors: list[_Tensor] = []
        self._nodes: list[tuple[int, int]] = []
        self._outputs: list[tuple[int, int]] = []
        for number, first, last in walk_message(content, begin, end):
            if number == _INITIALIZER:
                self.tensors.append(self._read_tensor(first, last))
            elif number == _NODE:
                self._nodes.append((first, last))
            elif number == _OUTPUT:
                self._outputs.append((first, last))

    @property
    def largest_node_bytes(self) -> int:
        """How long the longest node is, which may hold a constant."""
        return max((last - first for first, last in self._nodes), default=0)

    def readers(self, name: str) -> list[_Node]:
        """Gives the nodes that take a value, and those in whose graphs it may be taken."""
        nodes = [self._read_node(*span) for span in self._mentions(self._nodes, name)]
        return [node for node in nodes if name in node.inputs or (node.holds_graph and name not in node.outputs)]

    def read_entries(self, tensor: _Tensor) -> dict[str, str]:
        """Says in which file a tensor's numbers are, and where."""
        entries: dict[str, str] = {}
        for span in tensor.entries:
            entry = {number: self._text(first, last) for number, first, last in walk_message(self._content, *span)}
            entries[entry.get(_ENTRY_KEY, "")] = entry.get(_ENTRY_VALUE, "")
        return entries

    def may_give(self, name: str) -> bool:
        """Whether a value may be one of the graph's outputs."""
        return any(self._mentions(self._outputs, name))

    def _mentions(self, spans: list[tuple[int, int]], name: str) -> Iterator[tuple[int, int]]:
        """Looks in one go through what lies together, as parts of one kind do in a file."""
        written = name.encode()
        at = 0
        while at < len(spans) and (found := self._content.find(written, spans[at][0], spans[-1][1])) >= 0:
            at = max(at, bisect_right(spans, found, key=itemgetter(0)) - 1)
            if found + len(written) <= spans[at][1]:
                yield spans[at]
            at += 1

    def _text(self, begin: int, end: int) -> str:
        return self._content[begin:end].decode("utf-8", "replace")

    def _read_node(self, begin: int, end: int) -> _Node:
        kind, inputs, outputs = "", list[str](), list[str]()
        order: tuple[int, ...] = ()
        holds_graph = False
        for number, first, last in walk_message(self._content, begin, end):
            if number == _NODE_INPUT:
                inputs.append(self._text(first, last))
            elif number == _NODE_OUTPUT:
                outputs.append(self._text(first, last))
            elif number == _NODE_KIND:
                kind = self._text(first, last)
            elif number == _NODE_ATTRIBUTE:
                fields = list(walk_message(self._content, first, last))
                holds_graph |= any(field in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS) for field, _, _ in fields)
                if any(field == _ATTRIBUTE_NAME and self._content[at:to] == b"perm" for field, at, to in fields):
                    order = self._numbers(fields, _ATTRIBUTE_NUMBERS)
        return _Node(kind, tuple(inputs), tuple(outputs), order, holds_graph)

    def _read_tensor(self, begin: int, end: int) -> _Tensor:
        fields = list(walk_message(self._content, begin, end))
        name = next((self._text(first, last) for number, first, last in fields if number == _TENSOR_NAME), "")
        kind = next(iter(self._numbers(fields, _TENSOR_TYPE)), 0)
        entries = tuple((first, last) for number, first, last in fields if number == _TENSOR_ENTRY)
        return _Tensor(name, kind, self._numbers(fields, _TENSOR_DIMENSION), entries)

    def _numbers(self, fields: list[tuple[int, int, int]], wanted: int) -> tuple[int, ...]:
        spans = ((first, last) for number, first, last in fields if number == wanted)
        return tuple(value for span in spans for value in read_numbers(self._content, *span))


def find_tied(graph: Path) -> Tied | None:
    """Finds the one large matrix of a graph that is turned for a product, where nothing else so large is computed beforehand.

    Args:
        graph: a ModelProto.

    Returns:
        None where there is none, or several; where it lies in the graph itself; where another constant of that size has to be
        computed when the graph is loaded (as weights of 16 bits, which are widened); or where the file is damaged.
    """
    try:
        with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _find(_Graph(content), graph.parent)
    except (OSError, ValueError):
        return None


def _find(graph: _Graph, folder: Path) -> Tied | None:
    matrices = [tensor for tensor in graph.tensors if tensor.is_matrix]
    if not matrices:
        return None
    least = min(math.prod(tensor.shape) for tensor in matrices) // _NUMBERS_A_STORED_ONE
    if graph.largest_node_bytes >= least:
        return None
    turned: list[_Tensor] = []
    for tensor in graph.tensors:
        if math.prod(tensor.shape) < least:
            continue
        if tensor.kind in _HALVES:
            return None
        for node in graph.readers(tensor.name):
            if tensor in matrices and _is_turned_for_a_product(graph, node):
                turned.append(tensor)
            elif node.kind not in _NEVER_FOLDED or node.holds_graph:
                return None
    return _to_tied(turned[0], graph, folder) if len(turned) == 1 else None


def _is_turned_for_a_product(graph: _Graph, node: _Node) -> bool:
    if node.kind != "Transpose" or node.order not in ((), (1, 0)) or len(node.outputs) != 1:
        return False
    (name,) = node.outputs
    match graph.readers(name):
        case [_Node(kind="MatMul", inputs=(other, second))]:
            return second == name != other and not graph.may_give(name)
        case _:
            return False


def _to_tied(tensor: _Tensor, graph: _Graph, folder: Path) -> Tied | None:
    rows, width = tensor.shape
    entries = graph.read_entries(tensor)
    location = entries.get("location", "")
    tied = Tied(tensor.name, (rows, width), folder / location, int(entries.get("offset", 0)))
    # Where a location may lead to is what ONNX Runtime checks, for the other tensors of the file.
    is_shared = any(graph.read_entries(other).get("location") == location for other in graph.tensors if other is not tensor)
    is_beside = bool(location) and PurePath(location).name == location
    is_whole = int(entries.get("length", 0)) == tied.size_bytes and tied.offset % _SINGLE_BYTES == 0
    return tied if is_shared and is_beside and is_whole else None
