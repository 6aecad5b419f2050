"""Takes out of prompts what clients put in anew each turn, and what says nothing to a model.

Only the system messages that a conversation begins with are looked at, only the very beginning of each, and only forms
that are known exactly: a file or a question that quotes such a line is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from ...request import Message, TextPart


@dataclass(frozen=True, slots=True)
class Noise:
    """One kind of text that is taken out."""

    name: str
    client: str
    """Who writes it."""
    pattern: re.Pattern[str]
    """Matches it at the beginning of a system message, with the line ends behind it."""


NOISE: Final[tuple[Noise, ...]] = (
    # As `x-anthropic-billing-header: cc_version=2.1.117.48f; cc_entrypoint=cli; cch=71fea;`: the version's last part and
    # `cch` are computed from each request. `cch` is missing where the client was told of another server. What follows
    # stands in a part or on a line of its own, or directly behind where a proxy joined the parts.
    # https://github.com/anthropics/claude-code/issues/68900, https://github.com/ggml-org/llama.cpp/pull/21793
    Noise(
        "billing header",
        "Claude Code",
        re.compile(r"x-anthropic-billing-header: cc_version=[\w.-]{1,64};(?: [a-z_]{1,32}=[\w.-]{0,64};){0,8}[ \t]*(?:\r?\n)*"),
    ),
)
"""Every kind there is; `docs/prefix-cache.md` lists them for users."""


def normalise(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Gives a conversation without the known noise; a message that held nothing else is left out."""
    leading = next((place for place, message in enumerate(messages) if message.role != "system"), len(messages))
    cleaned = [_clean(message) for message in messages[:leading]]
    return (*(message for message in cleaned if message is not None), *messages[leading:])


def _clean(message: Message) -> Message | None:
    first = message.parts[0] if message.parts else None
    if not isinstance(first, TextPart):
        return message
    text = first.text
    for noise in NOISE:
        if (found := noise.pattern.match(text)) is not None:
            text = text[found.end() :]
    if text == first.text:
        return message
    parts = (TextPart(text), *message.parts[1:]) if text else message.parts[1:]
    return msgspec.structs.replace(message, parts=parts) if parts else None
