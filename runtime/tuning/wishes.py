"""What a client wants of one load, above the settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from ..config import Config, KvType


@dataclass(frozen=True, slots=True)
class LoadWishes:
    """How one model is to be held while it stays in memory; None leaves a thing to the settings."""

    context_length: int | None = None
    """Tokens of prompt and answer together."""
    batch_tokens: int | None = None
    """The most prompt tokens in one step."""
    kv_type: KvType | None = None
    """How precisely keys and values are kept."""
    gpu_layers: int | None = None
    """So many layers are the GPU's; -1 is all."""
    stretch: Literal["yarn"] | None = None
    """Positions are stretched for a longer context than the trained one."""

    def or_none(self) -> LoadWishes | None:
        """Gives None where nothing is wanted."""
        return None if self == NO_WISHES else self

    def over(self, config: Config) -> Config:
        """Gives the settings as they hold for this load."""
        names = ("context_length", "batch_tokens", "kv_type", "gpu_layers", "stretch")
        wanted = {name: value for name in names if (value := getattr(self, name)) is not None}
        if not wanted:
            return config
        return msgspec.structs.replace(config, engine=msgspec.structs.replace(config.engine, **wanted))


NO_WISHES = LoadWishes()
