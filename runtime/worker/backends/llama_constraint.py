"""A GGUF model's vocabulary, as constraints need it."""

from __future__ import annotations

from ..constraint.vocabulary import ConstraintVocabulary, Tokens
from .llama_vocab import Vocabulary


def open_constraints(vocabulary: Vocabulary) -> ConstraintVocabulary:
    """Makes the maker of matchers for a model; nothing is read before the first constraint comes."""
    return ConstraintVocabulary(lambda: _read(vocabulary))


def _read(vocabulary: Vocabulary) -> Tokens:
    controls = frozenset(vocabulary.control_texts.values()) | vocabulary.ends
    pieces = [
        vocabulary.text_of(token).encode() if token in controls else vocabulary.piece(token) for token in range(vocabulary.size)
    ]
    return Tokens(pieces, controls, vocabulary.ends, lambda text: vocabulary.tokenize(text, control=False))
