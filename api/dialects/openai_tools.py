"""Which tools a chat may call, and how much its model thinks, as OpenAI's clients and those of other servers say it.

After https://platform.openai.com/docs/api-reference/chat/create; `chat_template_kwargs` and `enable_thinking` are vLLM's and
llama-server's, `reasoning` is OpenRouter's, `thinking` is that of hosted GLM and DeepSeek models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from ...runtime.errors import InvalidRequest
from ...runtime.request import Thinking, Tool, ToolMode
from .openai_generation import GenerationBody

NO_PARAMETERS = '{"type":"object","properties":{}}'
"""Of a function that takes none."""
_NULL = msgspec.Raw(b"null")
_INT32_MAX = 2**31 - 1


class FunctionBody(msgspec.Struct, frozen=True):
    """A function that may be called."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    description: str | None = None
    parameters: msgspec.Raw = _NULL


class ToolBody(msgspec.Struct, frozen=True):
    """A tool; those that are no functions are left out."""

    type: str = "function"
    function: FunctionBody | None = None


class NameBody(msgspec.Struct, frozen=True):
    """A function by its name."""

    name: str


class NamedToolBody(msgspec.Struct, frozen=True):
    """A tool by its name."""

    function: NameBody | None = None


class AllowedToolsBody(msgspec.Struct, frozen=True):
    """A choice among some of the tools."""

    mode: str = "auto"
    tools: list[NamedToolBody] = []


class ToolChoiceBody(msgspec.Struct, frozen=True):
    """A choice of tools that is more than a word."""

    type: str = "function"
    function: NameBody | None = None
    allowed_tools: AllowedToolsBody | None = None


class ReasoningBody(msgspec.Struct, frozen=True):
    """How much is thought."""

    effort: str | None = None
    max_tokens: int | None = None
    enabled: bool | None = None


class ThinkingBody(msgspec.Struct, frozen=True):
    """Whether is thought."""

    type: str | None = None
    budget_tokens: int | None = None


class ToolsBody(GenerationBody, frozen=True, kw_only=True):
    """The fields of a chat body that are about tools and thoughts."""

    tools: list[ToolBody] | None = None
    tool_choice: str | ToolChoiceBody | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    reasoning: ReasoningBody | None = None
    thinking: ThinkingBody | None = None
    enable_thinking: bool | None = None
    thinking_budget: int | None = None
    chat_template_kwargs: dict[str, msgspec.Raw] | None = None


def to_tools(body: ToolsBody) -> tuple[Tool, ...]:
    """Gives the functions among the tools; raises InvalidRequest."""
    return tuple(
        Tool(tool.function.name, tool.function.description or "", to_schema(tool.function.parameters, f"tools[{at}]"))
        for at, tool in enumerate(body.tools or ())
        if tool.function is not None
    )


def to_schema(raw: msgspec.Raw, place: str) -> str:
    """Takes the schema of a function's arguments as it was written; raises InvalidRequest where it is no object."""
    written = bytes(raw).strip()
    if written in (b"null", b"{}", b""):
        return NO_PARAMETERS
    if not written.startswith(b"{"):
        param = f"{place}.function.parameters"
        raise InvalidRequest(f"'{param}': a JSON Schema is an object.", param=param, code="invalid_type")
    return written.decode()


def to_choice(body: ToolsBody, tools: Sequence[Tool]) -> tuple[ToolMode, tuple[str, ...]]:
    """Says whether tools are called, and which of them; raises InvalidRequest for one that is not offered."""
    match body.tool_choice:
        case None | "auto":
            return "auto", ()
        case "none":
            return "none", ()
        case "required" | "any":
            names: list[str] = []
        case ToolChoiceBody(allowed_tools=AllowedToolsBody() as allowed):
            names = [tool.function.name for tool in allowed.tools if tool.function is not None]
            if allowed.mode != "required":
                return "auto", _offered(names, tools)
        case ToolChoiceBody(function=NameBody(name=name)):
            names = [name]
        case other:
            said = other if isinstance(other, str) else other.type
            raise InvalidRequest(
                f"'tool_choice': '{said}' is not known; known are 'none', 'auto', 'required' and a function by name.",
                param="tool_choice",
                code="invalid_value",
            )
    if not tools:
        raise InvalidRequest(
            "'tool_choice' asks for a call, but there are no 'tools'.", param="tool_choice", code="invalid_value"
        )
    return "required", _offered(names, tools)


def to_thinking(body: ToolsBody) -> Thinking:
    """Gathers what the several fields say; the later of these ones wins: thinking, reasoning, the fields of their own."""
    thinking, reasoning = body.thinking or ThinkingBody(), body.reasoning or ReasoningBody()
    enabled = {"enabled": True, "disabled": False}.get(thinking.type or "")
    for said in (reasoning.enabled, body.enable_thinking):
        enabled = enabled if said is None else said
    effort = body.reasoning_effort or reasoning.effort
    if effort == "none":
        enabled, effort = False if enabled is None else enabled, None
    budgets = (body.thinking_budget, reasoning.max_tokens, thinking.budget_tokens)
    budget = next((tokens for tokens in budgets if tokens is not None and tokens >= 0), None)
    return Thinking(enabled, effort, None if budget is None else min(budget, _INT32_MAX))


def _offered(names: Sequence[str], tools: Sequence[Tool]) -> tuple[str, ...]:
    offered = {tool.name for tool in tools}
    for name in names:
        if name not in offered:
            raise InvalidRequest(f"'tool_choice': there is no tool '{name}'.", param="tool_choice", code="invalid_value")
    return tuple(names)
