"""What Ollama's clients send to `/api/chat` and `/api/generate`, to the runtime's request.

Fields after https://github.com/ollama/ollama/blob/main/docs/api.md. Fields that are not known here are ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ...runtime.errors import InvalidRequest
from ...runtime.request import (
    ChatPrompt,
    FillPrompt,
    GenerateRequest,
    Message,
    Part,
    Prompt,
    Role,
    TextPart,
    TextPrompt,
    Tool,
    ToolCall,
    ToolMode,
)
from .ollama_options import NULL, Model, Options, merge, to_constraint, to_keep_alive, to_sampling, to_thinking
from .pictures import to_picture, to_picture_of_url

WireRole = Literal["system", "developer", "user", "assistant", "tool"]
_ROLES: dict[WireRole, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_ANY_PICTURE = "image/*"
"""No client says which kind its picture is; its first bytes do."""


class FunctionCallBody(msgspec.Struct, frozen=True):
    """The function of an earlier call."""

    name: str
    arguments: msgspec.Raw = NULL
    """An object; some clients send it as JSON text."""


class ToolCallBody(msgspec.Struct, frozen=True):
    """A call the assistant made."""

    function: FunctionCallBody
    id: str | None = None


class MessageBody(msgspec.Struct, frozen=True):
    """One turn as it is sent."""

    role: WireRole
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    """Base64, or `data:` URLs."""
    tool_calls: list[ToolCallBody] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class FunctionBody(msgspec.Struct, frozen=True):
    """A function that may be called."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    description: str | None = None
    parameters: msgspec.Raw = NULL


class ToolBody(msgspec.Struct, frozen=True):
    """A tool; those that are no functions are left out."""

    function: FunctionBody | None = None


class GenerationBody(msgspec.Struct, frozen=True, kw_only=True):
    """What both endpoints share."""

    model: Model
    stream: bool | None = None
    """Not given, it is true."""
    options: Options | None = None
    format: msgspec.Raw = NULL
    think: bool | str | None = None
    keep_alive: float | str | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None

    @property
    def streams(self) -> bool:
        """Whether the answer comes in lines."""
        return self.stream is not False


class ChatBody(GenerationBody, frozen=True, kw_only=True):
    """The body of `POST /api/chat`."""

    messages: list[MessageBody] | None = None
    """None, or none in it: the model is only loaded, or let go."""
    tools: list[ToolBody] | None = None
    tool_choice: msgspec.Raw = NULL
    """Not Ollama's, but sent by some clients; the words "none" and "required" are kept to, all else is `auto`."""


class GenerateBody(GenerationBody, frozen=True, kw_only=True):
    """The body of `POST /api/generate`."""

    prompt: str | None = None
    """Empty: the model is only loaded, or let go."""
    suffix: str | None = None
    system: str | None = None
    raw: bool | None = None
    images: list[str] | None = None


CHAT = msgspec.json.Decoder(ChatBody)
GENERATE = msgspec.json.Decoder(GenerateBody)


class Preset(msgspec.Struct, frozen=True):
    """What a model that a client made brings along, for what a request does not say."""

    system: str = ""
    options: Options = Options()


def to_chat_request(body: ChatBody, preset: Preset) -> GenerateRequest:
    """Translates a chat body with messages; raises InvalidRequest for what the types alone cannot tell."""
    messages = to_messages(body.messages or ())
    if preset.system and not any(message.role == "system" for message in messages):
        messages = (_said("system", preset.system), *messages)
    tools = _to_tools(body.tools or ())
    last = messages[-1]
    prompt = ChatPrompt(
        messages,
        tools=tools,
        tool_mode=_to_tool_mode(body.tool_choice) if tools else "auto",
        thinking=to_thinking(body.think),
        continues=last.role == "assistant" and not last.tool_calls,
    )
    return _request(body, prompt, preset)


def to_generate_request(body: GenerateBody, preset: Preset) -> GenerateRequest:
    """Translates a generate body with a prompt; raises InvalidRequest for what the types alone cannot tell."""
    text = body.prompt or ""
    if body.suffix:
        prompt: Prompt = FillPrompt(text, body.suffix)
    elif body.raw:
        prompt = TextPrompt(text)
    else:
        system = preset.system if body.system is None else body.system
        user = Message("user", (TextPart(text), *_to_pictures(body.images or (), "images")))
        messages = (_said("system", system), user) if system else (user,)
        prompt = ChatPrompt(messages, thinking=to_thinking(body.think))
    if body.images and not isinstance(prompt, ChatPrompt):
        raise InvalidRequest("'images' do not go with 'raw' or 'suffix'.", param="images", code="invalid_value")
    return _request(body, prompt, preset)


def to_messages(bodies: Sequence[MessageBody]) -> tuple[Message, ...]:
    """Translates the turns of a conversation; raises InvalidRequest.

    Calls and their results need no ids here: those without one are numbered, and a result belongs to the first open call of
    its tool, else to the first open one.
    """
    messages: list[Message] = []
    open_calls: list[ToolCall] = []
    numbered = 0
    for at, body in enumerate(bodies):
        parts: tuple[Part, ...] = (TextPart(body.content),) if body.content is not None else ()
        parts += _to_pictures(body.images or (), f"messages[{at}].images")
        calls: list[ToolCall] = []
        for call in body.tool_calls or ():
            arguments = _to_arguments(call.function.arguments, f"messages[{at}].tool_calls")
            calls.append(ToolCall(call.id or f"call_{numbered}", call.function.name, arguments))
            numbered += 1
        open_calls += calls
        call_id = _answered(body, open_calls) if body.role == "tool" else None
        messages.append(Message(_ROLES[body.role], parts, body.tool_name, tuple(calls), call_id, body.thinking or ""))
    return tuple(messages)


def _answered(body: MessageBody, open_calls: list[ToolCall]) -> str | None:
    """Finds the call that a result belongs to, and closes it."""
    if body.tool_call_id:
        open_calls[:] = [call for call in open_calls if call.id != body.tool_call_id]
        return body.tool_call_id
    named = next((call for call in open_calls if call.name == body.tool_name), None)
    call = named or (open_calls[0] if open_calls else None)
    if call is None:
        return None
    open_calls.remove(call)
    return call.id


def _to_arguments(written: msgspec.Raw, place: str) -> str:
    text = bytes(written).strip()
    if text.startswith(b'"'):
        return msgspec.json.decode(text, type=str)
    if text == b"null":
        return "{}"
    if not text.startswith(b"{"):
        raise InvalidRequest(f"'{place}': the arguments of a call are an object.", param=place, code="invalid_type")
    return text.decode()


def _to_tools(bodies: Sequence[ToolBody]) -> tuple[Tool, ...]:
    return tuple(
        Tool(body.function.name, body.function.description or "", _to_parameters(body.function.parameters, f"tools[{at}]"))
        for at, body in enumerate(bodies)
        if body.function is not None
    )


def _to_parameters(written: msgspec.Raw, place: str) -> str:
    text = bytes(written).strip()
    if text in (b"null", b"{}"):
        return '{"type":"object","properties":{}}'
    if not text.startswith(b"{"):
        param = f"{place}.function.parameters"
        raise InvalidRequest(f"'{param}': a JSON Schema is an object.", param=param, code="invalid_type")
    return text.decode()


def _to_tool_mode(choice: msgspec.Raw) -> ToolMode:
    match bytes(choice).strip():
        case b'"none"':
            return "none"
        case b'"required"':
            return "required"
        case _:
            return "auto"


def _to_pictures(images: Sequence[str], place: str) -> tuple[Part, ...]:
    return tuple(
        to_picture_of_url(image, f"{place}[{at}]")
        if image.startswith("data:")
        else to_picture(image, _ANY_PICTURE, f"{place}[{at}]")
        for at, image in enumerate(images)
    )


def _said(role: Role, text: str) -> Message:
    return Message(role, (TextPart(text),))


def _request(body: GenerationBody, prompt: Prompt, preset: Preset) -> GenerateRequest:
    options = merge(body.options, preset.options)
    return GenerateRequest(
        model=body.model,
        prompt=prompt,
        sampling=to_sampling(options),
        max_tokens=options.max_tokens,
        stop=options.stops,
        top_logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        constraint=to_constraint(body.format),
        keep_alive_s=to_keep_alive(body.keep_alive),
        echo_tps=options.echo_tps,
    )
