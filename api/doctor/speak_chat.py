"""OpenAI's chat completions, which LM Studio speaks too."""

from __future__ import annotations

import msgspec

from .conversation import Ask, Heard, JsonObject, Tool, Turn
from .conversation import Call as HeardCall
from .events import DONE, read_events


class _Function(msgspec.Struct, frozen=True):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, frozen=True):
    index: int = 0
    id: str | None = None
    function: _Function = _Function()


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct, frozen=True):
    delta: _Delta = _Delta()
    finish_reason: str | None = None


class _Error(msgspec.Struct, frozen=True):
    message: str
    code: str | None = None


class _Chunk(msgspec.Struct, frozen=True):
    choices: list[_Choice] = []
    error: _Error | None = None


class _Refusal(msgspec.Struct, frozen=True):
    error: _Error


_CHUNK = msgspec.json.Decoder(_Chunk)


class ChatSpeaker:
    """Writes and reads `/v1/chat/completions`."""

    def __init__(self, *, parts: bool = False) -> None:
        """Takes whether texts of users are lists of parts."""
        self._parts = parts

    def to_body(self, ask: Ask, model: str) -> JsonObject:
        """Gives the body of a request that streams."""
        messages: list[JsonObject] = [{"role": "system", "content": ask.system}]
        messages += [self._to_message(turn) for turn in ask.turns]
        body: JsonObject = {"model": model, "messages": messages, "stream": True, "max_tokens": ask.max_tokens}
        body["stream_options"] = {"include_usage": True}
        if ask.tools:
            body["tools"] = [_to_tool(tool) for tool in ask.tools]
            body["tool_choice"] = "required" if ask.required else "auto"
        if ask.tps is not None:
            body["echo_tps"] = ask.tps
        return body

    def hear(self, data: bytes) -> Heard:
        """Reads a whole streamed answer."""
        text, reason, error = "", None, None
        calls: dict[int, list[str]] = {}
        for chunk in read_events(data, _CHUNK):
            error = chunk.error.message if chunk.error is not None else error
            for choice in chunk.choices:
                reason = choice.finish_reason or reason
                text += choice.delta.content or ""
                for call in choice.delta.tool_calls or ():
                    parts = calls.setdefault(call.index, ["", "", ""])
                    parts[0] += call.id or ""
                    parts[1] += call.function.name or ""
                    parts[2] += call.function.arguments or ""
        ended = reason is not None and DONE in data
        return Heard(text, tuple(HeardCall(*parts) for _, parts in sorted(calls.items())), ended, error)

    def misses_overflow(self, status: int, body: bytes) -> str | None:
        """Wants what OpenAI answers: 400, its code, and its sentence with both numbers."""
        return misses_openai_overflow(status, body)

    def _to_message(self, turn: Turn) -> JsonObject:
        if turn.answers is not None:
            return {"role": "tool", "tool_call_id": turn.answers.id, "content": turn.text}
        if turn.calls:
            calls = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in turn.calls
            ]
            return {"role": "assistant", "content": turn.text or None, "tool_calls": calls}
        content: object = turn.text
        if self._parts and turn.role == "user":
            content = [{"type": "text", "text": turn.text}]
        return {"role": turn.role, "content": content}


def misses_openai_overflow(status: int, body: bytes) -> str | None:
    """Says what OpenAI's clients would not understand in a refusal of a prompt that is too long."""
    if status != 400:
        return f"the status is {status}, not 400"
    try:
        error = msgspec.json.decode(body, type=_Refusal).error
    except msgspec.DecodeError:
        return "the answer is no OpenAI error"
    if error.code != "context_length_exceeded":
        return f"the code is {error.code!r}, not 'context_length_exceeded'"
    if "maximum context length is" not in error.message:
        return f"no client knows these words: {error.message}"
    return None


def _to_tool(tool: Tool) -> JsonObject:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}
