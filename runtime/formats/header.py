"""What a model's own bytes say of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Format = Literal["gguf", "safetensors", "mlx", "coreml", "pytorch", "onnx", "echo"]


@dataclass(frozen=True, slots=True)
class Header:
    """The facts of a model that can be read without loading it; None is what its bytes do not say."""

    format: Format
    size_bytes: int
    """Of all its files together."""
    name: str | None = None
    architecture: str | None = None
    """As "llama" or "qwen3"."""
    quantization: str | None = None
    """As "Q4_K_M", "F16"."""
    parameters: int | None = None
    layers: int | None = None
    embedding_length: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    context_length: int | None = None
    """What the model was trained for, in tokens."""
    vocabulary_size: int | None = None
    has_chat_template: bool | None = None
    shards: int = 1
    kv_bytes_per_token: int | None = None
    """What one token of context takes in the cache over all layers, at 16 bits a number."""
    version: int | None = None
    """Of the container, where the format counts them: 3 for today's GGUF."""
    big_endian: bool = False
    """True where the numbers were written for a big-endian machine."""
