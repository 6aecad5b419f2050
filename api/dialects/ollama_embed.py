"""Ollama's embeddings: `/api/embed`, and the older `/api/embeddings`, both ways.

Fields after https://github.com/ollama/ollama/blob/main/docs/api.md#generate-embeddings; fields that are not known here are
ignored.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from ...runtime.errors import InvalidRequest
from ...runtime.questions import Embed, Embedded, Tokenized
from .ollama_answers import Stopwatch
from .ollama_options import Model

MOST_INPUTS = 2048
"""Of one request."""
VECTORS_A_PIECE = 32
"""So many vectors are encoded at a time, as to write thousands of them takes a good part of a second."""
_FLOAT_BYTES = 4

Input = str | tuple[int, ...]


class EmbedBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /api/embed`."""

    model: Model
    input: str | list[str] = ""
    """Empty: the model is only loaded."""
    truncate: bool | None = None
    """Whether an input that is too long is cut at its end; not given, it is."""
    dimensions: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    """0 is all of them."""
    keep_alive: float | str | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """The texts."""
        return ((self.input,) if self.input else ()) if isinstance(self.input, str) else tuple(self.input)


class EmbeddingsBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /api/embeddings`."""

    model: Model
    prompt: str = ""
    """Empty: the model is only loaded."""
    keep_alive: float | str | None = None


class Counts(msgspec.Struct, frozen=True):
    """What an answer says beside its vectors; durations are in nanoseconds."""

    total_duration: int
    load_duration: int
    prompt_eval_count: int


EMBED = msgspec.json.Decoder(EmbedBody)
EMBEDDINGS = msgspec.json.Decoder(EmbeddingsBody)


def to_question(inputs: tuple[Input, ...], dimensions: int | None = None) -> Embed:
    """Asks for a vector of each input; raises InvalidRequest."""
    if len(inputs) > MOST_INPUTS:
        raise InvalidRequest(
            f"'input': {len(inputs)} inputs are too many for one request; {MOST_INPUTS} are the most.",
            param="input",
            code="invalid_value",
        )
    empty = next((at for at, item in enumerate(inputs) if not item), None)
    if empty is not None:
        place = f"input[{empty}]"
        raise InvalidRequest(f"'{place}': it is empty.", param=place, code="invalid_value")
    return Embed(inputs, dimensions or None)


def cut(whole: Tokenized, bare: Tokenized, context_length: int) -> tuple[int, ...]:
    """Cuts a text's tokens to a context.

    Args:
        whole: the text's tokens with those that begin and end every text.
        bare: the same without.
        context_length: how many there may be.

    Returns:
        The tokens that are left of the text, between those that begin and end it.
    """
    ids, kept = whole.token_ids, bare.token_ids
    before = next((at for at in range(len(ids)) if ids[at : at + len(kept)] == kept), 0)
    after = len(ids) - before - len(kept)
    if len(ids) <= context_length or after < 0:
        return ids[:context_length]
    return ids[: context_length - after] + ids[len(ids) - after :]


def to_pieces(answer: Embedded, model: str, stopwatch: Stopwatch) -> Iterator[bytes]:
    """Writes the answer of `/api/embed`, piece by piece; joined they are one JSON object."""
    yield b'{"model":' + msgspec.json.encode(model) + b',"embeddings":['
    vectors = answer.vectors
    for begin in range(0, len(vectors), VECTORS_A_PIECE):
        numbers = [_to_numbers(vector) for vector in vectors[begin : begin + VECTORS_A_PIECE]]
        yield (b"," if begin else b"") + msgspec.json.encode(numbers)[1:-1]
    counts = Counts(stopwatch.total_ns(), stopwatch.load_ns(), answer.prompt_tokens)
    yield b"]," + msgspec.json.encode(counts)[1:]


def to_one(answer: Embedded) -> bytes:
    """Writes the answer of `/api/embeddings`; without a vector where none was asked for."""
    numbers = _to_numbers(answer.vectors[0]) if answer.vectors else ()
    return b'{"embedding":' + msgspec.json.encode(numbers) + b"}"


def _to_numbers(vector: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(vector) // _FLOAT_BYTES}f", vector)
