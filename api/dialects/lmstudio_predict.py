"""An answer on a WebSocket of LM Studio's SDKs: from what they ask to the runtime's request, and from events to messages.

After https://github.com/lmstudio-ai/lmstudio-js, `llmBackendInterface.ts` and `ChatHistoryData.ts`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ...runtime.errors import InvalidRequest
from ...runtime.request import ChatPrompt, GenerateRequest, ImagePart, Message, Part, TextPart, TextPrompt, ToolCall
from .lmstudio_config import Settings, ToolBody
from .lmstudio_infos import KvStack, Specifier

_PICTURES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"BM": "image/bmp"}
"""How the files of pictures begin."""

FindFile = Callable[[str], bytes | None]
"""Gives a file that was sent before."""


class TextBody(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """Text in a message."""

    text: str


class FileBody(msgspec.Struct, frozen=True, tag_field="type", tag="file"):
    """A file in a message, which was sent before."""

    identifier: str
    name: str = ""


class CallRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call of a function; also what is sent when the model made one."""

    type: Literal["function"]
    name: str
    id: str | None = None
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


class CallBody(msgspec.Struct, frozen=True, tag_field="type", tag="toolCallRequest", rename="camel"):
    """A call that the assistant made."""

    tool_call_request: CallRequest


class ResultBody(msgspec.Struct, frozen=True, tag_field="type", tag="toolCallResult", rename="camel"):
    """What a tool said."""

    content: str
    tool_call_id: str | None = None
    name: str | None = None


class MessageBody(msgspec.Struct, frozen=True):
    """One turn."""

    role: Literal["system", "user", "assistant", "tool"]
    content: list[TextBody | FileBody | CallBody | ResultBody]


class History(msgspec.Struct, frozen=True):
    """A conversation."""

    messages: Annotated[list[MessageBody], Meta(min_length=1)]


class PredictBody(msgspec.Struct, frozen=True, rename="camel"):
    """What the channel `predict` is opened with."""

    model_specifier: Specifier
    history: History
    prediction_config_stack: KvStack = KvStack()
    fuzzy_preset_identifier: str | None = None


class CompleteBody(msgspec.Struct, frozen=True, rename="camel"):
    """What the channel `completeRawText` is opened with."""

    model_specifier: Specifier
    raw_prompt: str
    prediction_config_stack: KvStack = KvStack()


class TemplateOptions(msgspec.Struct, frozen=True, rename="camel"):
    """How a conversation is to be written."""

    tool_definitions: list[ToolBody] | None = None


class TemplateBody(msgspec.Struct, frozen=True):
    """The parameter of the call `applyPromptTemplate`."""

    specifier: Specifier
    history: History
    opts: TemplateOptions = TemplateOptions()


def to_request(body: PredictBody, settings: Settings, model: str, find_file: FindFile) -> GenerateRequest:
    """Translates a conversation; raises InvalidRequest."""
    if body.fuzzy_preset_identifier:
        raise InvalidRequest("There are no presets here.", param="preset", code="unsupported_parameter")
    if settings.has_template:
        why = "The model's own prompt template is used; others are not supported by this server."
        raise InvalidRequest(why, param="promptTemplate", code="unsupported_parameter")
    messages = to_messages(body.history, find_file)
    if settings.completes:
        return _request(settings, TextPrompt("".join(message.text for message in messages)), model)
    tools, mode = settings.tools()
    prompt = ChatPrompt(messages, tools=tools, tool_mode=mode, thinking=settings.thinking())
    return _request(settings, prompt, model)


def to_raw_request(body: CompleteBody, settings: Settings, model: str) -> GenerateRequest:
    """Translates plain text that is to be continued; raises InvalidRequest."""
    return _request(settings, TextPrompt(body.raw_prompt), model)


def to_messages(history: History, find_file: FindFile) -> tuple[Message, ...]:
    """Translates the turns of a conversation; raises InvalidRequest."""
    messages: list[Message] = []
    for at, body in enumerate(history.messages):
        results = [part for part in body.content if isinstance(part, ResultBody)]
        if body.role == "tool":
            messages += [Message("tool", (TextPart(it.content),), it.name, tool_call_id=it.tool_call_id) for it in results]
            continue
        calls = [part.tool_call_request for part in body.content if isinstance(part, CallBody)]
        messages.append(
            Message(
                body.role,
                tuple(_parts(body.content, f"history.messages[{at}]", find_file)),
                tool_calls=tuple(ToolCall(call.id or "", call.name, bytes(call.arguments).decode()) for call in calls),
            )
        )
    return tuple(messages)


def is_picture(data: bytes) -> bool:
    """Whether a file begins as that of a picture does."""
    return _media_type(data) is not None


def _request(settings: Settings, prompt: ChatPrompt | TextPrompt, model: str) -> GenerateRequest:
    return GenerateRequest(
        model=model,
        prompt=prompt,
        sampling=settings.sampling(),
        max_tokens=settings.max_tokens,
        stop=settings.stop,
        constraint=settings.constraint(),
        draft_tokens=settings.draft_tokens,
    )


def _parts(bodies: Iterable[TextBody | FileBody | CallBody | ResultBody], place: str, find_file: FindFile) -> Iterable[Part]:
    for body in bodies:
        if isinstance(body, TextBody):
            yield TextPart(body.text)
        elif isinstance(body, FileBody):
            data = find_file(body.identifier)
            media_type = None if data is None else _media_type(data)
            if data is None or media_type is None:
                why = "is not here, or no longer; send it again" if data is None else "is no picture; only these are taken"
                raise InvalidRequest(f"'{place}': the file '{body.name}' {why}.", param=place, code="invalid_value")
            yield ImagePart(data, media_type)


def _media_type(data: bytes) -> str | None:
    return next((media_type for beginning, media_type in _PICTURES.items() if data.startswith(beginning)), None)
