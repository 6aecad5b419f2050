"""Estimates what a model takes in memory, from its header alone."""

from __future__ import annotations

from dataclasses import dataclass

from ..formats.header import Header

STEP_TOKENS = 512
"""How many tokens llama.cpp computes at a time (`n_ubatch`)."""
CACHE_GRAIN = 256
"""llama.cpp rounds the context up to a multiple of this."""
PROCESS_BYTES = 64 * 1024**2
"""An engine's process before it holds a model: interpreter, libraries, vocabulary."""
TYPICAL_KV_BYTES_PER_TOKEN = 128 * 1024
"""For models that do not say: what one of 8 billion parameters with grouped heads takes."""
_ACTIVATIONS = 8
"""How many rows of the model's width are alive at once while a layer is computed."""
_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Footprint:
    """The parts of what a loaded model takes."""

    weights_bytes: int
    kv_bytes: int
    """The cache for the whole context, at 16 bits a number."""
    scratch_bytes: int
    """Room to compute in, and the process itself."""

    @property
    def total_bytes(self) -> int:
        """All together."""
        return self.weights_bytes + self.kv_bytes + self.scratch_bytes


def footprint(header: Header, context_length: int) -> Footprint:
    """Estimates what a model takes with so many tokens of context; rather too much than too little."""
    if header.format == "echo":
        return Footprint(0, 0, PROCESS_BYTES)
    per_token = TYPICAL_KV_BYTES_PER_TOKEN if header.kv_bytes_per_token is None else header.kv_bytes_per_token
    tokens = -(-context_length // CACHE_GRAIN) * CACHE_GRAIN
    # The scores of a step over the vocabulary and its mask over the context follow one another in the same buffer.
    widest = max(header.vocabulary_size or 0, tokens)
    row = widest + _ACTIVATIONS * (header.embedding_length or 0)
    return Footprint(
        weights_bytes=header.size_bytes,
        kv_bytes=tokens * per_token,
        scratch_bytes=PROCESS_BYTES + STEP_TOKENS * row * _FLOAT_BYTES,
    )
