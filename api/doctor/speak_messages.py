"""Anthropic's messages, as Claude Code speaks them."""

from __future__ import annotations

import re

import msgspec

from .conversation import Ask, Call, Heard, JsonObject, Turn
from .events import read_events

_TOO_LONG = re.compile(r"prompt is too long: \d+ tokens > \d+ maximum")


class _Block(msgspec.Struct, frozen=True):
    type: str = ""
    id: str = ""
    name: str = ""


class _Delta(msgspec.Struct, frozen=True):
    type: str = ""
    text: str = ""
    partial_json: str = ""


class _Error(msgspec.Struct, frozen=True):
    type: str = ""
    message: str = ""


class _Event(msgspec.Struct, frozen=True):
    type: str
    index: int = 0
    content_block: _Block = _Block()
    delta: _Delta = _Delta()
    error: _Error | None = None


class _Refusal(msgspec.Struct, frozen=True):
    error: _Error


_EVENT = msgspec.json.Decoder(_Event)


class MessagesSpeaker:
    """Writes and reads `/v1/messages`."""

    def to_body(self, ask: Ask, model: str) -> JsonObject:
        """Gives the body of a request that streams."""
        system = [{"type": "text", "text": ask.system, "cache_control": {"type": "ephemeral"}}]
        body: JsonObject = {"model": model, "system": system, "messages": _to_messages(ask.turns), "stream": True}
        body["max_tokens"] = ask.max_tokens
        if ask.tools:
            body["tools"] = [
                {"name": tool.name, "description": tool.description, "input_schema": tool.parameters} for tool in ask.tools
            ]
            body["tool_choice"] = {"type": "any" if ask.required else "auto"}
        if ask.tps is not None:
            body["echo_tps"] = ask.tps
        return body

    def hear(self, data: bytes) -> Heard:
        """Reads a whole streamed answer."""
        text, ended, error = "", False, None
        calls: dict[int, list[str]] = {}
        for event in read_events(data, _EVENT):
            match event.type:
                case "content_block_start" if event.content_block.type == "tool_use":
                    calls[event.index] = [event.content_block.id, event.content_block.name, ""]
                case "content_block_delta":
                    text += event.delta.text
                    if event.index in calls:
                        calls[event.index][2] += event.delta.partial_json
                case "message_stop":
                    ended = True
                case "error":
                    error = event.error.message if event.error is not None else "an error without words"
                case _:
                    pass
        heard = tuple(Call(id_, name, arguments or "{}") for id_, name, arguments in calls.values())
        return Heard(text, heard, ended, error)

    def misses_overflow(self, status: int, body: bytes) -> str | None:
        """Wants the sentence after which Claude Code compacts."""
        if status != 400:
            return f"the status is {status}, not 400"
        try:
            error = msgspec.json.decode(body, type=_Refusal).error
        except msgspec.DecodeError:
            return "the answer is no Anthropic error"
        if error.type != "invalid_request_error":
            return f"the type is {error.type!r}, not 'invalid_request_error'"
        return None if _TOO_LONG.search(error.message) else f"Claude Code does not know these words: {error.message}"


def _to_messages(turns: tuple[Turn, ...]) -> list[JsonObject]:
    """Gives the messages; results of neighbouring calls stand in one message, as they must."""
    messages: list[JsonObject] = []
    results: list[JsonObject] | None = None
    for turn in turns:
        if turn.answers is not None:
            if results is None:
                results = []
                messages.append({"role": "user", "content": results})
            results.append({"type": "tool_result", "tool_use_id": turn.answers.id, "content": turn.text})
            continue
        results = None
        blocks: list[JsonObject] = []
        if turn.text:
            blocks.append({"type": "text", "text": turn.text})
        for call in turn.calls:
            arguments = msgspec.Raw(call.arguments.encode())
            blocks.append({"type": "tool_use", "id": call.id, "name": call.name, "input": arguments})
        messages.append({"role": turn.role, "content": blocks})
    return messages
