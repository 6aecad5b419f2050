"""GGUF files that go with a model instead of being one: what they say of themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .gguf_part import GgufPart, read_part


@dataclass(frozen=True, slots=True)
class AdapterHeader:
    """A LoRA adapter: small changes to a model's weights, put over them while it computes."""

    architecture: str | None
    """Of the models it was made for."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ProjectorHeader:
    """What turns pictures into what a language model takes (`mmproj`)."""

    embedding_length: int | None
    """Of the models it was made for; None where it does not say."""
    size_bytes: int


def read_projector(path: Path) -> ProjectorHeader | None:
    """Reads what a GGUF file says of the projector for pictures in it; None where there is none.

    Raises:
        FormatError: the file cannot be read or believed.
    """
    part = read_part(path)
    sees = part.metadata.get("clip.has_vision_encoder")
    if part.text("general.architecture") != "clip" or sees is not True:
        return None
    return ProjectorHeader(part.integer("clip.vision.projection_dim"), part.size_bytes)


def read_adapter(path: Path) -> AdapterHeader | None:
    """Reads what a GGUF file says of the adapter in it.

    Returns:
        None where there is none, or one that acts only behind certain words (`adapter.alora`), which is not served.

    Raises:
        FormatError: the file cannot be read or believed.
    """
    part = read_part(path)
    return AdapterHeader(part.text("general.architecture"), part.size_bytes) if _is_adapter(part) else None


def _is_adapter(part: GgufPart) -> bool:
    if part.text("general.type") != "adapter" or part.text("adapter.type") != "lora":
        return False
    return not any(key.startswith("adapter.alora.") for key in part.metadata)
