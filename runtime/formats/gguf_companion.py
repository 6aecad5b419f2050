"""GGUF files beside a model that make it take pictures: what they say of themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .gguf_part import read_part


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
