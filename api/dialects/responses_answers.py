"""What clients of OpenAI's Responses API are answered: a response and the items of its output.

Fields after https://platform.openai.com/docs/api-reference/responses/object; `cache_write_tokens` is there for the newest SDKs,
which demand it.
"""

from __future__ import annotations

import secrets
from typing import Literal

import msgspec

from ...runtime.events import Finished
from ...runtime.request import Sampling
from .openai_answers import TokenLogprobBody
from .responses import ECHO, NULL, EchoBody, ResponsesBody

ItemStatus = Literal["in_progress", "completed", "incomplete"]
Status = Literal["in_progress", "completed", "incomplete", "failed", "cancelled"]

_EMPTY_OBJECT = msgspec.Raw(b"{}")
_EMPTY_LIST = msgspec.Raw(b"[]")


class SummaryText(msgspec.Struct, frozen=True):
    """A piece of reasoning that is shown."""

    text: str
    type: Literal["summary_text"] = "summary_text"


class OutputText(msgspec.Struct, frozen=True):
    """The text of a message."""

    text: str
    annotations: tuple[()] = ()
    logprobs: list[TokenLogprobBody] = []
    type: Literal["output_text"] = "output_text"


class ReasoningItem(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="reasoning"):
    """What the model thought."""

    id: str
    summary: list[SummaryText] = []
    encrypted_content: str | None = None
    """The same for a client that keeps nothing else; it is encoded, not secret."""
    status: ItemStatus = "in_progress"


class MessageItem(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="message"):
    """What the model said."""

    id: str
    content: list[OutputText] = []
    role: Literal["assistant"] = "assistant"
    status: ItemStatus = "in_progress"


class FunctionItem(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="function_call"):
    """A call of a function."""

    id: str
    call_id: str
    name: str
    namespace: str | msgspec.UnsetType = msgspec.UNSET
    arguments: str = ""
    status: ItemStatus = "in_progress"


class CustomItem(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="custom_tool_call"):
    """A call of a tool whose input is free text."""

    id: str
    call_id: str
    name: str
    namespace: str | msgspec.UnsetType = msgspec.UNSET
    input: str = ""
    status: ItemStatus = "in_progress"


Item = ReasoningItem | MessageItem | FunctionItem | CustomItem


class InputDetails(msgspec.Struct, frozen=True):
    """What became of the prompt's tokens."""

    cached_tokens: int
    cache_write_tokens: int = 0


class OutputDetails(msgspec.Struct, frozen=True):
    """What the answer's tokens were."""

    reasoning_tokens: int


class Usage(msgspec.Struct, frozen=True):
    """Token counts."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class Trouble(msgspec.Struct, frozen=True):
    """Why a response failed."""

    code: str
    message: str


class Incomplete(msgspec.Struct, frozen=True):
    """Why a response ends early."""

    reason: Literal["max_output_tokens"] = "max_output_tokens"


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """A response, at any time of its life."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    """Seconds since 1970."""
    completed_at: int | None = None
    status: Status = "in_progress"
    background: Literal[False] = False
    error: Trouble | None = None
    incomplete_details: Incomplete | None = None
    instructions: msgspec.Raw
    max_output_tokens: msgspec.Raw
    max_tool_calls: msgspec.Raw
    metadata: msgspec.Raw
    model: str
    output: list[Item] = []
    parallel_tool_calls: msgspec.Raw
    previous_response_id: msgspec.Raw
    prompt_cache_key: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    reasoning: msgspec.Raw
    safety_identifier: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    service_tier: Literal["default"] = "default"
    store: bool
    temperature: float
    text: msgspec.Raw
    tool_choice: msgspec.Raw
    tools: msgspec.Raw
    top_logprobs: msgspec.Raw
    top_p: float
    truncation: msgspec.Raw
    usage: Usage | msgspec.UnsetType = msgspec.UNSET
    """Not there before the end. OpenAI's description has no null here, nor in the other fields that may be unset."""
    user: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Deleted(msgspec.Struct, frozen=True):
    """The answer to a deletion."""

    id: str
    object: Literal["response"] = "response"
    deleted: bool = True


class InputTokens(msgspec.Struct, frozen=True):
    """How many tokens a prompt has."""

    input_tokens: int
    object: Literal["response.input_tokens"] = "response.input_tokens"


def new_id(kind: str) -> str:
    """Gives an id nobody has."""
    return f"{kind}_{secrets.token_hex(24)}"


def to_opening(body: ResponsesBody, written: bytes, sampling: Sampling, *, stored: bool, now_epoch_s: float) -> Response:
    """Makes the response to a request, before anything of the answer is there.

    Args:
        body: the request's.
        written: the same as it came, of which much is repeated.
        sampling: what holds, whether it was asked for or not.
        stored: whether it will be found by its id.
        now_epoch_s: the wall clock.
    """
    echo = ECHO.decode(written)
    return Response(
        id=new_id("resp"),
        created_at=int(now_epoch_s),
        instructions=echo.instructions,
        max_output_tokens=echo.max_output_tokens,
        max_tool_calls=echo.max_tool_calls,
        metadata=_given(echo.metadata, _EMPTY_OBJECT),
        model=body.model,
        parallel_tool_calls=_given(echo.parallel_tool_calls, msgspec.Raw(b"true")),
        previous_response_id=echo.previous_response_id,
        prompt_cache_key=_unless_null(echo.prompt_cache_key),
        reasoning=_given(echo.reasoning, msgspec.Raw(b'{"effort":null,"summary":null}')),
        safety_identifier=_unless_null(echo.safety_identifier),
        store=stored,
        temperature=sampling.temperature,
        text=_text(body, echo),
        tool_choice=_given(echo.tool_choice, msgspec.Raw(b'"auto"')),
        tools=_given(echo.tools, _EMPTY_LIST),
        top_logprobs=_given(echo.top_logprobs, msgspec.Raw(b"0")),
        top_p=sampling.top_p,
        truncation=_given(echo.truncation, msgspec.Raw(b'"disabled"')),
        user=_unless_null(echo.user),
    )


def to_usage(event: Finished) -> Usage:
    """Gives the counts of an answer."""
    return Usage(
        event.prompt_tokens,
        InputDetails(event.cached_tokens),
        event.completion_tokens,
        OutputDetails(event.reasoning_tokens),
        event.prompt_tokens + event.completion_tokens,
    )


def _given(raw: msgspec.Raw, default: msgspec.Raw) -> msgspec.Raw:
    return default if bytes(raw) == bytes(NULL) else raw


def _unless_null(raw: msgspec.Raw) -> msgspec.Raw | msgspec.UnsetType:
    return msgspec.UNSET if bytes(raw) == bytes(NULL) else raw


def _text(body: ResponsesBody, echo: EchoBody) -> msgspec.Raw:
    """SDKs look for the format without asking whether it is there."""
    if body.text is None or body.text.format is None:
        return msgspec.Raw(b'{"format":{"type":"text"}}')
    return echo.text
