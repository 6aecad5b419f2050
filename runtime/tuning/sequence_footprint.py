"""Estimates what a model takes by the engines whose context memory grows with what it holds."""

from __future__ import annotations

import sys

from ..formats.header import Header
from ..frames import LoadOptions
from .footprint import TYPICAL_CONTEXT, TYPICAL_KV_BYTES_PER_TOKEN, Footprint

MIB = 1024**2
PROCESS_BYTES = {"mlx": 150 * MIB, "torch": 420 * MIB, "onnx": 135 * MIB, "coreml": 330 * MIB}
"""A process with the engine's library, its own structures and a tokenizer of 50,000 tokens, before it holds weights; as
tests/benchmarks/footprint.py finds it."""
MOST_LOGITS_BYTES = 64 * MIB
"""ONNX graphs give scores for each token of a prompt; it is computed in pieces that keep them below this."""
FREED_SHARE, LEAST_FREED_BYTES, MOST_FREED_BYTES = 1 / 16, 16 * MIB, 512 * MIB
"""Of the weights' size: what MLX may keep of memory that it freed. A step's rows are far below a sixteenth of the weights."""
PLAIN_TYPES = frozenset({"F64", "F32", "F16", "BF16"})
"""Weights in these are numbers as they are, not quantized."""
_SINGLE_BYTES, _HALF_BYTES = 4, 2
_HALVES = frozenset({"F16", "BF16", None})
_ROWS_ALIVE = 12
"""How many rows of a model's width are alive at once while a layer is computed."""
_REPACKED = frozenset({"INT8", "UINT8"})
"""Precisions whose matrices ONNX Runtime lays out anew for its kernels, and keeps as they came too."""


def sequence_footprint(header: Header, options: LoadOptions, engine_name: str) -> Footprint:
    """Estimates what a model takes when its context memory is full."""
    half_bytes = header.kv_bytes_per_token or TYPICAL_KV_BYTES_PER_TOKEN
    token_bytes = half_bytes * kv_number_bytes(header, options, engine_name) / _HALF_BYTES
    tokens = options.cache_tokens or options.context_length or header.context_length or TYPICAL_CONTEXT
    if engine_name == "onnx" and not header.kv_in_place:
        # While a token is computed, one sequence is there as it was and as it becomes.
        tokens += options.context_length or tokens
    rows = min(options.batch_tokens, 512) * (header.embedding_length or 2048) * _SINGLE_BYTES * _ROWS_ALIVE
    scores = (header.vocabulary_size or 0) * _SINGLE_BYTES * options.max_sequences
    if engine_name == "onnx":
        scores += MOST_LOGITS_BYTES
    if engine_name == "mlx":
        rows = freed_bytes(header, options)
    return Footprint(
        weights_bytes=weights_bytes(header, options) + _repacked_bytes(header, engine_name),
        kv_bytes=int(tokens * token_bytes),
        scratch_bytes=PROCESS_BYTES.get(engine_name, 200 * MIB) + rows + scores,
    )


def freed_bytes(header: Header, options: LoadOptions) -> int:
    """How much of what it freed MLX may keep, in bytes."""
    return min(MOST_FREED_BYTES, max(LEAST_FREED_BYTES, int(weights_bytes(header, options) * FREED_SHARE)))


def _repacked_bytes(header: Header, engine_name: str) -> int:
    """What ONNX Runtime holds twice: matrices of 8 bits, but not the rows of the vocabulary, which are looked up."""
    if engine_name != "onnx" or header.quantization not in _REPACKED:
        return 0
    return max(0, header.size_bytes - (header.vocabulary_size or 0) * (header.embedding_length or 0) * _SINGLE_BYTES)


def vector_footprint(header: Header, options: LoadOptions, engine_name: str) -> Footprint:
    """Estimates what a model for vectors takes: its weights, in single precision on a CPU, and the rows of one batch."""
    kind = engine_name.removesuffix("-embedding")
    item_bytes = {"F32": 4, "F64": 8, "F16": 2, "BF16": 2}.get(header.quantization or "", 4)
    if kind == "mlx" and sys.platform == "darwin":
        item_bytes = _SINGLE_BYTES
    rows = max(options.batch_tokens, options.context_length or 0) * (header.embedding_length or 1024)
    scratch = rows * _SINGLE_BYTES * _ROWS_ALIVE
    if kind == "mlx":
        scratch += freed_bytes(header, options)
    return Footprint(
        weights_bytes=header.size_bytes * _SINGLE_BYTES // min(item_bytes, _SINGLE_BYTES),
        kv_bytes=0,
        scratch_bytes=PROCESS_BYTES.get(kind, PROCESS_BYTES["torch"]) + scratch,
    )


def weights_bytes(header: Header, options: LoadOptions) -> int:
    """What the weights take, quantized if the plan says so."""
    if options.weight_bits is None:
        return header.size_bytes
    # A scale and an offset of 16 bits for each 64 numbers.
    parameters = header.parameters or header.size_bytes // _HALF_BYTES
    return int(parameters * (options.weight_bits / 8 + 4 / 64))


def kv_number_bytes(header: Header, options: LoadOptions, engine_name: str) -> float:
    """How many bytes one number of keys and values takes: as it is computed, unless the plan says otherwise."""
    if engine_name == "mlx" and options.cache_type != "f16":
        return {"q8_0": 1.0, "q4_0": 0.5}[options.cache_type] + 4 / 64
    if engine_name == "onnx" or header.quantization in ("F32", "F64"):
        return _SINGLE_BYTES
    if engine_name == "mlx" and header.format == "mlx" and header.quantization not in _HALVES and sys.platform != "darwin":
        # On a CPU, what is beside quantized weights is computed in single precision.
        return _SINGLE_BYTES
    return _HALF_BYTES
