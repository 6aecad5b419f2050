"""OpenAI's responses, as Codex speaks them."""

from __future__ import annotations

import msgspec

from .conversation import Ask, Call, Heard, JsonObject, Turn
from .events import read_events
from .speak_chat import misses_openai_overflow


class _Item(msgspec.Struct, frozen=True):
    type: str = ""
    call_id: str = ""
    name: str = ""
    arguments: str = ""


class _Error(msgspec.Struct, frozen=True):
    message: str = ""


class _Response(msgspec.Struct, frozen=True):
    id: str = ""
    error: _Error | None = None


class _Event(msgspec.Struct, frozen=True):
    type: str
    delta: object = None
    item: _Item | None = None
    response: _Response | None = None


_EVENT = msgspec.json.Decoder(_Event)


class ResponsesSpeaker:
    """Writes and reads `/v1/responses`, without anything kept at the server."""

    def to_body(self, ask: Ask, model: str) -> JsonObject:
        """Gives the body of a request that streams."""
        items = [item for turn in ask.turns for item in _to_items(turn)]
        body: JsonObject = {"model": model, "instructions": ask.system, "input": items, "stream": True, "store": False}
        body["max_output_tokens"] = ask.max_tokens
        if ask.tools:
            body["tools"] = [
                {"type": "function", "name": tool.name, "description": tool.description, "parameters": tool.parameters}
                for tool in ask.tools
            ]
            body["tool_choice"] = "required" if ask.required else "auto"
        if ask.tps is not None:
            body["echo_tps"] = ask.tps
        return body

    def hear(self, data: bytes) -> Heard:
        """Reads a whole streamed answer; of a call the finished item counts, as Codex takes it."""
        text, ended, error = "", False, None
        calls: list[Call] = []
        for event in read_events(data, _EVENT):
            match event.type:
                case "response.output_text.delta":
                    text += event.delta if isinstance(event.delta, str) else ""
                case "response.output_item.done" if event.item is not None and event.item.type == "function_call":
                    calls.append(Call(event.item.call_id, event.item.name, event.item.arguments))
                case "response.completed" | "response.incomplete":
                    ended = event.response is not None and bool(event.response.id)
                case "response.failed" | "error":
                    failure = event.response.error if event.response is not None else None
                    error = failure.message if failure is not None else event.type
                case _:
                    pass
        return Heard(text, tuple(calls), ended, error)

    def misses_overflow(self, status: int, body: bytes) -> str | None:
        """Wants what OpenAI answers, as Codex compacts after it."""
        return misses_openai_overflow(status, body)


def _to_items(turn: Turn) -> list[JsonObject]:
    if turn.answers is not None:
        return [{"type": "function_call_output", "call_id": turn.answers.id, "output": turn.text}]
    items: list[JsonObject] = []
    if turn.text:
        kind = "output_text" if turn.role == "assistant" else "input_text"
        items.append({"type": "message", "role": turn.role, "content": [{"type": kind, "text": turn.text}]})
    return [*items, *map(_to_call, turn.calls)]


def _to_call(call: Call) -> JsonObject:
    return {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}
