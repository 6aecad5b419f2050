"""What clients of OpenAI's Responses API send, to the runtime's request.

Fields after https://platform.openai.com/docs/api-reference/responses/create. Fields that are not known here are ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta

from ...runtime.errors import InvalidRequest
from ...runtime.request import ChatPrompt, Constraint, GenerateRequest, Message, TextPart, Thinking
from .lora import AdapterBodies, to_choices
from .openai_sampling import SamplingBody, to_sampling
from .responses_input import find_tools, to_messages
from .responses_tools import ChoiceBody, ToolBody, Toolbox, to_choice, to_toolbox

NULL = msgspec.Raw(b"null")
_INT32_MAX = 2**31 - 1

Count = Annotated[int, Meta(ge=1, le=2**53)]
Metadata = Annotated[dict[str, str], Meta(max_length=16)]


class FormatBody(msgspec.Struct, frozen=True):
    """What form the text of the answer must have."""

    type: str = "text"
    schema: msgspec.Raw = NULL


class TextBody(msgspec.Struct, frozen=True):
    """How the text of the answer is wanted."""

    format: FormatBody | None = None


class ReasoningBody(msgspec.Struct, frozen=True):
    """How much the model thinks before it answers."""

    effort: str | None = None


class PromptBody(SamplingBody, frozen=True, kw_only=True):
    """What the model reads: the fields that `/v1/responses` and `/v1/responses/input_tokens` share."""

    model: Annotated[str, Meta(min_length=1, max_length=1024)]
    input: str | list[msgspec.Raw] | None = None
    instructions: str | list[msgspec.Raw] | None = None
    previous_response_id: str | None = None
    tools: list[msgspec.Raw] | None = None
    tool_choice: str | ChoiceBody | None = None
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningBody | None = None
    conversation: msgspec.Raw = NULL
    prompt: msgspec.Raw = NULL

    @property
    def items(self) -> list[msgspec.Raw]:
        """The request's own input as items, as they were written."""
        if isinstance(self.input, str):
            return [msgspec.Raw(msgspec.json.encode({"role": "user", "content": self.input}))]
        return self.input or []


class ResponsesBody(PromptBody, frozen=True, kw_only=True):
    """The body of `POST /v1/responses`."""

    stream: bool | None = None
    store: bool | None = None
    """Not given, it is true."""
    include: list[str] | None = None
    max_output_tokens: Count | None = None
    text: TextBody | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    metadata: Metadata | None = None
    background: bool | None = None
    """Taken and not followed: every answer is made while its request is open."""
    cache_prompt: bool | None = None
    draft_tokens: Annotated[int, Meta(ge=0, le=64)] | None = None
    lora: AdapterBodies | None = None
    num_ctx: Count | None = None
    echo_tps: Annotated[float, Meta(ge=0, le=1e9)] | None = None

    @property
    def seals_reasoning(self) -> bool:
        """Whether the client wants reasoning in a form that it can hand back."""
        return "reasoning.encrypted_content" in (self.include or ())


class EchoBody(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a request that its answer repeats, as they were written."""

    instructions: msgspec.Raw = NULL
    max_output_tokens: msgspec.Raw = NULL
    max_tool_calls: msgspec.Raw = NULL
    metadata: msgspec.Raw = NULL
    parallel_tool_calls: msgspec.Raw = NULL
    previous_response_id: msgspec.Raw = NULL
    prompt_cache_key: msgspec.Raw = NULL
    reasoning: msgspec.Raw = NULL
    safety_identifier: msgspec.Raw = NULL
    text: msgspec.Raw = NULL
    tool_choice: msgspec.Raw = NULL
    tools: msgspec.Raw = NULL
    top_logprobs: msgspec.Raw = NULL
    truncation: msgspec.Raw = NULL
    user: msgspec.Raw = NULL


RESPONSES = msgspec.json.Decoder(ResponsesBody)
PROMPT = msgspec.json.Decoder(PromptBody)
ECHO = msgspec.json.Decoder(EchoBody)
_TOOL = msgspec.json.Decoder(ToolBody)


@dataclass(frozen=True, slots=True)
class Task:
    """A translated body."""

    request: GenerateRequest
    toolbox: Toolbox
    must_act: bool
    """Whether an answer without text and without a call would be a failure: tools were offered."""


def to_prompt(body: PromptBody, earlier: Sequence[msgspec.Raw], items: Sequence[msgspec.Raw]) -> tuple[ChatPrompt, Toolbox]:
    """Translates what the model reads.

    Args:
        body: the request's.
        earlier: the items of the responses that this one follows, oldest first.
        items: the request's own, with what they refer to in its place.

    Raises:
        InvalidRequest: something is wrong, or cannot be kept.
    """
    for name in ("conversation", "prompt"):
        if bytes(getattr(body, name)) != b"null":
            raise InvalidRequest(
                f"'{name}' is not supported by this server, which keeps responses only; use 'previous_response_id'.",
                param=name,
                code="unsupported_parameter",
            )
    everything = [*earlier, *items]
    messages = (*_instructions(body.instructions), *to_messages(everything, first=len(earlier)))
    if not messages:
        raise InvalidRequest(
            "There is nothing to answer: 'input' is missing.", param="input", code="missing_required_parameter"
        )
    toolbox = to_toolbox([*_tools(body.tools or ()), *find_tools(everything)])
    choice = to_choice(body.tool_choice, toolbox)
    prompt = ChatPrompt(
        messages,
        tuple(toolbox.tools),
        choice.mode,
        choice.names,
        parallel_calls=body.parallel_tool_calls is not False,
        thinking=_thinking(body.reasoning),
    )
    return prompt, toolbox


def to_task(body: ResponsesBody, earlier: Sequence[msgspec.Raw], items: Sequence[msgspec.Raw]) -> Task:
    """Translates a body, with the arguments of `to_prompt`; raises InvalidRequest."""
    prompt, toolbox = to_prompt(body, earlier, items)
    wants_logprobs = body.top_logprobs is not None or "message.output_text.logprobs" in (body.include or ())
    request = GenerateRequest(
        model=body.model,
        prompt=prompt,
        sampling=to_sampling(body),
        max_tokens=None if body.max_output_tokens is None else min(body.max_output_tokens, _INT32_MAX),
        top_logprobs=(body.top_logprobs or 0) if wants_logprobs else None,
        constraint=_constraint(body.text),
        context_limit=None if body.num_ctx is None else min(body.num_ctx, _INT32_MAX),
        draft_tokens=body.draft_tokens,
        cache_prompt=body.cache_prompt is not False,
        lora=to_choices(body.lora),
        echo_tps=body.echo_tps,
    )
    return Task(request, toolbox, must_act=bool(prompt.tools) and prompt.tool_mode != "none")


def _instructions(instructions: str | list[msgspec.Raw] | None) -> tuple[Message, ...]:
    if isinstance(instructions, str):
        return (Message("system", (TextPart(instructions),)),) if instructions else ()
    return to_messages(instructions or ())


def _tools(raws: Sequence[msgspec.Raw]) -> list[ToolBody]:
    """Decodes each tool alone, so that one of a hosted type is never at fault for fields that have another form there."""
    bodies: list[ToolBody] = []
    for at, raw in enumerate(raws):
        try:
            bodies.append(_TOOL.decode(raw))
        except msgspec.ValidationError as error:
            if b'"function"' in bytes(raw):
                place = f"tools[{at}]"
                raise InvalidRequest(f"'{place}': {error}.", param=place, code="invalid_type") from error
    return bodies


def _thinking(body: ReasoningBody | None) -> Thinking:
    if body is None or body.effort is None:
        return Thinking()
    return Thinking(enabled=False) if body.effort == "none" else Thinking(enabled=True, effort=body.effort)


def _constraint(body: TextBody | None) -> Constraint | None:
    wanted = None if body is None else body.format
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return Constraint("json_object", param="text.format")
    if wanted.type != "json_schema":
        raise InvalidRequest(
            f"'text.format.type': '{wanted.type}' is not supported; supported are 'text', 'json_object' and 'json_schema'.",
            param="text.format.type",
            code="invalid_value",
        )
    schema = bytes(wanted.schema).strip()
    if not schema.startswith(b"{"):
        raise InvalidRequest(
            "'text.format.schema': a JSON Schema, which is an object, is needed.",
            param="text.format.schema",
            code="missing_required_parameter",
        )
    return Constraint("json_schema", schema.decode(), param="text.format")
