"""What a repository on the Hub offers: its files, and the models that can be made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..formats.header import Ability, Format, Header


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a repository."""

    path: str
    """In the repository."""
    size_bytes: int | None
    sha256: str | None
    """None where the Hub does not state it."""
    blob_id: str | None = None
    """What git calls its content: of files that are not large, where the Hub states it."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """One model of a repository that can be pulled: a file, a set of shards, or a folder's files in one format."""

    name: str
    """Its path in the repository; of several files that of the first with weights, of Core ML in parts that of meta.yaml."""
    size_bytes: int | None
    """Of all files together."""
    quantization: str | None
    parts: tuple[RemoteFile, ...]
    """All it needs; without the first one, which is put in its place at last, the others are no model."""
    format: Format = "gguf"
    architecture: str | None = None
    """None where the Hub does not say."""
    ability: Ability = "text"
    place: str = ""
    """The folder in the repository that it is a model of."""

    @property
    def shards(self) -> int:
        """How many files it has."""
        return len(self.parts)

    @property
    def header(self) -> Header:
        """What is known of it before it is here; its bytes may say more."""
        return Header(
            format=self.format,
            size_bytes=self.size_bytes or 0,
            architecture=self.architecture,
            quantization=self.quantization,
            ability=self.ability,
        )


@dataclass(frozen=True, slots=True)
class Facts:
    """What the Hub itself found out about a repository's main model."""

    architecture: str | None = None
    library: str | None = None
    """As "mlx" or "transformers"."""
    quantization: str | None = None
    """Of the weights in the repository's own folder."""
    ability: Ability = "text"


NO_FACTS = Facts()


@dataclass(frozen=True, slots=True)
class Listing:
    """What a repository holds at one commit."""

    repo: str
    """As the Hub writes it."""
    commit: str
    files: tuple[HubFile, ...]
    without: str | None = None
    """What it is instead, where it offers nothing, in words for the user."""


def total_size(files: Sequence[RemoteFile]) -> int | None:
    """Adds sizes up; None where one is not known."""
    known = [file.size_bytes for file in files if file.size_bytes is not None]
    return sum(known) if len(known) == len(files) else None
