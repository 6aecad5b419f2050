"""What the scripted engine is to say, as a conversation itself may tell it.

A user's or system message that holds `SCRIPT:` and a JSON object behind it says it turn by turn: the answer to a conversation
with so many assistant messages is the turn of that number, the last one stands for all that follow. As in
`SCRIPT: {"family": "hermes", "turns": [{"text": "Reading.", "calls": [{"name": "read", "arguments": {"path": "a"}}]}]}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

import msgspec

from ...request import ChatPrompt
from .backend import Refusal

MARK = "SCRIPT:"

Fault = Literal["crash", "fail", "busy", "overflow"]
"""The process ends; a step fails; there is no room; the prompt is found too long."""


class ScriptedCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call to make."""

    name: str
    arguments: dict[str, msgspec.Raw] = {}


class ScriptedTurn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One answer."""

    reasoning: str = ""
    text: str = ""
    calls: tuple[ScriptedCall, ...] = ()
    raw: str | None = None
    """The answer as the model writes it, control tokens as their texts, in place of the three above."""
    delay_s: float = 0.0
    """How long the prompt seems to be computed."""
    tps: float | None = None
    """Words per second; None is the engine's own speed."""
    fault: Fault | None = None
    """What goes wrong, at the time that the first word is due."""
    times: int | None = None
    """How many requests for this turn it strikes; None is all of them."""
    stand_in: bool = False
    """Whether the stand-in says what follows the text, in place of reasoning, calls and raw."""


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All answers of a conversation."""

    turns: tuple[ScriptedTurn, ...]
    family: str = "hermes"
    """The syntax of calls and thoughts that it is written in."""


def find_script(prompt: ChatPrompt) -> Script | None:
    """Finds the newest script in a conversation; raises Refusal for one that cannot be read."""
    for message in reversed(prompt.messages):
        if message.role in ("user", "system") and MARK in message.text:
            return _parse(message.text.partition(MARK)[2].lstrip())
    return None


def turn_of(script: Script, prompt: ChatPrompt) -> ScriptedTurn:
    """Gives the answer that is due in a conversation."""
    said = sum(message.role == "assistant" for message in prompt.messages)
    return script.turns[min(said, len(script.turns) - 1)]


def arguments_of(call: ScriptedCall) -> str:
    """Writes a call's arguments as JSON text."""
    return msgspec.json.encode(call.arguments).decode()


def call_with(name: str, arguments: Mapping[str, object]) -> ScriptedCall:
    """Makes a call."""
    return ScriptedCall(name, {key: msgspec.Raw(msgspec.json.encode(value)) for key, value in arguments.items()})


def _parse(text: str) -> Script:
    # Some agents hand on what they were told as a quoted string.
    unquoted = text.replace('\\"', '"') if text.startswith('{\\"') else text
    try:
        value, _ = json.JSONDecoder().raw_decode(unquoted)
        script = msgspec.json.decode(json.dumps(value), type=Script)
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        raise Refusal("invalid", f"The script in the conversation cannot be read: {error}", param="messages") from error
    if not script.turns:
        raise Refusal("invalid", "The script in the conversation has no turns.", param="messages")
    return script
