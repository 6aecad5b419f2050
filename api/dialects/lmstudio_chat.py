"""LM Studio's stateful chat, `POST /api/v1/chat`, both ways.

After https://lmstudio.ai/docs/developer/rest/chat; `lmstudio_events.py` has the stream. A client brings no tools of its own,
and there are no integrations here; a call that a model makes all the same is told as an invalid one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ...runtime.errors import InvalidRequest
from ...runtime.events import Admitted, CallBegun, CallDelta, Event, Finished, ReasoningDelta, TextDelta
from ...runtime.request import ChatPrompt, GenerateRequest, Message, Part, Sampling, TextPart, Thinking
from .lmstudio_facts import Reckoning
from .pictures import to_picture_of_url

_INT32_MAX = 2**31 - 1

Share = Annotated[float, Meta(ge=0, le=1)]
Effort = Literal["off", "low", "medium", "high", "on"]


class MessageInput(msgspec.Struct, frozen=True, tag_field="type", tag="message"):
    """Text of the user's turn."""

    content: str


class TextInput(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """The same by its other name."""

    content: str


class ImageInput(msgspec.Struct, frozen=True, tag_field="type", tag="image"):
    """A picture of the user's turn."""

    data_url: str


class ChatBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /api/v1/chat`."""

    model: Annotated[str, Meta(min_length=1, max_length=1024)]
    input: str | Annotated[list[MessageInput | TextInput | ImageInput], Meta(min_length=1)]
    system_prompt: str | None = None
    integrations: list[msgspec.Raw] | None = None
    stream: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Meta(ge=-1, le=_INT32_MAX)] | None = None
    min_p: Share | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=100)] | None = None
    max_output_tokens: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    reasoning: Effort | None = None
    context_length: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    """The client's own bound on prompt and answer together; the model is held as it is."""
    store: bool | None = None
    """Not given, it is true."""
    previous_response_id: str | None = None


CHAT = msgspec.json.Decoder(ChatBody)


class TextItem(msgspec.Struct, frozen=True, tag_field="type", tag="message"):
    """A stretch of text."""

    content: str


class ThoughtItem(msgspec.Struct, frozen=True, tag_field="type", tag="reasoning"):
    """A stretch of thoughts."""

    content: str


class CallFault(msgspec.Struct, frozen=True):
    """Which call could not be made."""

    tool_name: str
    type: Literal["invalid_name"] = "invalid_name"


class CallItem(msgspec.Struct, frozen=True, tag_field="type", tag="invalid_tool_call"):
    """A call of a tool that nobody offered."""

    reason: str
    metadata: CallFault


class Stats(msgspec.Struct, frozen=True, omit_defaults=True):
    """Token counts and times."""

    input_tokens: int
    total_output_tokens: int
    reasoning_output_tokens: int
    tokens_per_second: float | None
    time_to_first_token_seconds: float
    model_load_time_seconds: float | None = None
    """Only where the model had to be loaded for this."""


class ChatAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A whole answer."""

    model_instance_id: str
    output: list[TextItem | ThoughtItem | CallItem]
    stats: Stats
    response_id: str | None = None
    """Only where the conversation is kept."""


def to_request(body: ChatBody, earlier: tuple[Message, ...]) -> GenerateRequest:
    """Translates a body; raises InvalidRequest.

    Args:
        body: what the client sends.
        earlier: the conversation that it goes on with; () begins a new one.
    """
    if body.integrations:
        raise InvalidRequest(
            "'integrations' are not supported by this server; tools of your own go with /v1/chat/completions.",
            param="integrations",
            code="unsupported_parameter",
        )
    messages = earlier
    if body.system_prompt is not None:
        messages = tuple(message for message in earlier if message.role != "system")
        messages = (Message("system", (TextPart(body.system_prompt),)), *messages)
    user = Message("user", _parts(body.input))
    return GenerateRequest(
        model=body.model,
        prompt=ChatPrompt((*messages, user), thinking=_thinking(body.reasoning)),
        sampling=_sampling(body),
        max_tokens=None if body.max_output_tokens is None else min(body.max_output_tokens, _INT32_MAX),
        context_limit=None if body.context_length is None else min(body.context_length, _INT32_MAX),
    )


class Reply:
    """Gathers an answer, item by item."""

    def __init__(self, *, response_id: str | None, was_loaded: bool) -> None:
        self.response_id = response_id
        self.reckoning = Reckoning()
        self.model = ""
        self.load_s: float | None = None
        self._was_loaded = was_loaded
        self._items: list[TextItem | ThoughtItem | CallItem] = []
        self._kind: Literal["message", "reasoning"] = "message"
        self._texts: list[str] = []

    def add(self, batch: Iterable[Event]) -> None:
        """Takes in what arrived."""
        events = tuple(batch)
        self.reckoning.add(events)
        for event in events:
            match event:
                case Admitted():
                    self.model = event.model
                case TextDelta():
                    self._write("message", event.text)
                case ReasoningDelta():
                    self._write("reasoning", event.text)
                case CallBegun():
                    self._close()
                    self._items.append(CallItem(no_tool(event.name), CallFault(event.name)))
                case Finished():
                    self._close()
                case CallDelta():
                    pass

    def note_load(self, load_s: float | None) -> None:
        """Notes how long the model took to load, where this answer waited for that."""
        self.load_s = None if self._was_loaded else load_s

    def answer(self, name: str) -> ChatAnswer:
        """Gives what there is of the answer, under the name that the model was asked for by."""
        self._close()
        reckoning = self.reckoning
        stats = Stats(
            reckoning.prompt_tokens,
            reckoning.completion_tokens,
            reckoning.reasoning_tokens,
            reckoning.tokens_per_s,
            reckoning.prefill_s,
            self.load_s,
        )
        return ChatAnswer(self.model or name, self._items, stats, self.response_id)

    def message(self) -> Message:
        """The answer as a turn of the conversation."""
        said = "".join(item.content for item in self._items if isinstance(item, TextItem))
        thought = "".join(item.content for item in self._items if isinstance(item, ThoughtItem))
        return Message("assistant", (TextPart(said),), reasoning=thought)

    def _write(self, kind: Literal["message", "reasoning"], text: str) -> None:
        if kind != self._kind:
            self._close()
            self._kind = kind
        self._texts.append(text)

    def _close(self) -> None:
        if self._texts:
            self._items.append((TextItem if self._kind == "message" else ThoughtItem)("".join(self._texts)))
            self._texts = []


def _parts(given: str | list[MessageInput | TextInput | ImageInput]) -> tuple[Part, ...]:
    if isinstance(given, str):
        return (TextPart(given),)
    return tuple(
        to_picture_of_url(item.data_url, f"input[{at}].data_url") if isinstance(item, ImageInput) else TextPart(item.content)
        for at, item in enumerate(given)
    )


def _thinking(effort: Effort | None) -> Thinking:
    if effort is None:
        return Thinking()
    return Thinking(enabled=effort != "off", effort=None if effort in ("off", "on") else effort)


def _sampling(body: ChatBody) -> Sampling:
    given = {
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_k": None if body.top_k is None else max(0, body.top_k),
        "min_p": body.min_p,
        "repeat_penalty": body.repeat_penalty,
    }
    return msgspec.structs.replace(Sampling(), **{name: value for name, value in given.items() if value is not None})


def no_tool(name: str) -> str:
    """Says why a call could not be made."""
    return f"Cannot find tool with name {name}."
