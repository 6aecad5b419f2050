"""What a config.json in the shape of Hugging Face transformers says of a model, as a header's fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from .config_weights import count_weights, text_settings
from .header import Header


def with_config(header: Header, config: Mapping[str, object]) -> Header:
    """Adds what the keys say; those that are missing stay unknown."""
    facts = text_settings(config)

    def integer(key: str) -> int | None:
        value = facts.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None

    embedding, heads, head_dim = integer("hidden_size"), integer("num_attention_heads"), integer("head_dim")
    if head_dim is None and embedding and heads:
        head_dim = embedding // heads
    layers, kv_heads = integer("num_hidden_layers"), integer("num_key_value_heads")
    kv_heads = heads if kv_heads is None else kv_heads
    kind = config.get("model_type")
    kv_bytes = None
    if layers is not None and kv_heads is not None and head_dim is not None:
        kv_bytes = 2 * 2 * layers * kv_heads * head_dim
    return replace(
        header,
        architecture=kind if isinstance(kind, str) else header.architecture,
        layers=layers,
        embedding_length=embedding,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        context_length=integer("max_position_embeddings"),
        vocabulary_size=integer("vocab_size"),
        kv_bytes_per_token=kv_bytes,
    )


def with_weights(header: Header, config: Mapping[str, object]) -> Header:
    """Adds what can be counted by the keys: parameters, what a token takes of them, and what its context takes in memory.

    It is as it was where the config is not one of a decoder, or lacks what weights are counted by.
    """
    counted = count_weights(config)
    if counted is None:
        return header
    facts, layout = text_settings(config), counted.kv_layout
    inner = facts.get("intermediate_size") or facts.get("moe_intermediate_size")
    return replace(
        header,
        parameters=counted.parameters,
        feed_forward_length=inner if isinstance(inner, int) else None,
        kv_bytes_per_token=2 * (layout.width + layout.window_width),
        kv_layout=layout,
        active=counted.active(header.size_bytes),
    )
