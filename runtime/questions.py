"""What is asked of a model besides text, and what it answers: one answer for each question, whole."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from .request import Message, Prompt


class Embed(msgspec.Struct, frozen=True, tag="embed"):
    """Which direction each text points in."""

    inputs: tuple[str | tuple[int, ...], ...]
    """Texts, or the token ids of texts, which are taken as they are."""
    dimensions: int | None = None
    """Keep only so many numbers of each vector; None is all of them."""
    normalise: bool = True
    """Whether every vector is brought to length 1."""


class Rank(msgspec.Struct, frozen=True, tag="rank"):
    """How well each document answers a query."""

    query: str
    documents: tuple[str, ...]


class Tokenize(msgspec.Struct, frozen=True, tag="tokenize"):
    """Which tokens a text is made of."""

    content: tuple[str | int, ...]
    """Pieces in a row: texts, and tokens that are taken as they are."""
    whole: bool = False
    """Whether the tokens that begin and end a text are put around it."""
    control: bool = True
    """Whether the texts of control tokens become these tokens, or stay plain text."""


class Detokenize(msgspec.Struct, frozen=True, tag="detokenize"):
    """Which text tokens stand for, control tokens too."""

    token_ids: tuple[int, ...]


class ApplyTemplate(msgspec.Struct, frozen=True, tag="apply_template"):
    """How the model's chat template writes a conversation."""

    messages: tuple[Message, ...]


class Count(msgspec.Struct, frozen=True, tag="count"):
    """How many tokens a prompt has, written as for a generation; one that does not fit is counted too."""

    prompt: Prompt


Question = Embed | Rank | Tokenize | Detokenize | ApplyTemplate | Count


class Embedded(msgspec.Struct, frozen=True, tag="embedded"):
    """A vector for each input, in their order."""

    vectors: tuple[bytes, ...]
    """Each of shape (dimensions,), 32-bit floats, little-endian."""
    prompt_tokens: int
    """Of all inputs together."""


class Ranked(msgspec.Struct, frozen=True, tag="ranked"):
    """A score for each document, in their order."""

    scores: tuple[float, ...]
    """The higher, the better; 0 to 1 from models that judge by one number, as nearly all do."""
    prompt_tokens: int
    """Of all pairs of query and document together."""


class Tokenized(msgspec.Struct, frozen=True, tag="tokenized"):
    """The tokens of a text."""

    token_ids: tuple[int, ...]
    pieces: tuple[bytes, ...]
    """The bytes each token stands for; not always whole UTF-8."""


class Detokenized(msgspec.Struct, frozen=True, tag="detokenized"):
    """The text of tokens."""

    text: str


class Rendered(msgspec.Struct, frozen=True, tag="rendered"):
    """A conversation as the model reads it."""

    text: str


class Counted(msgspec.Struct, frozen=True, tag="counted"):
    """The size of a prompt."""

    tokens: int


Answer = Embedded | Ranked | Tokenized | Detokenized | Rendered | Counted
AnswerKind = TypeVar("AnswerKind", bound=Answer)
