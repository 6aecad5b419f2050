"""The input items of OpenAI's Responses API, as the messages of a conversation.

What one turn of the assistant consists of comes as several items: reasoning, text, and each call alone. They become one
message. Items that mean nothing to a model here, and those of unknown types, are skipped. Types after
https://platform.openai.com/docs/api-reference/responses and those that Codex sends besides.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from ...runtime.errors import InvalidRequest
from ...runtime.request import Message, Part, Role, TextPart, ToolCall
from .pictures import to_picture, to_picture_of_url
from .responses_tools import FREE_INPUT, ToolBody, flatten

SEALED = b"impetus:"
"""What reasoning of ours begins with where it is handed to the client to keep."""

_NULL = msgspec.Raw(b"null")
_PLACE = re.compile(r" - at `\$?\.?([^`]*)`$")
_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_CALLS = frozenset({"function_call", "custom_tool_call", "local_shell_call", "shell_call", "apply_patch_call"})
"""What a client answers; the calls that OpenAI makes and answers by itself are nothing a model here would know."""
_OUTPUTS = frozenset(f"{type_}_output" for type_ in _CALLS)

Body = TypeVar("Body")


class KindBody(msgspec.Struct, frozen=True):
    """What kind of thing an item is; a message may leave it out."""

    type: str | None = None
    id: msgspec.Raw = _NULL
    role: msgspec.Raw = _NULL

    @property
    def reference(self) -> str | None:
        """The id of the item that this one stands for; None where it stands for itself."""
        bare = self.type is None and bytes(self.role) == b"null"
        if not bytes(self.id).startswith(b'"') or not (bare or self.type == "item_reference"):
            return None
        return msgspec.json.decode(self.id, type=str)


class ImageUrl(msgspec.Struct, frozen=True):
    """Where a picture is, in the chat endpoint's form."""

    url: str


class PartBody(msgspec.Struct, frozen=True):
    """A piece of content of any type; which fields count depends on it."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | ImageUrl | None = None
    file_data: str | None = None
    filename: str | None = None


Content = str | list[PartBody] | None


class MessageBody(msgspec.Struct, frozen=True):
    """A turn of a conversation, or of another agent."""

    role: str | None = None
    content: Content = None


class CallBody(msgspec.Struct, frozen=True):
    """A call of any type; which fields count depends on it."""

    name: str | None = None
    namespace: str | None = None
    call_id: str | None = None
    id: str | None = None
    arguments: msgspec.Raw = _NULL
    input: str | None = None
    action: msgspec.Raw = _NULL
    operation: msgspec.Raw = _NULL


class OutputBody(msgspec.Struct, frozen=True):
    """What a tool said."""

    call_id: str | None = None
    id: str | None = None
    output: msgspec.Raw = _NULL


class ReasoningBody(msgspec.Struct, frozen=True):
    """What the assistant thought."""

    summary: list[PartBody] | None = None
    content: list[PartBody] | None = None
    encrypted_content: str | None = None


class ToolsBody(msgspec.Struct, frozen=True):
    """Tools that came up in the middle of a conversation."""

    tools: list[ToolBody] = []


_KIND = msgspec.json.Decoder(KindBody)


def seal(reasoning: str) -> str:
    """Packs reasoning for a client that keeps nothing but what it is handed."""
    return base64.b64encode(SEALED + reasoning.encode("utf-8", "replace")).decode()


def find_references(items: Iterable[msgspec.Raw]) -> list[str]:
    """Gives the ids of earlier items that are named and not sent."""
    kinds = (_kind(item, f"input[{at}]") for at, item in enumerate(items))
    return [reference for kind in kinds if (reference := kind.reference) is not None]


def resolve(items: Iterable[msgspec.Raw], known: Mapping[str, msgspec.Raw]) -> list[msgspec.Raw]:
    """Puts earlier items in the place of their names; those that are not known vanish."""
    resolved: list[msgspec.Raw] = []
    for item in items:
        reference = _kind(item, "input").reference
        if reference is None:
            resolved.append(item)
        elif (named := known.get(reference)) is not None:
            resolved.append(named)
    return resolved


def find_tools(items: Iterable[msgspec.Raw]) -> list[ToolBody]:
    """Gives the tools that came up in the conversation itself."""
    found: list[ToolBody] = []
    for at, item in enumerate(items):
        if _kind(item, f"input[{at}]").type in ("additional_tools", "tool_search_output"):
            found += _decode(item, ToolsBody, f"input[{at}]").tools
    return found


def to_messages(items: Iterable[msgspec.Raw], *, first: int = 0) -> tuple[Message, ...]:
    """Translates items.

    Args:
        items: each as it was written.
        first: how many of them stand before the request's own, for messages.

    Raises:
        InvalidRequest: one is not what its type says.
    """
    conversation = _Conversation()
    for at, item in enumerate(items):
        place = f"input[{at - first}]" if at >= first else f"an earlier item ({at})"
        conversation.add(item, _kind(item, place), place)
    return conversation.finish()


class _Conversation:
    """Messages as they grow, with the assistant's turn that is not over yet."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._names: dict[str, str] = {}
        """Of the tools, by the ids of their calls."""
        self._reasoning: list[str] = []
        self._parts: list[Part] = []
        self._calls: list[ToolCall] = []

    def finish(self) -> tuple[Message, ...]:
        """Gives all messages."""
        self._end_turn()
        return tuple(self._messages)

    def add(self, item: msgspec.Raw, kind: KindBody, place: str) -> None:
        """Takes in an item of any type."""
        match kind.type or ("" if bytes(kind.role) == b"null" else "message"):
            case "message":
                self._add_message(_decode(item, MessageBody, place), place)
            case "agent_message":
                body = _decode(item, MessageBody, place)
                self._say("user", _parts(body.content, f"{place}.content"))
            case "reasoning":
                self._add_reasoning(_decode(item, ReasoningBody, place))
            case type_ if type_ in _CALLS:
                self._add_call(type_, _decode(item, CallBody, place))
            case type_ if type_ in _OUTPUTS:
                self._add_output(_decode(item, OutputBody, place), f"{place}.output")
            case _:
                pass

    def _add_message(self, body: MessageBody, place: str) -> None:
        role = _ROLES.get(body.role or "")
        if role is None:
            known = ", ".join(f"'{name}'" for name in _ROLES)
            raise InvalidRequest(f"'{place}.role': it is none of {known}.", param=f"{place}.role", code="invalid_value")
        parts = _parts(body.content, f"{place}.content")
        if role != "assistant":
            self._say(role, parts)
            return
        if self._parts and not self._calls:
            self._end_turn()
        self._parts += parts

    def _add_reasoning(self, body: ReasoningBody) -> None:
        if self._parts or self._calls:
            self._end_turn()
        text = _unseal(body.encrypted_content)
        if text is None:
            text = "\n\n".join(part.text or "" for part in body.content or body.summary or ())
        if text:
            self._reasoning.append(text)

    def _add_call(self, type_: str, body: CallBody) -> None:
        id_ = body.call_id or body.id or ""
        if type_ == "custom_tool_call":
            arguments = msgspec.json.encode({FREE_INPUT: body.input or ""}).decode()
        else:
            written = (body.arguments, body.action, body.operation)
            arguments = next((_as_text(raw) for raw in written if bytes(raw) != b"null"), "{}")
        name = flatten(body.name or type_.removesuffix("_call"), body.namespace)
        self._names[id_] = name
        self._calls.append(ToolCall(id_, name, arguments))

    def _add_output(self, body: OutputBody, place: str) -> None:
        self._end_turn()
        id_ = body.call_id or body.id or ""
        parts = _output_parts(body.output, place)
        self._messages.append(Message("tool", parts, self._names.get(id_), tool_call_id=id_))

    def _say(self, role: Role, parts: tuple[Part, ...]) -> None:
        self._end_turn()
        self._messages.append(Message(role, parts))

    def _end_turn(self) -> None:
        if self._parts or self._calls or self._reasoning:
            reasoning = "\n\n".join(self._reasoning)
            self._messages.append(Message("assistant", tuple(self._parts), tool_calls=tuple(self._calls), reasoning=reasoning))
        self._reasoning, self._parts, self._calls = [], [], []


def _kind(item: msgspec.Raw, place: str) -> KindBody:
    try:
        return _KIND.decode(item)
    except msgspec.ValidationError as error:
        raise _invalid(error, place) from error


def _decode(item: msgspec.Raw, type_: type[Body], place: str) -> Body:
    try:
        return msgspec.json.decode(item, type=type_)
    except msgspec.ValidationError as error:
        raise _invalid(error, place) from error


def _invalid(error: msgspec.ValidationError, place: str) -> InvalidRequest:
    said = str(error)
    if found := _PLACE.search(said):
        said, inside = said[: found.start()], found[1]
        place += f".{inside}" if inside and not inside.startswith("[") else inside
    reason = said.replace("`", "")
    return InvalidRequest(f"'{place}': {reason[:1].lower() + reason[1:]}.", param=place, code="invalid_type")


def _as_text(raw: msgspec.Raw) -> str:
    """Arguments are a text that holds JSON, as a rule, and sometimes JSON itself."""
    return msgspec.json.decode(raw, type=str) if bytes(raw).startswith(b'"') else bytes(raw).decode()


def _output_parts(raw: msgspec.Raw, place: str) -> tuple[Part, ...]:
    """A text, a list of parts, or whatever else a tool's answer may be, as JSON text."""
    written = bytes(raw)
    if written == b"null":
        return ()
    if written.startswith(b'"'):
        return (TextPart(msgspec.json.decode(raw, type=str)),)
    if written.startswith(b"["):
        try:
            return _parts(msgspec.json.decode(raw, type=list[PartBody]), place)
        except msgspec.ValidationError:
            pass
    return (TextPart(written.decode()),)


def _parts(content: Content, place: str) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (TextPart(content),)
    parts = (_part(part, f"{place}[{at}]") for at, part in enumerate(content or ()))
    return tuple(part for part in parts if part is not None)


def _part(body: PartBody, place: str) -> Part | None:
    match body.type:
        case "input_image" | "computer_screenshot" | "image_url":
            url = body.image_url.url if isinstance(body.image_url, ImageUrl) else body.image_url
            return to_picture_of_url(url or "", f"{place}.image_url")
        case "input_file":
            return _file(body, place)
        case "refusal":
            return TextPart(body.refusal or "")
        case _:
            return None if body.text is None else TextPart(body.text)


def _file(body: PartBody, place: str) -> Part:
    """Shows a file that came with the request: a picture as one, anything else as the text that it holds."""
    head, comma, data = (body.file_data or "").rpartition(",")
    media_type = head.removeprefix("data:").partition(";")[0] if comma else ""
    try:
        if media_type.startswith("image/"):
            return to_picture(data, media_type, f"{place}.file_data")
        text = base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise _unreadable(place) from error
    if not body.file_data:
        raise _unreadable(place)
    return TextPart(f"{body.filename}:\n{text}\n" if body.filename else text)


def _unreadable(place: str) -> InvalidRequest:
    return InvalidRequest(
        f"'{place}': a file must hold text in UTF-8 or a picture, and come as base64 in 'file_data'; "
        "this server keeps no files and fetches none.",
        param=place,
        code="unsupported_value",
    )


def _unseal(sealed: str | None) -> str | None:
    """Reads reasoning that was handed out here; None for what others sealed."""
    try:
        text = base64.b64decode(sealed or "", validate=True)
    except (binascii.Error, ValueError):
        return None
    return text.removeprefix(SEALED).decode("utf-8", "replace") if text.startswith(SEALED) else None
