"""The tools of OpenAI's Responses API: what the model is offered, and what its calls are named to the client.

Models know functions and nothing else. So members of a namespace become functions with the namespace before their names,
and custom tools, whose input is free text, functions with one string argument; a call goes back by the names it came from.
Tools that OpenAI hosts itself are left out. Fields after https://platform.openai.com/docs/api-reference/responses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from ...runtime.errors import InvalidRequest
from ...runtime.request import Tool, ToolMode

FREE_INPUT = "input"
"""The one argument of a custom tool."""
_NO_PARAMETERS = '{"type":"object","properties":{}}'
_FREE_PARAMETERS = (
    '{"type":"object","properties":{"input":{"type":"string","description":"The input, as plain text."}},'
    '"required":["input"],"additionalProperties":false}'
)
_NULL = msgspec.Raw(b"null")


class InputFormat(msgspec.Struct, frozen=True):
    """What the input of a custom tool must look like."""

    syntax: str | None = None
    """`lark` or `regex`."""
    definition: str | None = None


class ToolBody(msgspec.Struct, frozen=True):
    """A tool of any type; which fields count depends on it."""

    type: str = "function"
    name: str | None = None
    description: str | None = None
    parameters: msgspec.Raw = _NULL
    format: InputFormat | None = None
    tools: list[ToolBody] | None = None
    """The members of a namespace."""


class ChoiceBody(msgspec.Struct, frozen=True):
    """A tool choice that is more than a word."""

    type: str
    name: str | None = None
    namespace: str | None = None
    mode: Literal["auto", "required"] | None = None
    tools: list[ChoiceBody] | None = None
    """With `allowed_tools`."""


@dataclass(frozen=True, slots=True)
class ToolName:
    """What the client calls a tool."""

    name: str
    namespace: str | None = None
    custom: bool = False
    """Whether its input is free text."""


@dataclass(slots=True)
class Toolbox:
    """The tools of one request, by the names the model sees."""

    tools: list[Tool] = field(default_factory=list[Tool])
    names: dict[str, ToolName] = field(default_factory=dict[str, ToolName])

    def find(self, name: str) -> ToolName:
        """Says what the client calls the tool that the model called so."""
        if (found := self.names.get(name)) is not None:
            return found
        # A model may leave the namespace away; that is no riddle while one tool alone has the name.
        members = [known for known in self.names.values() if known.name == name]
        return members[0] if len(members) == 1 else ToolName(name)

    def add(self, body: ToolBody, namespace: str | None = None, preface: str = "") -> None:
        """Takes in a function or a custom tool; of two with one name the first holds."""
        name = flatten(body.name or "", namespace)
        if not body.name or name in self.names:
            return
        custom = body.type == "custom"
        said = preface + (body.description or "") + (_describe(body.format) if custom else "")
        self.names[name] = ToolName(body.name, namespace, custom)
        self.tools.append(Tool(name, said, _FREE_PARAMETERS if custom else _parameters(body.parameters)))


@dataclass(frozen=True, slots=True)
class Choice:
    """Whether and which tools are called."""

    mode: ToolMode = "auto"
    names: tuple[str, ...] = ()
    """As the model sees them; () is each."""


def flatten(name: str, namespace: str | None) -> str:
    """Gives the name by which the model knows a tool."""
    if not namespace:
        return name
    return namespace + name if namespace.endswith("__") else f"{namespace}__{name}"


def to_toolbox(bodies: Iterable[ToolBody]) -> Toolbox:
    """Translates the tools that a model can call; the others are left out."""
    toolbox = Toolbox()
    for body in bodies:
        if body.type in ("function", "custom"):
            toolbox.add(body)
        elif body.type == "namespace" and body.name:
            # What is said of all members stands with the first, so that long words are not repeated for each.
            preface = f"[{body.name}: {body.description}] " if body.description else ""
            for member in body.tools or ():
                toolbox.add(member, body.name, preface)
                preface = ""
    return toolbox


def to_choice(body: str | ChoiceBody | None, toolbox: Toolbox) -> Choice:
    """Translates a tool choice; raises InvalidRequest for a tool that is not among those offered."""
    if not toolbox.tools or body == "none":
        return Choice("none" if body == "none" else "auto")
    match body:
        case None | "auto":
            return Choice()
        case "required":
            return Choice("required")
        case ChoiceBody(type="allowed_tools"):
            names = tuple(name for choice in body.tools or () for name in _named(choice, toolbox))
            return Choice(body.mode or "auto", names) if names else Choice("none")
        case ChoiceBody(type="function" | "custom" | "namespace"):
            if names := _named(body, toolbox):
                return Choice("required", names)
            raise InvalidRequest(
                f"Tool choice '{body.name}' not found in 'tools' parameter.", param="tool_choice", code="invalid_value"
            )
        case ChoiceBody():
            return Choice()
        case _:
            raise InvalidRequest(
                f"'tool_choice': '{body}' is none of 'none', 'auto', 'required'.", param="tool_choice", code="invalid_value"
            )


def _named(choice: ChoiceBody, toolbox: Toolbox) -> tuple[str, ...]:
    """The tools that a choice names: one, or all of a namespace."""
    if choice.type == "namespace":
        return tuple(flat for flat, known in toolbox.names.items() if known.namespace == choice.name)
    flat = flatten(choice.name or "", choice.namespace)
    if flat in toolbox.names:
        return (flat,)
    members: Sequence[str] = [flat for flat, known in toolbox.names.items() if known.name == choice.name]
    return tuple(members) if len(members) == 1 else ()


def _parameters(raw: msgspec.Raw) -> str:
    written = bytes(raw).strip()
    return written.decode() if written.startswith(b"{") and written != b"{}" else _NO_PARAMETERS


def _describe(wanted: InputFormat | None) -> str:
    if wanted is None or not wanted.definition:
        return ""
    return f"\n\nThe input follows this {wanted.syntax or 'lark'} grammar:\n{wanted.definition}"
