"""Ollama's own chat, as its clients speak it."""

from __future__ import annotations

import re

import msgspec

from .conversation import Ask, Call, Heard, JsonObject, Turn
from .events import read_events

_TOO_LONG = re.compile(r"context (?:length|window|limit|size)|too long|too many tokens", re.IGNORECASE)


class _Function(msgspec.Struct, frozen=True):
    name: str = ""
    arguments: dict[str, object] = {}


class _Call(msgspec.Struct, frozen=True):
    function: _Function = _Function()
    id: str = ""


class _Message(msgspec.Struct, frozen=True):
    content: str = ""
    tool_calls: list[_Call] | None = None


class _Line(msgspec.Struct, frozen=True):
    message: _Message = _Message()
    done: bool = False
    error: str | None = None


class _Refusal(msgspec.Struct, frozen=True):
    error: str


_LINE = msgspec.json.Decoder(_Line)


class OllamaSpeaker:
    """Writes and reads `/api/chat`."""

    def to_body(self, ask: Ask, model: str) -> JsonObject:
        """Gives the body of a request that streams; a call is required by `tool_choice`, which Cline sends here too."""
        messages: list[JsonObject] = [{"role": "system", "content": ask.system}]
        messages += [_to_message(turn) for turn in ask.turns]
        options: JsonObject = {"num_predict": ask.max_tokens}
        body: JsonObject = {"model": model, "messages": messages, "stream": True, "options": options}
        if ask.tools:
            body["tools"] = [
                {
                    "type": "function",
                    "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
                }
                for tool in ask.tools
            ]
            body["tool_choice"] = "required" if ask.required else "auto"
        if ask.tps is not None:
            options["echo_tps"] = body["echo_tps"] = ask.tps
        return body

    def hear(self, data: bytes) -> Heard:
        """Reads a whole streamed answer; arguments must be objects, or they are none."""
        text, ended, error = "", False, None
        calls: list[Call] = []
        for line in read_events(data, _LINE):
            text += line.message.content
            ended, error = ended or line.done, line.error or error
            for call in line.message.tool_calls or ():
                arguments = msgspec.json.encode(call.function.arguments).decode()
                calls.append(Call(call.id or f"call_{len(calls)}", call.function.name, arguments))
        return Heard(text, tuple(calls), ended, error)

    def misses_overflow(self, status: int, body: bytes) -> str | None:
        """Wants a 400 with Ollama's error object and words that its clients look for."""
        if status != 400:
            return f"the status is {status}, not 400"
        try:
            error = msgspec.json.decode(body, type=_Refusal).error
        except msgspec.DecodeError:
            return "the answer is no Ollama error"
        return None if _TOO_LONG.search(error) else f"no client knows these words: {error}"


def _to_message(turn: Turn) -> JsonObject:
    if turn.answers is not None:
        call = turn.answers
        return {"role": "tool", "tool_name": call.name, "tool_call_id": call.id, "content": turn.text}
    message: JsonObject = {"role": turn.role, "content": turn.text}
    if turn.calls:
        message["tool_calls"] = [
            {"id": call.id, "function": {"name": call.name, "arguments": msgspec.Raw(call.arguments.encode())}}
            for call in turn.calls
        ]
    return message
