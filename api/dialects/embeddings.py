"""OpenAI's embeddings: `/v1/embeddings`, both ways.

Fields after https://platform.openai.com/docs/api-reference/embeddings; fields that are not known here are ignored.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ...runtime.errors import InvalidRequest
from ...runtime.questions import Embed, Embedded

MOST_INPUTS = 2048
"""Of one request."""
VECTORS_A_PIECE = 32
"""So many vectors are encoded at a time: to write thousands of them as decimal numbers takes a good part of a second."""
_INT32_MAX = 2**31 - 1
_FLOAT_BYTES = 4

TokenId = Annotated[int, Meta(ge=0, le=_INT32_MAX)]
Encoding = Literal["float", "base64"]


class EmbeddingsBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /v1/embeddings`."""

    model: Annotated[str, Meta(min_length=1, max_length=1024)]
    input: str | list[str | TokenId | list[TokenId]]
    encoding_format: Encoding | None = None
    dimensions: Annotated[int, Meta(ge=1, le=_INT32_MAX)] | None = None


class EmbeddingEntry(msgspec.Struct, frozen=True):
    """One vector."""

    index: int
    embedding: tuple[float, ...] | str
    """Numbers, or their 32-bit form, little-endian, in base64."""
    object: Literal["embedding"] = "embedding"


class Usage(msgspec.Struct, frozen=True):
    """Token counts of what was only read."""

    prompt_tokens: int
    total_tokens: int


EMBEDDINGS = msgspec.json.Decoder(EmbeddingsBody)


def to_question(body: EmbeddingsBody) -> Embed:
    """Translates a body; raises InvalidRequest for what the types alone cannot tell."""
    inputs = _inputs(body.input)
    if len(inputs) > MOST_INPUTS:
        raise InvalidRequest(
            f"'input': {len(inputs)} inputs are too many for one request; {MOST_INPUTS} are the most.",
            param="input",
            code="invalid_value",
        )
    empty = next((at for at, item in enumerate(inputs) if not item), None)
    if empty is not None:
        place = "input" if isinstance(body.input, str) else f"input[{empty}]"
        raise InvalidRequest(f"'{place}': it is empty.", param=place, code="invalid_value")
    return Embed(inputs, body.dimensions)


def to_pieces(answer: Embedded, model: str, encoding: Encoding) -> Iterator[bytes]:
    """Writes the answer, piece by piece; joined they are one JSON object."""
    yield b'{"object":"list","data":['
    vectors = answer.vectors
    for begin in range(0, len(vectors), VECTORS_A_PIECE):
        entries = [
            EmbeddingEntry(begin + at, _written(vector, encoding))
            for at, vector in enumerate(vectors[begin : begin + VECTORS_A_PIECE])
        ]
        yield (b"," if begin else b"") + msgspec.json.encode(entries)[1:-1]
    usage = Usage(answer.prompt_tokens, answer.prompt_tokens)
    yield b'],"model":' + msgspec.json.encode(model) + b',"usage":' + msgspec.json.encode(usage) + b"}"


def _written(vector: bytes, encoding: Encoding) -> tuple[float, ...] | str:
    if encoding == "base64":
        return base64.b64encode(vector).decode()
    return struct.unpack(f"<{len(vector) // _FLOAT_BYTES}f", vector)


def _inputs(given: str | Sequence[str | int | list[int]]) -> tuple[str | tuple[int, ...], ...]:
    """One input for a text or a list of token ids, several for a list of either."""
    if isinstance(given, str):
        return (given,)
    texts = [item for item in given if isinstance(item, str)]
    token_ids = [item for item in given if isinstance(item, int)]
    token_lists = [tuple(item) for item in given if isinstance(item, list)]
    for items in (texts, token_lists):
        if items and len(items) == len(given):
            return tuple(items)
    if token_ids and len(token_ids) == len(given):
        return (tuple(token_ids),)
    reason = "texts, token ids and lists of token ids cannot be mixed" if given else "an empty list is no input"
    raise InvalidRequest(f"'input': {reason}.", param="input", code="invalid_value")
