"""Finds the graph of a folder that suits this machine, and what its inputs and outputs mean by their names."""

from __future__ import annotations

import mmap
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from ...formats.header import Ability
from ...formats.onnx_variants import GENAI, choose_graph, find_variants, list_graphs, model_folder
from ..sequences.folder_vocabulary import read_json
from .backend import LoadError
from .onnx_library import TYPES

_PAST = re.compile(r"past.*?(\d+)\.(?:decoder\.)?(key|value)$")
_PRESENT = re.compile(r"present.*?(\d+)\.(?:decoder\.)?(key|value)$")
_SHARING_OPERATOR = b"GroupQueryAttention"
"""It writes new keys and values behind the old ones in the same buffer, and takes rows of different lengths."""


@dataclass(frozen=True, slots=True)
class Place:
    """Keys or values of one layer."""

    past: str
    present: str
    heads: int
    width: int


@dataclass(frozen=True, slots=True)
class Graph:
    """What a decoder takes and gives."""

    places: tuple[Place, ...]
    """Keys and values of all layers."""
    dtype: Any
    """Of keys and values, as numpy has it."""
    positions: bool
    """Whether it is told the position of each token; else it counts those that its mask lets through."""
    branch: bool
    """Whether it is told if there is anything before; one graph for both has two branches."""
    shares: bool
    """Whether it appends keys and values in place."""
    logits: str
    logits_dtype: Any
    rows: int


def find_graph(path: Path, ability: Ability = "text") -> tuple[Path, Path]:
    """Finds the graph to run and the folder that it belongs to.

    Args:
        path: a folder in the layout of onnxruntime-genai, transformers.js or optimum, or a graph.
        ability: what the model gives; says which of several precisions suits this machine.

    Raises:
        LoadError: there is none.
    """
    if path.is_file():
        return path, model_folder(path)
    settings = read_json(path / GENAI)
    model = cast("dict[str, Any]", settings.get("model") or {})
    named = cast("dict[str, Any]", model.get("decoder") or {}).get("filename")
    if isinstance(named, str):
        if not _is_inside(path, named):
            raise LoadError(f"{GENAI} names a file outside of its folder: {named}.")
        if (path / named).is_file():
            return path / named, path
        raise LoadError(f"'{named}', which {GENAI} names, is missing. Download it again.")
    if variants := find_variants(list_graphs(path)):
        return choose_graph(variants, ability), path
    raise LoadError("it has no graph that can be run: none is named model.onnx or decoder_model_merged.onnx.")


def read_graph(session: Any, graph: Path, config: Mapping[str, object]) -> Graph:
    """Reads the names and shapes of a session's inputs and outputs.

    Raises:
        LoadError: it is no decoder that keeps keys and values.
    """
    inputs = {one.name: one for one in session.get_inputs()}
    outputs = {one.name: one for one in session.get_outputs()}
    past = {match.groups(): name for name in inputs if (match := _PAST.search(name))}
    present = {match.groups(): name for name in outputs if (match := _PRESENT.search(name))}
    logits = next((name for name in outputs if name == "logits" or name.endswith(".logits")), None)
    if "input_ids" not in inputs or not past or past.keys() != present.keys() or logits is None:
        raise LoadError(
            f"'{graph.name}' is no decoder that keeps keys and values: it takes {', '.join(list(inputs)[:6])}. "
            "Export it with its cache ('text-generation-with-past')."
        )
    places: list[Place] = []
    for key in sorted(past, key=lambda key: (int(key[0]), key[1])):
        shape = inputs[past[key]].shape
        if len(shape) != 4:
            raise LoadError(f"'{graph.name}' keeps keys and values in {len(shape)} dimensions; 4 are needed.")
        places.append(Place(past[key], present[key], *_sizes(shape, config)))
    kind = inputs[next(iter(past.values()))].type
    if kind not in TYPES:
        raise LoadError(f"'{graph.name}' keeps keys and values as {kind}, which is not served.")
    rows = outputs[logits].shape[-1]
    return Graph(
        places=tuple(places),
        dtype=TYPES[kind],
        positions="position_ids" in inputs,
        branch="use_cache_branch" in inputs,
        shares="position_ids" not in inputs and _mentions(graph, _SHARING_OPERATOR),
        logits=logits,
        logits_dtype=TYPES.get(outputs[logits].type, np.float32),
        rows=rows if isinstance(rows, int) else _integer(config, "vocab_size"),
    )


def read_config(folder: Path) -> dict[str, object]:
    """Gives what a folder says of its decoder, under the names of Hugging Face's config.json."""
    config = read_json(folder / "config.json")
    text = config.get("text_config")
    if isinstance(text, dict):
        config |= cast("dict[str, object]", text)
    model = cast("dict[str, Any]", read_json(folder / GENAI).get("model") or {})
    decoder = cast("dict[str, Any]", model.get("decoder") or {})
    stated = {
        "vocab_size": model.get("vocab_size"),
        "max_position_embeddings": model.get("context_length"),
        "head_dim": decoder.get("head_size"),
        "num_key_value_heads": decoder.get("num_key_value_heads"),
        "num_attention_heads": decoder.get("num_attention_heads"),
    }
    return config | {key: value for key, value in stated.items() if value is not None}


def _sizes(shape: list[object], config: Mapping[str, object]) -> tuple[int, int]:
    """Heads and length of a head; what the graph leaves open is in the config."""
    heads, width = shape[1], shape[3]
    attention = _integer(config, "num_attention_heads")
    if not isinstance(heads, int):
        heads = _integer(config, "num_key_value_heads") or attention
    if not isinstance(width, int):
        width = _integer(config, "head_dim") or (_integer(config, "hidden_size") // attention if attention else 0)
    if not heads or not width:
        raise LoadError("neither the graph nor config.json says how large its keys and values are.")
    return heads, width


def _integer(config: Mapping[str, object], key: str) -> int:
    value = config.get(key)
    return value if isinstance(value, int) else 0


def _is_inside(folder: Path, name: str) -> bool:
    return (folder / name).resolve().is_relative_to(folder.resolve())


def _mentions(graph: Path, name: bytes) -> bool:
    with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(name) >= 0
