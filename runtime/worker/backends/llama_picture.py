"""Pictures inside a prompt's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ...frames import LoadOptions
from ..chat.conversation import Written
from .backend import Admission, LoadError

if TYPE_CHECKING:
    from .llama_model import LlamaModel
    from .llama_projector import Chunk, Projector

Encoded = npt.NDArray[np.float32]
"""What a stretch of a picture means to the model, shape (tokens, width)."""


class PictureFailed(Exception):
    """A picture could not be computed; the text says why, for the user."""


@dataclass(slots=True)
class Picture:
    """A stretch of a prompt's tokens that shows a picture, or a part of one; it is computed as a whole."""

    begin: int
    count: int
    chunk: Chunk
    encoded: Encoded | None = None
    """None before its turn, and again once it is in the cache."""

    @property
    def end(self) -> int:
        """The position behind it."""
        return self.begin + self.count

    def holds(self, position: int) -> bool:
        """Whether a position is inside: what is before it is no whole picture."""
        return self.begin < position < self.end


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """A prompt as the engine takes it."""

    ids: list[int]
    """Those of pictures are negative."""
    pictures: tuple[Picture, ...] = ()
    """In order."""
    written: Written | None = None
    """What belongs to a conversation's answer; None for other prompts."""


@dataclass(frozen=True, slots=True)
class LlamaAdmission(Admission):
    """A prompt with its pictures."""

    pictures: tuple[Picture, ...] = ()
    shown: frozenset[int] = frozenset()
    """Control tokens whose texts belong to the answer."""


def open_projector(options: LoadOptions, model: LlamaModel) -> Projector | None:
    """Gives what looks at pictures; None for a model without it.

    Raises:
        LoadError: this build of the engine does not know pictures.
    """
    if options.projector_path is None:
        return None
    try:
        # Here, as few models take pictures, and its library may be missing.
        from .llama_projector import Projector
    except (ImportError, OSError, RuntimeError) as error:
        raise LoadError(f"this build of llama.cpp takes no pictures: {error}") from error
    return Projector(options.projector_path, model.context, threads=model.threads, gpu=options.gpu_layers != 0)


def words_of(tokens: Sequence[int]) -> list[int]:
    """Leaves out the tokens of pictures, which mean nothing to a vocabulary."""
    return [token for token in tokens if token >= 0]
