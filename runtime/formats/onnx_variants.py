"""Reads off an ONNX graph's name which precision it has, and which of several files belong to it.

Sources: the names that transformers.js, optimum and sentence-transformers give
(https://huggingface.co/docs/transformers.js/guides/dtypes), and external data in
https://github.com/onnx/onnx/blob/main/docs/ExternalData.md
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePath
from typing import TypeVar

from .header import Ability

P = TypeVar("P", bound=PurePath)

SUFFIX = ".onnx"
GENAI = "genai_config.json"
"""Beside the graphs of onnxruntime-genai, which write keys and values behind the old ones."""
_VARIANT = re.compile(
    r"[-_.](?P<variant>q4f16|q4|q8|bnb4|int4|int8|uint8|quantized|fp16|fp32|bf16|q?u?int8_[a-z0-9_]+)$", re.IGNORECASE
)
_QUANTIZATIONS = {
    "q4": "Q4", "q4f16": "Q4F16", "bnb4": "BNB4", "int4": "INT4", "q8": "INT8", "int8": "INT8", "uint8": "UINT8",
    "quantized": "INT8", "fp16": "F16", "fp32": "F32", "bf16": "BF16",
}  # fmt: skip
_FASTEST_FIRST = ("Q4", "INT4", "Q4F16", "BNB4", "INT8", "UINT8", None, "F32", "F16", "BF16")
"""The best for a CPU first: what moves the fewest bytes for a token is the fastest, and 16 bits are what a CPU cannot add
and multiply. None is a graph whose name says nothing: full precision."""
_PRECISE_FIRST = (None, "F32", "F16", "BF16", "INT8", "UINT8", "Q4", "INT4", "Q4F16", "BNB4")
"""The same for encoders: they are small, and a vector's every number counts."""
_RUNNABLE = ("decoder_model_merged", "model")
"""The first words of a graph that stands for a whole model, the better one first."""


def read_variant(stem: str) -> tuple[str, str]:
    """Splits a graph's name: "model_q4" is "model" in the variant "q4"; "" where it names none."""
    match = _VARIANT.search(stem)
    return (stem[: match.start()], match["variant"].lower()) if match else (stem, "")


def quantization_of(variant: str) -> str | None:
    """Names a variant's numbers as headers do; None where it says nothing of them."""
    if variant.startswith(("qint8", "int8_")):
        return "INT8"
    return "UINT8" if variant.startswith(("quint8", "uint8_")) else _QUANTIZATIONS.get(variant)


def rank_precision(quantization: str | None, ability: Ability) -> int:
    """Says how well a precision suits this machine; the lowest is the best."""
    order = _FASTEST_FIRST if ability == "text" else _PRECISE_FIRST
    return order.index(quantization) if quantization in order else len(order)


def _choose_stem(stems: Iterable[str]) -> str | None:
    """Says which of a folder's names stands for the whole model: a decoder in one piece, else a model, else the only one."""
    bases = {read_variant(stem)[0] for stem in stems}
    return next((base for base in _RUNNABLE if base in bases), next(iter(bases)) if len(bases) == 1 else None)


def find_variants(graphs: Sequence[P]) -> dict[P, str]:
    """Gives those graphs of a folder that stand for a whole model, and which variant of it each one is."""
    stem = _choose_stem(graph.stem for graph in graphs)
    named = {graph: read_variant(graph.stem) for graph in graphs}
    return {graph: variant for graph, (base, variant) in named.items() if base == stem}


def choose_graph(variants: dict[Path, str], ability: Ability) -> Path:
    """Takes the graph of a model's variants whose precision suits this machine best."""
    return min(variants, key=lambda graph: (rank_precision(quantization_of(variants[graph]), ability), graph.name))


def list_graphs(folder: Path) -> list[Path]:
    """Lists a model folder's graphs, those in its folder `onnx` before those in itself."""
    below = [folder / "onnx" / name for name in list_files(folder / "onnx") if name.endswith(SUFFIX)]
    return below + [folder / name for name in list_files(folder) if name.endswith(SUFFIX)]


def list_files(folder: Path) -> list[str]:
    """Lists the names of a folder's files; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_file())
    except (FileNotFoundError, NotADirectoryError):
        return []


def model_folder(graph: Path) -> Path:
    """Gives the folder that a graph is a model of."""
    return graph.parent.parent if graph.parent.name == "onnx" else graph.parent


def graph_files(graph: Path) -> list[Path]:
    """Lists a graph and the data that belongs to it."""
    return [graph, *(graph.with_name(name) for name in find_data(graph.name, list_files(graph.parent)))]


def find_data(graph: str, names: Collection[str]) -> list[str]:
    """Finds among the names of a folder's files a graph's data; of the only graph that is all data there."""
    is_alone = sum(name.endswith(SUFFIX) for name in names) == 1
    others = [name for name in names if not name.endswith(SUFFIX)]
    return [name for name in others if _belongs_to(name, graph) or (is_alone and name.endswith(".data"))]


def _belongs_to(name: str, graph: str) -> bool:
    """Says whether a file is named as data of a graph: "model_q4.onnx_data_1" and "model_q4.onnx.data" are."""
    return name.startswith(graph) and re.match(r"(?:[._]data|_\d)", name[len(graph) :]) is not None
