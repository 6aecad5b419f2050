"""What Anthropic's clients send: `/v1/messages` and `/v1/messages/count_tokens`, to the runtime's request.

Fields after https://docs.anthropic.com/en/api/messages. Fields that are not known here are ignored, among them `metadata`,
`service_tier`, `context_management` and every `cache_control`: whatever was computed is kept anyway.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ...runtime.errors import InvalidRequest
from ...runtime.questions import Count as CountTokens
from ...runtime.request import ChatPrompt, Constraint, GenerateRequest, Message, Sampling, Thinking, Tool, ToolMode
from .anthropic_blocks import Content, to_turn

_INT32_MAX = 2**31 - 1
_NULL = msgspec.Raw(b"null")
"""Stands for a field that is not given where its value is kept as it was written."""
_EFFORTS = {"xhigh": "high", "max": "high"}
"""Efforts beyond those that templates know."""

Count = Annotated[int, Meta(ge=0, le=2**53)]
Share = Annotated[float, Meta(ge=0, le=1)]


class MessageBody(msgspec.Struct, frozen=True):
    """One turn as it is sent."""

    role: Literal["system", "user", "assistant"]
    content: Content


class ToolBody(msgspec.Struct, frozen=True):
    """A tool; those with a type other than `custom` are run, or known by heart, at Anthropic's."""

    type: str | None = None
    name: str | None = None
    description: str | None = None
    input_schema: msgspec.Raw = _NULL


class ToolChoiceBody(msgspec.Struct, frozen=True):
    """Whether tools are called, and which."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class ThinkingBody(msgspec.Struct, frozen=True):
    """Whether the model thinks first."""

    type: str
    """`enabled`, `disabled`, or `adaptive`, which leaves it to the model."""
    budget_tokens: Count | None = None


class FormatBody(msgspec.Struct, frozen=True):
    """What form the answer must have."""

    type: str
    schema: msgspec.Raw = _NULL


class OutputConfigBody(msgspec.Struct, frozen=True):
    """How the answer is made."""

    effort: str | None = None
    format: FormatBody | None = None


class PromptBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /v1/messages/count_tokens`, and what it shares with the other."""

    model: Annotated[str, Meta(min_length=1, max_length=1024)]
    messages: Annotated[list[MessageBody], Meta(min_length=1)]
    system: Content | None = None
    tools: list[ToolBody] | None = None
    tool_choice: ToolChoiceBody | None = None
    thinking: ThinkingBody | None = None
    output_config: OutputConfigBody | None = None
    output_format: FormatBody | None = None
    """The older place of `output_config.format`, which wins."""


class GenerationBody(PromptBody, frozen=True, kw_only=True):
    """The body of `POST /v1/messages`."""

    max_tokens: Count | None = None
    stop_sequences: Annotated[list[str], Meta(max_length=64)] | None = None
    stream: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Meta(ge=-1, le=_INT32_MAX)] | None = None
    """0 and -1 are off."""
    echo_tps: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    """Our own, for the model `echo`."""


GENERATION = msgspec.json.Decoder(GenerationBody)
PROMPT = msgspec.json.Decoder(PromptBody)


def to_request(body: GenerationBody) -> GenerateRequest:
    """Translates a body; raises InvalidRequest for what the types alone cannot tell."""
    default = Sampling()
    return GenerateRequest(
        model=body.model,
        prompt=to_prompt(body),
        sampling=Sampling(
            temperature=default.temperature if body.temperature is None else body.temperature,
            top_p=default.top_p if body.top_p is None else body.top_p,
            top_k=default.top_k if body.top_k is None else max(body.top_k, 0),
        ),
        max_tokens=min(body.max_tokens, _INT32_MAX) if body.max_tokens is not None else None,
        stop=tuple(text for text in body.stop_sequences or () if text),
        constraint=_constraint(body),
        echo_tps=body.echo_tps,
    )


def to_count(body: PromptBody) -> CountTokens:
    """Translates the question how long a prompt is; raises InvalidRequest as `to_request` does."""
    return CountTokens(to_prompt(body))


def to_prompt(body: PromptBody) -> ChatPrompt:
    """Translates the conversation and its tools; raises InvalidRequest."""
    messages = [] if body.system is None else to_turn("system", body.system, "system")
    for at, message in enumerate(body.messages):
        messages += to_turn(message.role, message.content, f"messages[{at}].content")
    tools = tuple(_tool(tool, f"tools[{at}]") for at, tool in enumerate(body.tools or ()) if tool.type in (None, "custom"))
    mode, names = _choice(body, tools)
    return ChatPrompt(
        tuple(messages),
        tools,
        mode,
        names,
        parallel_calls=not (body.tool_choice and body.tool_choice.disable_parallel_tool_use),
        thinking=_thinking(body),
        continues=_continues(messages[-1]),
    )


def _continues(last: Message) -> bool:
    return last.role == "assistant" and not last.tool_calls and bool(last.text)


def _tool(body: ToolBody, place: str) -> Tool:
    if not body.name:
        raise InvalidRequest(f"The field '{place}.name' is missing.", param=f"{place}.name", code="missing_required_parameter")
    schema = _schema(body.input_schema, f"{place}.input_schema")
    return Tool(body.name, body.description or "", schema or "{}")


def _choice(body: PromptBody, tools: tuple[Tool, ...]) -> tuple[ToolMode, tuple[str, ...]]:
    choice = body.tool_choice
    if choice is None or choice.type == "auto":
        return "auto", ()
    if choice.type == "none":
        return "none", ()
    names = () if choice.type == "any" else (choice.name or "",)
    if tools and set(names) <= {tool.name for tool in tools}:
        return "required", names
    wanted = f"there is no tool '{names[0]}' among 'tools'" if names else "there is none among 'tools'"
    hosted = sorted({tool.type for tool in body.tools or () if tool.type not in (None, "custom")})
    why = f"; those of the types {', '.join(hosted)} are Anthropic's own" if hosted else ""
    raise InvalidRequest(f"'tool_choice': {wanted} that can be called here{why}.", param="tool_choice", code="invalid_value")


def _thinking(body: PromptBody) -> Thinking:
    effort = body.output_config.effort if body.output_config is not None else None
    effort = _EFFORTS.get(effort, effort) if effort is not None else None
    if body.thinking is None:
        return Thinking(effort=effort)
    match body.thinking.type:
        case "enabled":
            return Thinking(True, effort, body.thinking.budget_tokens)
        case "disabled":
            return Thinking(False)
        case _:
            return Thinking(None, effort, body.thinking.budget_tokens)


def _constraint(body: PromptBody) -> Constraint | None:
    inner = body.output_config.format if body.output_config is not None else None
    wanted, param = (inner, "output_config.format") if inner is not None else (body.output_format, "output_format")
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type != "json_schema":
        raise InvalidRequest(
            f"'{param}.type': '{wanted.type}' is not supported; supported is 'json_schema'.",
            param=f"{param}.type",
            code="invalid_value",
        )
    schema = _schema(wanted.schema, f"{param}.schema")
    if schema is None:
        raise InvalidRequest(
            f"The field '{param}.schema' is missing.", param=f"{param}.schema", code="missing_required_parameter"
        )
    return Constraint("json_schema", schema, param=param)


def _schema(raw: msgspec.Raw, param: str) -> str | None:
    """Takes a schema as it was written; None where there is none."""
    written = bytes(raw).strip()
    if written == b"null":
        return None
    if not written.startswith(b"{"):
        raise InvalidRequest(f"'{param}': a JSON Schema is an object.", param=param, code="invalid_type")
    return written.decode()
