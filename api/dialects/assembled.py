"""Answers that are written piece by piece, as whole types: for the document of all routes, and for whoever reads them."""

from __future__ import annotations

from typing import Literal

import msgspec

from .embeddings import EmbeddingEntry, Usage
from .lmstudio_facts import Runner
from .lmstudio_v0 import ModelInfo, Stats
from .ollama_answers import ChatMessage, Ending, LogprobEntry
from .ollama_embed import Counts
from .openai_answers import ChatAnswer, CompletionAnswer


class EmbeddingsAnswer(msgspec.Struct, frozen=True):
    """The answer of `/v1/embeddings`."""

    data: list[EmbeddingEntry]
    model: str
    usage: Usage
    object: Literal["list"] = "list"


class OllamaChat(Ending, frozen=True, kw_only=True):
    """The answer of `/api/chat`, or its last line; the lines before have the first three fields, and `done` is false."""

    model: str
    created_at: str
    message: ChatMessage
    logprobs: list[LogprobEntry] | None = None


class OllamaGeneration(Ending, frozen=True, kw_only=True):
    """The answer of `/api/generate`, or its last line; the lines before have the first three fields, and `done` is false."""

    model: str
    created_at: str
    response: str
    thinking: str = ""
    logprobs: list[LogprobEntry] | None = None


class OllamaEmbeddings(Counts, frozen=True, kw_only=True):
    """The answer of `/api/embed`."""

    model: str
    embeddings: list[list[float]]


class OllamaEmbedding(msgspec.Struct, frozen=True):
    """The answer of `/api/embeddings`."""

    embedding: list[float]


class StudioChat(ChatAnswer, frozen=True, kw_only=True):
    """The answer of `/api/v0/chat/completions`: OpenAI's, and what it took."""

    stats: Stats
    model_info: ModelInfo | None
    runtime: Runner | None


class StudioCompletion(CompletionAnswer, frozen=True, kw_only=True):
    """The answer of `/api/v0/completions`: OpenAI's, and what it took."""

    stats: Stats
    model_info: ModelInfo | None
    runtime: Runner | None
