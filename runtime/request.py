"""What is asked of a model: one internal request that every dialect translates to."""

from __future__ import annotations

from typing import Literal

import msgspec

Role = Literal["system", "user", "assistant", "tool"]


class TextPart(msgspec.Struct, frozen=True, tag="text"):
    """A piece of text in a message."""

    text: str


class ImagePart(msgspec.Struct, frozen=True, tag="image"):
    """A picture in a message, already decoded from its wire form."""

    data: bytes
    media_type: str
    """As `image/png`."""


Part = TextPart | ImagePart


class ToolCall(msgspec.Struct, frozen=True):
    """A call the assistant made in an earlier turn."""

    id: str
    name: str
    arguments: str
    """JSON text, as the client sent it."""


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation."""

    role: Role
    parts: tuple[Part, ...] = ()
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    """Which call a `tool` message answers."""

    @property
    def text(self) -> str:
        """The text parts joined; pictures are left out."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))


class ChatPrompt(msgspec.Struct, frozen=True, tag="chat"):
    """A conversation, rendered by the model's own chat template."""

    messages: tuple[Message, ...]


class TextPrompt(msgspec.Struct, frozen=True, tag="text"):
    """Raw text, given to the model as it is."""

    text: str


class TokenPrompt(msgspec.Struct, frozen=True, tag="tokens"):
    """Token ids, given to the model as they are."""

    token_ids: tuple[int, ...]


Prompt = ChatPrompt | TextPrompt | TokenPrompt


class Sampling(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the next token is chosen; a neutral value switches a stage off."""

    temperature: float = 0.8
    """0 is greedy."""
    top_p: float = 0.95
    """1 is off."""
    top_k: int = 40
    """0 is off."""
    min_p: float = 0.05
    """0 is off."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repeat_penalty: float = 1.0
    """1 is off."""
    repeat_last_n: int = 64
    """How many of the newest tokens the penalties look at; -1 is the whole context."""
    logit_bias: dict[int, float] = {}
    """Added to the logits, by token id."""
    seed: int | None = None
    """None draws a fresh one."""


class GenerateRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """One generation as the runtime takes it; `n` choices share a prompt."""

    model: str
    """A model id; resolved by the registry."""
    prompt: Prompt
    sampling: Sampling = Sampling()
    max_tokens: int | None = None
    """None is as many as the context holds."""
    stop: tuple[str, ...] = ()
    """The text ends before the first of these; they are not part of it."""
    top_logprobs: int | None = None
    """None: no logprobs. 0: only the chosen token's. Up to 20: that many alternatives too."""
    n: int = 1
    echo_tps: float | None = None
    """Tokens per second of the echo engine; 0 is as fast as it can, None its default. Other engines ignore it."""
