"""What Anthropic's clients are answered: events to whole messages, and models and errors in its shape.

After https://docs.anthropic.com/en/api/messages, /models-list and /errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import msgspec

from ...runtime.errors import InvalidRequest
from ...runtime.events import Admitted, CallBegun, CallDelta, Event, Finished, ReasoningDelta, TextDelta
from ...runtime.models.model import ModelStatus
from ..errors import Failure
from .arguments import to_object

VERSION_HEADER = "anthropic-version"
"""Its clients send it with every request, also to routes that other dialects share."""
SIGNATURE = "aW1wZXR1cw=="
"""Stands where Anthropic proves that it wrote a thought; clients send it back, and want one."""
_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}

StopReason = Literal["end_turn", "max_tokens", "tool_use", "stop_sequence"]


class OutputTokensDetails(msgspec.Struct, frozen=True):
    """What the answer's tokens were."""

    thinking_tokens: int


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Token counts; the three of the input add up to the prompt."""

    input_tokens: int
    """Those that were computed."""
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    """Those that were computed earlier."""
    output_tokens: int
    output_tokens_details: OutputTokensDetails | None = None


class TextContent(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """Text of an answer."""

    text: str


class ThinkingContent(msgspec.Struct, frozen=True, tag_field="type", tag="thinking"):
    """What the model thought before."""

    thinking: str
    signature: str


class ToolUseContent(msgspec.Struct, frozen=True, tag_field="type", tag="tool_use"):
    """A call of a tool."""

    id: str
    name: str
    input: msgspec.Raw
    """A JSON object."""


ContentBlock = TextContent | ThinkingContent | ToolUseContent


class MessageAnswer(msgspec.Struct, frozen=True, tag_field="type", tag="message"):
    """A whole answer of `/v1/messages`, and in a stream the empty one that it begins with."""

    id: str
    role: Literal["assistant"]
    model: str
    """The id that serves the request."""
    content: list[ContentBlock]
    stop_reason: StopReason | None
    stop_sequence: str | None
    usage: Usage


class CountAnswer(msgspec.Struct, frozen=True):
    """The answer of `/v1/messages/count_tokens`."""

    input_tokens: int


class ModelEntry(msgspec.Struct, frozen=True, tag_field="type", tag="model"):
    """One model."""

    id: str
    display_name: str
    created_at: str
    """RFC 3339."""
    lifecycle: Literal["active"]
    max_input_tokens: int | None
    """What is served, else what the model was made for."""


class ModelPage(msgspec.Struct, frozen=True):
    """The answer of `/v1/models`."""

    data: list[ModelEntry]
    has_more: bool
    first_id: str | None
    last_id: str | None


class ErrorBody(msgspec.Struct, frozen=True):
    """What went wrong."""

    type: str
    message: str


class ErrorAnswer(msgspec.Struct, frozen=True, tag_field="type", tag="error"):
    """What is answered in place of anything else when something went wrong, also within a stream."""

    error: ErrorBody
    request_id: str | None


@dataclass(slots=True)
class _Growing:
    """A block of an answer as it grows."""

    kind: Literal["thinking", "text", "tool_use"]
    id: str = ""
    name: str = ""
    texts: list[str] = field(default_factory=list[str])


class Collected:
    """Gathers an answer's events for a whole message."""

    def __init__(self, message_id: str) -> None:
        self._id = message_id
        self._model = ""
        self._blocks: list[_Growing] = []
        self._finished = Finished(0, "stop", 0, 0)

    def add(self, batch: Iterable[Event]) -> None:
        """Takes in what arrived."""
        for event in batch:
            match event:
                case TextDelta():
                    self._say("text", event.text)
                case ReasoningDelta():
                    self._say("thinking", event.text)
                case CallBegun():
                    self._blocks.append(_Growing("tool_use", event.id, event.name))
                case CallDelta():
                    self._say("tool_use", event.text)
                case Admitted():
                    self._model = event.model
                case Finished():
                    self._finished = event

    def whole(self) -> MessageAnswer:
        """Gives the message, after the last event."""
        return MessageAnswer(
            self._id,
            "assistant",
            self._model,
            [_to_content(block) for block in self._blocks],
            to_stop_reason(self._finished),
            self._finished.stop_text,
            to_usage(self._finished),
        )

    def _say(self, kind: Literal["thinking", "text", "tool_use"], text: str) -> None:
        if not text:
            return
        if not self._blocks or self._blocks[-1].kind != kind:
            self._blocks.append(_Growing(kind))
        self._blocks[-1].texts.append(text)


def _to_content(block: _Growing) -> ContentBlock:
    text = "".join(block.texts)
    match block.kind:
        case "text":
            return TextContent(text)
        case "thinking":
            return ThinkingContent(text, SIGNATURE)
        case "tool_use":
            return ToolUseContent(block.id, block.name, to_object(text))


def to_stop_reason(event: Finished) -> StopReason:
    """Says why an answer ended."""
    if event.reason == "stop":
        return "end_turn" if event.stop_text is None else "stop_sequence"
    return "max_tokens" if event.reason == "length" else "tool_use"


def to_usage(event: Finished) -> Usage:
    """Gives the counts as they are answered."""
    return Usage(
        event.prompt_tokens - event.cached_tokens,
        0,
        event.cached_tokens,
        event.completion_tokens,
        OutputTokensDetails(event.reasoning_tokens) if event.reasoning_tokens else None,
    )


def to_error(failure: Failure) -> ErrorAnswer:
    """Puts a failure into Anthropic's error object."""
    message = failure.message
    if failure.overflow is not None:
        # Claude Code compacts and tries again when it meets exactly this wording.
        message = f"prompt is too long: {failure.overflow[0]} tokens > {failure.overflow[1]} maximum"
    kind = _ERROR_TYPES.get(failure.status) or ("api_error" if failure.status >= 500 else "invalid_request_error")
    return ErrorAnswer(ErrorBody(kind, message), failure.request_id)


def to_model_entry(status: ModelStatus, *, created_epoch_s: float, alias: str | None = None) -> ModelEntry:
    """Shows a model as the list has it, or an alias of it."""
    id_ = status.model.id if alias is None else alias
    created = datetime.fromtimestamp(int(created_epoch_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return ModelEntry(id_, id_, created, "active", status.served_context_length)


def to_model_page(entries: Sequence[ModelEntry], *, limit: str | None, after: str | None, before: str | None) -> ModelPage:
    """Gives the page of the list that is asked for; without a limit all of it.

    Raises:
        InvalidRequest: the limit is no number from 1 to 1000, or no model has the id that the page goes on from.
    """
    shown = list(entries)
    if after is not None:
        shown = shown[_find(entries, after, "after_id") + 1 :]
    elif before is not None:
        shown = shown[: _find(entries, before, "before_id")]
    size = len(shown) if limit is None else _read_limit(limit)
    backwards = after is None and before is not None
    page = (shown[-size:] if backwards else shown[:size]) if shown else []
    return ModelPage(page, len(page) < len(shown), page[0].id if page else None, page[-1].id if page else None)


def _find(entries: Sequence[ModelEntry], id_: str, param: str) -> int:
    for at, entry in enumerate(entries):
        if entry.id == id_:
            return at
    raise InvalidRequest(f"'{param}': the model '{id_}' is not in the list.", param=param, code="invalid_value")


def _read_limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 1000):
        raise InvalidRequest("'limit' must be a number from 1 to 1000.", param="limit", code="invalid_value")
    return int(text)
