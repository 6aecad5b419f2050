"""What a GGUF model is for, by its architecture and by how it pools its tokens."""

from __future__ import annotations

from .gguf_part import GgufPart
from .header import Ability

_EMBEDDERS = frozenset({
    "bert", "eurobert", "gemma-embedding", "jina-bert-v2", "jina-bert-v3", "llama-embed", "modern-bert", "neo-bert",
    "nomic-bert", "nomic-bert-moe",
})  # fmt: skip
"""Architectures that never write text."""
_RANK = 4
"""llama.cpp's number for a head that scores; 0 is no pooling, 1 the mean, 2 the first token, 3 the last."""


def read_ability(part: GgufPart, architecture: str) -> Ability:
    """Says what a model gives; a decoder with a pooling type was trained to give vectors."""
    pooling = part.metadata.get(f"{architecture}.pooling_type")
    if pooling == _RANK:
        return "rerank"
    return "embedding" if architecture in _EMBEDDERS or pooling in (1, 2, 3) else "text"
