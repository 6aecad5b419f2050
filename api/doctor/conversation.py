"""A small conversation in no dialect, and what is heard in answer to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

JsonObject = dict[str, object]


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool."""

    id: str
    name: str
    arguments: str
    """A JSON object as text."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message."""

    role: Literal["user", "assistant", "tool"]
    text: str = ""
    calls: tuple[Call, ...] = ()
    answers: Call | None = None
    """The call whose result a `tool` message is."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that may be called."""

    name: str
    description: str
    fields: tuple[str, ...]
    """Names of its arguments, all texts, all required."""

    @property
    def parameters(self) -> JsonObject:
        """Its arguments as a JSON schema."""
        properties = {name: {"type": "string"} for name in self.fields}
        return {"type": "object", "properties": properties, "required": list(self.fields)}


@dataclass(frozen=True, slots=True)
class Ask:
    """What is sent once."""

    system: str
    turns: tuple[Turn, ...]
    tools: tuple[Tool, ...] = ()
    required: bool = False
    """Whether a tool must be called."""
    max_tokens: int = 48
    tps: float | None = None
    """For our own engines without a model: how fast they speak."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A whole streamed answer."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    ended: bool = False
    """Whether the dialect's last event came."""
    error: str | None = None
    """An error that came in place of an end."""


class Speaker(Protocol):
    """How a dialect puts these."""

    def to_body(self, ask: Ask, model: str) -> JsonObject:
        """Gives the body of a request that streams."""
        ...

    def hear(self, data: bytes) -> Heard:
        """Reads a whole streamed answer."""
        ...

    def misses_overflow(self, status: int, body: bytes) -> str | None:
        """Says what a client would not understand in the refusal of a prompt that is too long; None where all is well."""
        ...


def merge(body: JsonObject, extras: Mapping[str, object]) -> JsonObject:
    """Adds what a client sends beside the conversation; what the conversation states wins."""
    return {**extras, **body}
