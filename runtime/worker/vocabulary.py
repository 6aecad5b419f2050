"""What all engines' vocabularies offer: text to token ids and back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

BOUNDARY = re.compile(r"start|\[INST\]|<\|(user|assistant|system|tool)|<\|turn>", re.IGNORECASE)
"""What the control tokens look like that begin a message in the chat templates of the field."""


class Vocabulary(Protocol):
    """A model's tokens."""

    @property
    def size(self) -> int:
        """Token ids are 0 up to this."""
        ...

    @property
    def control_texts(self) -> dict[str, int]:
        """Token ids of the control tokens by their text."""
        ...

    @property
    def longest_bytes(self) -> int:
        """No token stands for more bytes of text."""
        ...

    @property
    def ends(self) -> frozenset[int]:
        """The tokens that end an answer."""
        ...

    @property
    def bos(self) -> int | None:
        """The token that begins a sequence, or None."""
        ...

    @property
    def eos(self) -> int | None:
        """The token that ends one, or None."""
        ...

    @property
    def boundaries(self) -> frozenset[int]:
        """The control tokens that begin a message."""
        ...

    @property
    def adds_bos(self) -> bool:
        """Whether the model wants `bos` before every text."""
        ...

    @property
    def adds_bos_to_chats(self) -> bool:
        """Whether it also wants it before what its chat template wrote, where that begins otherwise."""
        ...

    def tokenize(self, text: str, *, control: bool, whole: bool = False) -> list[int]:
        """Cuts text into tokens.

        Args:
            text: what to cut.
            control: whether the texts of control tokens become these tokens, or stay plain text.
            whole: whether the tokens are put around it that begin and end a text of this model; else nothing is.
        """
        ...

    def piece(self, token: int) -> bytes:
        """The bytes of a token as shown to a reader; b"" for a control token."""
        ...

    def bytes_of(self, token: int) -> bytes:
        """The bytes of a token, those of a control token too."""
        ...

    def text(self, tokens: Sequence[int]) -> str:
        """Puts tokens together to text, with the texts of control tokens; what is not whole UTF-8 is replaced."""
        ...

    def text_of(self, token: int | None) -> str:
        """The text of a token as a template writes it, control tokens too."""
        ...

    def are_known(self, tokens: Sequence[int]) -> bool:
        """Whether all of these are ids of this vocabulary; engines themselves do not all look."""
        ...
