"""The turns of a conversation as Anthropic's clients send them: content blocks to the runtime's messages.

After https://docs.anthropic.com/en/api/messages. Each block is read by its own type; blocks of types that are not known here,
and those that tell what Anthropic's own servers did, are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from ...runtime.errors import InvalidRequest
from ...runtime.request import ImagePart, Message, Part, TextPart, ToolCall
from .pictures import to_picture, to_picture_of_url

_PLACE = re.compile(r" - at `\$\.?([^`]*)`$")

Content = str | list[msgspec.Raw]
"""Text, or blocks that are read one by one."""


class Source(msgspec.Struct, frozen=True):
    """Where a picture or a document is."""

    type: str
    """`base64`, `url`, `text`, `content` or `file`."""
    media_type: str = ""
    data: str = ""
    url: str = ""
    content: Content = ""


class TextBlock(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """Text."""

    text: str


class ImageBlock(msgspec.Struct, frozen=True, tag_field="type", tag="image"):
    """A picture."""

    source: Source


class DocumentBlock(msgspec.Struct, frozen=True, tag_field="type", tag="document"):
    """A document."""

    source: Source
    title: str | None = None
    context: str | None = None


class SearchResultBlock(msgspec.Struct, frozen=True, tag_field="type", tag="search_result"):
    """What a search of the client found."""

    source: str
    title: str
    content: list[msgspec.Raw]


class ToolReferenceBlock(msgspec.Struct, frozen=True, tag_field="type", tag="tool_reference"):
    """The name of a tool that a search for tools found."""

    tool_name: str


class ThinkingBlock(msgspec.Struct, frozen=True, tag_field="type", tag="thinking"):
    """What the assistant thought; its signature proves nothing to us, so any is taken."""

    thinking: str


class ToolUseBlock(msgspec.Struct, frozen=True, tag_field="type", tag="tool_use"):
    """A call the assistant made."""

    id: str
    name: str
    input: msgspec.Raw = msgspec.Raw(b"{}")


class ToolResultBlock(msgspec.Struct, frozen=True, tag_field="type", tag="tool_result"):
    """What a call gave."""

    tool_use_id: str
    content: Content | None = None
    is_error: bool | None = None


_Shown = TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolReferenceBlock
_Block = _Shown | ThinkingBlock | ToolUseBlock | ToolResultBlock


class _Kind(msgspec.Struct, frozen=True):
    """What every block says of itself."""

    type: str


_KIND = msgspec.json.Decoder(_Kind)
_BLOCKS: dict[str, msgspec.json.Decoder[_Block]] = {
    "text": msgspec.json.Decoder(TextBlock),
    "image": msgspec.json.Decoder(ImageBlock),
    "document": msgspec.json.Decoder(DocumentBlock),
    "search_result": msgspec.json.Decoder(SearchResultBlock),
    "tool_reference": msgspec.json.Decoder(ToolReferenceBlock),
    "thinking": msgspec.json.Decoder(ThinkingBlock),
    "tool_use": msgspec.json.Decoder(ToolUseBlock),
    "tool_result": msgspec.json.Decoder(ToolResultBlock),
}


def to_turn(role: Literal["system", "user", "assistant"], content: Content, place: str) -> list[Message]:
    """Translates one turn; `place` names its content in messages.

    Returns:
        Of a user's turn first a `tool` message for each result, then what the user says besides; else one message.

    Raises:
        InvalidRequest: a block is not what its type promises, or would have to be fetched.
    """
    parts: list[Part] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    results: list[Message] = []
    for block, at in _read(content, place):
        match block:
            case ThinkingBlock():
                thoughts.append(block.thinking)
            case ToolUseBlock():
                arguments = bytes(block.input).decode()
                calls.append(ToolCall(block.id, block.name, "{}" if arguments == "null" else arguments))
            case ToolResultBlock():
                results.append(_result(block, at))
            case _:
                parts += _shown(block, at)
    if results and not (parts or thoughts or calls):
        return results
    # The pieces of an assistant's text are its own words, cut where it thought or called; other blocks stand apart.
    joined = _join(parts, between="" if role == "assistant" else "\n")
    return [*results, Message(role, joined, tool_calls=tuple(calls), reasoning="".join(thoughts))]


def _result(block: ToolResultBlock, place: str) -> Message:
    parts: list[Part] = []
    for inner, at in _read(block.content or "", f"{place}.content"):
        parts += _shown(inner, at)
    return Message("tool", _join(parts, between="\n"), tool_call_id=block.tool_use_id, failed=block.is_error is True)


def _shown(block: _Block, place: str) -> list[Part]:
    """What the model is shown of a block; nothing of those that have no place where it stands."""
    match block:
        case TextBlock():
            return [TextPart(block.text)]
        case ImageBlock():
            return [_picture(block.source, f"{place}.source")]
        case DocumentBlock():
            headings = [TextPart(text) for text in (block.title, block.context) if text]
            return [*headings, *_document(block.source, f"{place}.source")]
        case SearchResultBlock():
            inner = _read(block.content, f"{place}.content")
            texts = [TextPart(found.text) for found, _ in inner if isinstance(found, TextBlock)]
            return [TextPart(block.title), TextPart(block.source), *texts]
        case ToolReferenceBlock():
            return [TextPart(block.tool_name)]
        case _:
            return []


def _picture(source: Source, place: str) -> ImagePart:
    if source.type == "base64":
        return to_picture(source.data, source.media_type, f"{place}.data")
    if source.type == "url":
        return to_picture_of_url(source.url, f"{place}.url")
    raise _unsupported(source, place, "'base64', and 'url' with a 'data:' URL")


def _document(source: Source, place: str) -> list[Part]:
    if source.type == "text":
        return [TextPart(source.data)]
    if source.type == "content":
        parts: list[Part] = []
        for block, at in _read(source.content, f"{place}.content"):
            if isinstance(block, TextBlock | ImageBlock):
                parts += _shown(block, at)
        return parts
    raise _unsupported(source, place, "'text' and 'content'; of a PDF send the text")


def _unsupported(source: Source, place: str, known: str) -> InvalidRequest:
    return InvalidRequest(
        f"'{place}.type': '{source.type}' is not supported; supported are {known}. This server fetches nothing from elsewhere.",
        param=f"{place}.type",
        code="invalid_value",
    )


def _read(content: Content, place: str) -> Iterable[tuple[_Block, str]]:
    """Reads the blocks that are known, each with its place."""
    if isinstance(content, str):
        yield TextBlock(content), place
        return
    for index, raw in enumerate(content):
        at = f"{place}[{index}]"
        try:
            decoder = _BLOCKS.get(_KIND.decode(raw).type)
            block = decoder.decode(raw) if decoder is not None else None
        except msgspec.ValidationError as error:
            raise _wrong(str(error), at) from error
        if block is not None:
            yield block, at


def _wrong(said: str, place: str) -> InvalidRequest:
    """Puts msgspec's words into ours, with the path of the field as the client wrote it."""
    inner = _PLACE.search(said)
    path = f"{place}.{inner[1]}" if inner else place
    reason = (said[: inner.start()] if inner else said).replace("`", "")
    return InvalidRequest(f"'{path}': {reason[:1].lower()}{reason[1:]}.", param=path, code="invalid_value")


def _join(parts: Sequence[Part], *, between: str) -> tuple[Part, ...]:
    """Makes one of text parts next to each other."""
    joined: list[Part] = []
    for part in parts:
        last = joined[-1] if joined else None
        if isinstance(part, TextPart) and isinstance(last, TextPart):
            joined[-1] = TextPart(f"{last.text}{between}{part.text}")
        else:
            joined.append(part)
    return tuple(joined)
