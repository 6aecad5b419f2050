"""The parameters and results of what LM Studio's SDKs call on a WebSocket.

After https://github.com/lmstudio-ai/lmstudio-js, `packages/lms-external-backend-interfaces`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from .lmstudio_infos import KvStack, Specifier
from .lmstudio_predict import CompleteBody, PredictBody, TemplateBody


class SpecifiedBody(msgspec.Struct, frozen=True):
    """Which model is meant."""

    specifier: Specifier


class InfoBody(SpecifiedBody, frozen=True, rename="camel"):
    """Which model is meant, and whether it must be there."""

    throw_if_not_found: bool = False


class TextBody(SpecifiedBody, frozen=True, rename="camel"):
    """A text for the tokens of a model."""

    input_string: str


class EmbedBody(msgspec.Struct, frozen=True, rename="camel"):
    """A text for a model that gives vectors."""

    model_specifier: Specifier
    input_string: str


class UnloadBody(msgspec.Struct, frozen=True):
    """What is to leave memory."""

    identifier: str


class LoadBody(msgspec.Struct, frozen=True, rename="camel"):
    """What is to come to memory, and how it is to be held there."""

    model_key: str
    load_config_stack: KvStack = KvStack()


class GetOrLoadBody(msgspec.Struct, frozen=True, rename="camel"):
    """The same, where one that is in memory will do, however it is held."""

    identifier: str
    load_config_stack: KvStack = KvStack()


class UploadBody(msgspec.Struct, frozen=True, rename="camel"):
    """A file."""

    name: str
    content_base64: bytes


class Formatted(msgspec.Struct, frozen=True):
    """A conversation as the model reads it."""

    formatted: str


class Tokens(msgspec.Struct, frozen=True):
    """The tokens of a text."""

    tokens: tuple[int, ...]


class TokenCount(msgspec.Struct, frozen=True, rename="camel"):
    """How many tokens a text has."""

    token_count: int


class Embedding(msgspec.Struct, frozen=True):
    """The vector of a text."""

    embedding: tuple[float, ...]


class FileHandle(msgspec.Struct, frozen=True, rename="camel"):
    """What a file goes by from now on."""

    identifier: str
    file_type: Literal["image"]
    size_bytes: int


SPECIFIED = msgspec.json.Decoder(SpecifiedBody)
INFO = msgspec.json.Decoder(InfoBody)
TEXT = msgspec.json.Decoder(TextBody)
EMBED = msgspec.json.Decoder(EmbedBody)
UNLOAD = msgspec.json.Decoder(UnloadBody)
LOAD = msgspec.json.Decoder(LoadBody)
GET_OR_LOAD = msgspec.json.Decoder(GetOrLoadBody)
UPLOAD = msgspec.json.Decoder(UploadBody)
PREDICT = msgspec.json.Decoder(PredictBody)
COMPLETE = msgspec.json.Decoder(CompleteBody)
TEMPLATE = msgspec.json.Decoder(TemplateBody)
