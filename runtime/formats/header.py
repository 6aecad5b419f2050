"""What a model's own bytes say of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Format = Literal["gguf", "safetensors", "mlx", "coreml", "pytorch", "onnx", "echo"]
Ability = Literal["text", "embedding", "rerank"]
"""What a model gives: the continuation of a text, a vector for it, or a score for how well it answers a query."""


@dataclass(frozen=True, slots=True)
class KvLayout:
    """What all layers of a model together keep of its context; the bytes follow from it."""

    width: int
    """Numbers of one token, keys and values, in the layers that look at the whole context."""
    window_width: int = 0
    """The same in the layers that look back only so far."""
    window: int | None = None
    """How far, in tokens; None where no layer has a window."""
    state_bytes: int = 0
    """What each sequence has instead, whatever its length: the states of recurrent layers."""
    head_lengths: tuple[int, ...] = ()
    """How many numbers a head's keys or values have, each length once."""


@dataclass(frozen=True, slots=True)
class ActiveWeights:
    """What one token takes of a model's weights: all but tables that are only looked up in, and experts that are not chosen."""

    size_bytes: int
    parameters: int
    mixture: bool = False
    """Whether each token takes some experts of many."""


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
    chat_template: str | None = field(default=None, compare=False, repr=False)
    """The default one of several; None also where it is too long to keep, or lies in a file of its own."""
    fills_gaps: bool = False
    """True where its vocabulary has tokens for what stands before, in and after a gap."""
    shards: int = 1
    kv_bytes_per_token: int | None = None
    """What one token of context takes in the cache over all layers, at 16 bits a number."""
    kv_layout: KvLayout | None = None
    """More exactly; None where the format or the architecture is not known well enough."""
    active: ActiveWeights | None = None
    """None where the format or the architecture is not known well enough."""
    kv_in_place: bool = False
    """True where an ONNX graph writes keys and values behind the old ones; others hand on a copy of all with every token."""
    feed_forward_length: int | None = None
    """How wide a layer's inner half is; the widest where layers differ."""
    rope_by_context: bool = False
    """True where an engine rotates positions otherwise once its context memory is longer than the model began with."""
    rope_by_rows: bool = False
    """True where pictures have places in rows and columns (M-RoPE), so that tokens and positions are counted apart."""
    rope_plain: bool = False
    """True where positions are rotated by the usual frequencies alone, so that they can be stretched (YaRN)."""
    version: int | None = None
    """Of the container, where the format counts them: 3 for today's GGUF."""
    big_endian: bool = False
    """True where the numbers were written for a big-endian machine."""
    made_for: str | None = None
    """Whose own layout its files have, where no engine here reads that, as "Meta's llama"."""
    ability: Ability = "text"
    """Which of the three; formats that are not served yet do not say."""
    sees_ahead: bool = False
    """True where a token sees those behind it too, as in encoders, by what config.json says."""
