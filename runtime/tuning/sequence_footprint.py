"""Estimates what a model takes by the engines whose context memory grows with what it holds."""

from __future__ import annotations

import sys

from ..formats.header import Header
from ..frames import LoadOptions
from .footprint import TYPICAL_CONTEXT, TYPICAL_KV_BYTES_PER_TOKEN, Footprint

MIB = 1024**2
PROCESS_BYTES = {
    "mlx": 111 * MIB, "torch": 394 * MIB, "torch-embedding": 345 * MIB, "onnx": 114 * MIB, "coreml": 330 * MIB,
}  # fmt: skip
"""A process with the engine's library, its own structures and a tokenizer of 50,000 tokens, without the weights; as
tests/benchmarks/footprint.py finds it. For vectors, less of a library is used, and no pieces of words are kept."""
MOST_LOGITS_BYTES = 64 * MIB
"""ONNX graphs give scores for each token of a prompt; it is computed in pieces that keep them below this."""
MOST_ATTENTION_BYTES = 32 * MIB
"""Where they are of plain operators, the pieces also keep below this what one layer's heads look at."""
LEAST_PIECE_TOKENS = 32
"""ONNX prompts are not computed in smaller pieces than this."""
FREED_SHARE, LEAST_FREED_BYTES, MOST_FREED_BYTES = 1 / 16, 16 * MIB, 512 * MIB
"""Of the weights' size: what MLX may keep of memory that it freed. A step's rows are far below a sixteenth of the weights."""
PLAIN_TYPES = frozenset({"F64", "F32", "F16", "BF16"})
"""Weights in these are numbers as they are, not quantized."""
MLX_CPU_BATCH_TOKENS = 64
"""MLX's CPU takes as long for each token of a batch as for one alone, so that more of them only take memory."""
_SINGLE_BYTES, _HALF_BYTES = 4, 2
_HALVES = frozenset({"F16", "BF16", None})
_ROWS_ALIVE = 12
"""How many rows of a model's width are alive at once while a layer is computed."""
_SEGMENT_TOKENS = 256
"""What was kept of prompts comes back in pieces of so many tokens: as bytes, and as an array of them."""
_MLX_GROWTH_TOKENS = 256
"""By so many each sequence's caches grow at a time."""
_MLX_SCORES_ALIVE = 2
"""Attention without a kernel of its own: products, and their softmax."""
_ONNX_SCORES_ALIVE = 5
"""The same in a graph of plain operators: products, scaled, masked, their softmax, and the mask that is made for it."""
_TORCH_MASK_BYTES = 5
"""For each token of a step and each before it: whether it may look there, and the same as a number to be added."""
_INT8 = frozenset({"INT8", "UINT8"})
"""Precisions whose matrices ONNX Runtime lays out anew for its kernels, and keeps as they came too."""
_INT4 = frozenset({"Q4", "INT4", "Q4F16", "BNB4"})
_BLOCK_NUMBERS, _BLOCK_BYTES = 32, 20
"""Of weights in 4 bits: so many share a scale in single precision, and take so much with it."""
_BLOCK_MORE_BYTES = 8
"""When they are laid out anew, each block's scale is kept twice, and the sum of its numbers is kept beside it."""
_INT4_NUMBER_BYTES = 0.9
"""Weights of fewer bytes than this, on average, have 4 bits: in 8 bits they take one and the scales."""
_LAYER_MATRICES = 12
"""About so many squares of a model's width are a layer's weights."""


def sequence_footprint(header: Header, options: LoadOptions, engine_name: str) -> Footprint:
    """Estimates what a model takes when its context memory is full, and a step is computed at the end of a context."""
    half_bytes = header.kv_bytes_per_token or TYPICAL_KV_BYTES_PER_TOKEN
    number_bytes = kv_number_bytes(header, options, engine_name)
    token_bytes = half_bytes * number_bytes / _HALF_BYTES
    tokens = cells = options.cache_tokens or options.context_length or header.context_length or TYPICAL_CONTEXT
    context = options.context_length or cells
    if engine_name == "onnx" and not header.kv_in_place:
        # While tokens are computed, all sequences are there as they were and as they become.
        tokens *= 2
    scratch = PROCESS_BYTES.get(engine_name, 200 * MIB) + (header.vocabulary_size or 0) * _SINGLE_BYTES * options.max_sequences
    if engine_name == "mlx":
        growing = _MLX_GROWTH_TOKENS * -(-cells // context)
        scratch += _mlx_step_bytes(header, options, context, number_bytes) + int((2 * _SEGMENT_TOKENS + growing) * token_bytes)
    elif engine_name == "onnx":
        scratch += _onnx_step_bytes(header, options, context, cells)
    else:
        looks = options.batch_tokens * context * _TORCH_MASK_BYTES
        scratch += _row_bytes(header, min(options.batch_tokens, 512)) + looks + _repeated_bytes(header, cells, number_bytes)
    return Footprint(
        weights_bytes=weights_bytes(header, options) + _widened_bytes(header) + _laid_out_bytes(header, engine_name),
        kv_bytes=int(tokens * token_bytes),
        scratch_bytes=scratch,
    )


def onnx_piece_tokens(header: Header, options: LoadOptions, context: int) -> int:
    """How many tokens of a prompt ONNX Runtime computes at a time, at the end of so long a context."""
    most = [options.batch_tokens]
    if header.vocabulary_size:
        most.append(max(LEAST_PIECE_TOKENS, MOST_LOGITS_BYTES // (header.vocabulary_size * _SINGLE_BYTES)))
    if header.heads and not header.kv_in_place:
        most.append(max(LEAST_PIECE_TOKENS, MOST_ATTENTION_BYTES // (header.heads * context * _SINGLE_BYTES)))
    return min(most)


def freed_bytes(header: Header, options: LoadOptions) -> int:
    """How much of what it freed MLX may keep, in bytes."""
    return min(MOST_FREED_BYTES, max(LEAST_FREED_BYTES, int(weights_bytes(header, options) * FREED_SHARE)))


def _mlx_step_bytes(header: Header, options: LoadOptions, context: int, number_bytes: float) -> int:
    """What MLX keeps of what it freed, and the scores of attention where no kernel keeps them to itself."""
    fused = sys.platform == "darwin" and options.cache_type == "f16"
    item_bytes = max(_HALF_BYTES, int(number_bytes)) if options.cache_type == "f16" else _SINGLE_BYTES
    scores = 0 if fused else options.batch_tokens * context * (header.heads or 1) * item_bytes * _MLX_SCORES_ALIVE
    return freed_bytes(header, options) + scores


def _onnx_step_bytes(header: Header, options: LoadOptions, context: int, cells: int) -> int:
    """Scores of a piece of a prompt, its rows, and what its heads look at in a graph of plain operators."""
    piece = onnx_piece_tokens(header, options, context)
    step = piece * (header.vocabulary_size or 0) * _SINGLE_BYTES + _row_bytes(header, piece)
    if header.kv_in_place:
        return step
    looks = piece * context * (header.heads or 1) * _SINGLE_BYTES * _ONNX_SCORES_ALIVE
    return step + looks + _repeated_bytes(header, cells, _SINGLE_BYTES)


def _row_bytes(header: Header, tokens: int) -> int:
    return tokens * (header.embedding_length or 2048) * _SINGLE_BYTES * _ROWS_ALIVE


def _repeated_bytes(header: Header, cells: int, number_bytes: float) -> int:
    """Keys and values of one layer, of all sequences that answer at once, repeated for all heads that share them."""
    return int(2 * cells * (header.embedding_length or 2048) * number_bytes)


def _laid_out_bytes(header: Header, engine_name: str) -> int:
    """What ONNX Runtime holds of the weights beside what the files have: it lays matrices out anew for its kernels."""
    if engine_name != "onnx":
        return 0
    numbers = (header.vocabulary_size or 0) * (header.embedding_length or 0)
    # The rows of the vocabulary are looked up as they came: in single precision, unless the graph's maker quantized them too.
    plain = header.size_bytes - numbers * _SINGLE_BYTES
    if header.quantization in _INT8:
        return max(0, plain)
    more = _BLOCK_MORE_BYTES / _BLOCK_BYTES
    if not header.kv_in_place:
        return int(max(0, plain) * more) if header.quantization in _INT4 else 0
    if header.quantization in _INT4 or _number_bytes(header, numbers) < _INT4_NUMBER_BYTES:
        return int(header.size_bytes * more) + numbers * _BLOCK_BYTES // _BLOCK_NUMBERS
    # The same numbers score tokens, by a product.
    return numbers * _SINGLE_BYTES


def _number_bytes(header: Header, numbers: int) -> float:
    """How many bytes a weight has, roughly; `numbers` are those of the vocabulary's rows."""
    layers = (header.layers or 0) * _LAYER_MATRICES * (header.embedding_length or 0) ** 2
    return header.size_bytes / (layers + numbers) if layers else float(_SINGLE_BYTES)


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
        weights_bytes=header.size_bytes * _SINGLE_BYTES // min(item_bytes, _SINGLE_BYTES) + _widened_bytes(header),
        kv_bytes=0,
        scratch_bytes=PROCESS_BYTES.get(engine_name, PROCESS_BYTES.get(kind, PROCESS_BYTES["torch"])) + scratch,
    )


def weights_bytes(header: Header, options: LoadOptions) -> int:
    """What the weights take, quantized if the plan says so."""
    if options.weight_bits is None:
        return header.size_bytes
    # A scale and an offset of 16 bits for each 64 numbers.
    parameters = header.parameters or header.size_bytes // _HALF_BYTES
    return int(parameters * (options.weight_bits / 8 + 4 / 64))


def _widened_bytes(header: Header) -> int:
    """What scales and offsets take more than in the files, where they are held in single precision."""
    if not _is_widened(header):
        return 0
    # Of each two bytes more, for each 64 numbers.
    return (header.parameters or (header.active.parameters if header.active is not None else 0)) * 4 // 64


def _is_widened(header: Header) -> bool:
    """Whether all but the quantized numbers are held in single precision: a CPU multiplies by them in no other way."""
    return header.format == "mlx" and header.quantization not in _HALVES and sys.platform != "darwin"


def kv_number_bytes(header: Header, options: LoadOptions, engine_name: str) -> float:
    """How many bytes one number of keys and values takes: as it is computed, unless the plan says otherwise."""
    if engine_name == "mlx" and options.cache_type != "f16":
        return {"q8_0": 1.0, "q4_0": 0.5}[options.cache_type] + 4 / 64
    if engine_name == "onnx" or header.quantization in ("F32", "F64"):
        return _SINGLE_BYTES
    if engine_name == "mlx" and _is_widened(header):
        return _SINGLE_BYTES
    return _HALF_BYTES
