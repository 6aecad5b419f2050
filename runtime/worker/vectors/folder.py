"""What model folders in Hugging Face's layout say of the vectors or scores that their models give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...formats.config_weights import text_settings
from ...formats.folder import sees_ahead
from ...frames import LoadOptions
from ..backends.backend import LoadError
from ..sequences.folder_vocabulary import FolderVocabulary, read_json
from .padded import PaddedContext
from .pooling import Pooling, Way, read_pooling
from .vector_backend import OpenedVectors

DEFAULT_CONTEXT = 512
_OFFSET = frozenset({"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "longformer", "roberta-prelayernorm"})
"""Types whose first positions stand for no token."""


@dataclass(frozen=True, slots=True)
class VectorFolder:
    """All but the weights."""

    folder: Path
    vocabulary: FolderVocabulary
    pooling: Pooling | None
    """None where it scores pairs."""
    context_length: int
    pad: int
    second_after: int | None
    """The token that ends the first text of a pair, where the model tells the two apart by numbers."""

    @property
    def ranks(self) -> bool:
        """Whether it scores pairs."""
        return self.pooling is None

    def pair(self, query: str, document: str) -> Sequence[int]:
        """Puts a query and a document together."""
        return self.vocabulary.pair(query, document)

    def opened(
        self, context: PaddedContext, engine: str, details: dict[str, str], *, close: Callable[[], None] = lambda: None
    ) -> OpenedVectors:
        """Puts it together with what computes it."""
        way = {} if self.pooling is None else {"pooling": self.pooling.way}
        return OpenedVectors(
            context=context,
            vocabulary=self.vocabulary,
            context_length=self.context_length,
            ranks=self.ranks,
            pair=self.pair,
            engine=engine,
            names=(self.folder.name, str(read_json(self.folder / "config.json").get("_name_or_path") or "")),
            details=details | way,
            close=close,
        )


def read_vector_folder(folder: Path, options: LoadOptions) -> VectorFolder:
    """Reads a folder.

    Raises:
        LoadError: something is missing or not known here.
    """
    config = read_json(folder / "config.json")
    facts = text_settings(config)
    vocabulary = FolderVocabulary(folder, ends_texts=True)
    kinds = config.get("architectures")
    ranks = isinstance(kinds, list) and any(str(kind).endswith("ForSequenceClassification") for kind in kinds)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    pad = config.get("pad_token_id")
    pad = pad if isinstance(pad, int) and 0 <= pad < vocabulary.size else 0
    length = facts.get("max_position_embeddings")
    length = length if isinstance(length, int) else options.context_length or DEFAULT_CONTEXT
    if config.get("model_type") in _OFFSET:
        length -= pad + 1
    if length < 1:
        raise LoadError("config.json says that it takes no tokens.")
    types = config.get("type_vocab_size")
    # A decoder's last token has seen the whole text, an encoder's tokens all have; decoders alone share keys among heads.
    unsaid: Way = "last" if "num_key_value_heads" in facts and not sees_ahead(config) else "mean"
    return VectorFolder(
        folder=folder,
        vocabulary=vocabulary,
        pooling=None if ranks else read_pooling(folder, unsaid=unsaid),
        context_length=min(length, options.context_length or length),
        pad=pad,
        second_after=vocabulary.separator if ranks and isinstance(types, int) and types > 1 else None,
    )
