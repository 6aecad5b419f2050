"""A model as scripts see it: what `impetus ls --json` prints, a stable form."""

from __future__ import annotations

from typing import Self

import msgspec

from ..formats.header import Format
from .model import ModelStatus, Speed, StoreName


class ModelLine(msgspec.Struct, frozen=True):
    """One model on this machine; null is unknown."""

    id: str
    format: Format
    architecture: str | None
    quantization: str | None
    parameters: int | None
    context_length: int | None
    """What the model was trained for, in tokens."""
    size_bytes: int
    store: StoreName
    path: str
    problem: str | None
    """Why it cannot be served here; null where it can."""
    variant_of: str | None
    """The id of the same model in a form that is served better here; null for the best one, and the only one."""
    decode: Speed | None
    """How fast it writes: `measured` on this machine, or `predicted` for 4,096 tokens of context."""
    prefill: Speed | None
    """How fast it reads a prompt."""

    @classmethod
    def of(cls, status: ModelStatus) -> Self:
        """Gives the line of a model."""
        model, header = status.model, status.model.header
        return cls(
            id=model.id,
            format=header.format,
            architecture=header.architecture,
            quantization=header.quantization,
            parameters=header.parameters,
            context_length=header.context_length,
            size_bytes=header.size_bytes,
            store=model.store,
            path=str(model.path),
            problem=model.problem,
            variant_of=model.variant_of,
            decode=status.decode,
            prefill=status.prefill,
        )
