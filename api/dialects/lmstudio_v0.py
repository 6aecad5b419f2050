"""LM Studio's first REST API, `/api/v0`: its list of models, and what it adds to OpenAI's answers.

After https://lmstudio.ai/docs/developer/rest/endpoints. Bodies and answers are OpenAI's; each answer, and the last chunk of
each choice of a stream, also has `stats`, `model_info` and `runtime`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, Protocol

import msgspec

from ...runtime.events import Admitted, Event, Finished
from ...runtime.models.model import ModelStatus
from ..errors import Failure
from .lmstudio_facts import (
    Reckoning,
    Runner,
    StopReason,
    takes_tools,
    to_container,
    to_longest,
    to_publisher,
    to_runner,
)

_CHUNK_END = b"}\n\n"

FindStatus = Callable[[str], ModelStatus | None]
"""Gives how a model stands, by its id."""


class ModelEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One model of the list."""

    id: str
    object: Literal["model"]
    type: Literal["llm", "vlm", "embeddings"]
    publisher: str
    arch: str | None
    compatibility_type: str
    quantization: str | None
    state: Literal["loaded", "not-loaded"]
    max_context_length: int | None
    """What the model was made for, in tokens."""
    loaded_context_length: int | None = None
    """What is served, while it is loaded."""
    capabilities: list[Literal["tool_use"]] = []


class ModelList(msgspec.Struct, frozen=True):
    """The answer of `GET /api/v0/models`."""

    data: list[ModelEntry]
    object: Literal["list"] = "list"


class Stats(msgspec.Struct, frozen=True):
    """How fast an answer was given, and why it ended."""

    tokens_per_second: float | None
    time_to_first_token: float
    """In seconds."""
    generation_time: float
    """In seconds, from the first token to the last."""
    stop_reason: StopReason


class ModelInfo(msgspec.Struct, frozen=True):
    """Which model gave an answer."""

    arch: str | None
    quant: str | None
    format: str
    context_length: int | None
    """What is served, in tokens."""


class Extras(msgspec.Struct, frozen=True):
    """What stands beside OpenAI's fields."""

    stats: Stats
    model_info: ModelInfo | None
    """None where the model left the list meanwhile."""
    runtime: Runner | None


class Chunks(Protocol):
    """A stream in OpenAI's form: each event a JSON object, and the last of a choice at its end."""

    def to_wire(self, batch: Iterable[Event]) -> bytes:
        """Gives the chunks for what arrived."""
        ...

    def heartbeat(self) -> bytes:
        """Gives a sign of life."""
        ...

    def ending(self) -> bytes:
        """Gives what follows the last choice's end."""
        ...

    def failing(self, failure: Failure) -> bytes:
        """Gives the event of an error."""
        ...


class StatsStream:
    """Adds to the last chunk of each choice what it took; everything else passes as it is."""

    def __init__(self, chunks: Chunks, find_status: FindStatus) -> None:
        self._chunks = chunks
        self._find_status = find_status
        self._model = ""
        self._admitted: list[Event] = []
        """Of the prompt that runs."""

    def to_wire(self, batch: Iterable[Event]) -> bytes:
        """Gives the chunks for what arrived."""
        parts: list[bytes] = []
        between: list[Event] = []
        for event in batch:
            if not isinstance(event, Finished):
                if isinstance(event, Admitted):
                    self._model = event.model
                    self._admitted = [event]
                between.append(event)
                continue
            parts += (self._chunks.to_wire(between), self._finish(event))
            between = []
        parts.append(self._chunks.to_wire(between))
        return b"".join(parts)

    def heartbeat(self) -> bytes:
        """Gives a sign of life."""
        return self._chunks.heartbeat()

    def ending(self) -> bytes:
        """Gives what follows the last choice's end."""
        return self._chunks.ending()

    def failing(self, failure: Failure) -> bytes:
        """Gives the event of an error."""
        return self._chunks.failing(failure)

    def _finish(self, event: Finished) -> bytes:
        reckoning = Reckoning()
        reckoning.add((*self._admitted, event))
        chunks = self._chunks.to_wire((event,))
        if not chunks.endswith(_CHUNK_END):
            return chunks
        return add_extras(chunks[:-2], to_extras(reckoning, self._find_status(self._model))) + b"\n\n"


def add_extras(answer: bytes, extras: Extras) -> bytes:
    """Puts fields behind those of a JSON object that is written already, and has some."""
    return answer[:-1] + b"," + msgspec.json.encode(extras)[1:]


def to_extras(reckoning: Reckoning, status: ModelStatus | None) -> Extras:
    """Says what an answer took, and of which model."""
    stats = Stats(reckoning.tokens_per_s, reckoning.prefill_s, reckoning.decode_s, reckoning.stop_reason)
    if status is None:
        return Extras(stats, None, None)
    header = status.model.header
    info = ModelInfo(header.architecture, header.quantization, header.format, status.served_context_length)
    return Extras(stats, info, to_runner(status, header.format))


def to_model_entry(status: ModelStatus, alias: str | None = None) -> ModelEntry:
    """Shows a model as the list has it, or an alias of it."""
    model, header = status.model, status.model.header
    return ModelEntry(
        id=alias or model.id,
        object="model",
        type="embeddings" if header.ability != "text" else "llm" if model.projector is None else "vlm",
        publisher=to_publisher(model),
        arch=header.architecture,
        compatibility_type=to_container(model) if header.format != "mlx" else "mlx",
        quantization=header.quantization,
        state="loaded" if status.state == "ready" else "not-loaded",
        max_context_length=to_longest(status),
        loaded_context_length=status.context_length if status.state == "ready" else None,
        capabilities=["tool_use"] if takes_tools(model) else [],
    )
