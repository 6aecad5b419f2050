"""The events of OpenAI's Responses API: their shapes, and the pen that numbers them.

After https://platform.openai.com/docs/api-reference/responses-streaming. An event's number is not part of its shape here:
the pen puts it in, so that nothing else has to count.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from .openai_answers import TokenLogprobBody
from .responses_answers import Item, OutputText, Response, SummaryText

encode = msgspec.json.Encoder().encode


class LifeEvent(msgspec.Struct, frozen=True):
    """The response begins, goes on or ends."""

    type: Literal["response.created", "response.in_progress", "response.completed", "response.incomplete", "response.failed"]
    response: Response


class ItemEvent(msgspec.Struct, frozen=True):
    """An item of the output begins or ends."""

    type: Literal["response.output_item.added", "response.output_item.done"]
    output_index: int
    item: Item


class PartEvent(msgspec.Struct, frozen=True):
    """A message's text begins or ends."""

    type: Literal["response.content_part.added", "response.content_part.done"]
    item_id: str
    output_index: int
    part: OutputText
    content_index: int = 0


class TextDone(msgspec.Struct, frozen=True):
    """A message's text is whole."""

    item_id: str
    output_index: int
    text: str
    logprobs: list[TokenLogprobBody]
    content_index: int = 0
    type: Literal["response.output_text.done"] = "response.output_text.done"


class SummaryPartEvent(msgspec.Struct, frozen=True):
    """The shown reasoning begins or ends."""

    type: Literal["response.reasoning_summary_part.added", "response.reasoning_summary_part.done"]
    item_id: str
    output_index: int
    part: SummaryText
    summary_index: int = 0


class SummaryTextDone(msgspec.Struct, frozen=True):
    """The shown reasoning is whole."""

    item_id: str
    output_index: int
    text: str
    summary_index: int = 0
    type: Literal["response.reasoning_summary_text.done"] = "response.reasoning_summary_text.done"


class ArgumentsDone(msgspec.Struct, frozen=True):
    """A function call's arguments are whole."""

    item_id: str
    output_index: int
    name: str
    arguments: str
    type: Literal["response.function_call_arguments.done"] = "response.function_call_arguments.done"


class InputDone(msgspec.Struct, frozen=True):
    """A custom tool's input is whole."""

    item_id: str
    output_index: int
    input: str
    type: Literal["response.custom_tool_call_input.done"] = "response.custom_tool_call_input.done"


EventBody = LifeEvent | ItemEvent | PartEvent | TextDone | SummaryPartEvent | SummaryTextDone | ArgumentsDone | InputDone

DeltaType = Literal[
    "response.output_text.delta",
    "response.reasoning_summary_text.delta",
    "response.function_call_arguments.delta",
    "response.custom_tool_call_input.delta",
]


class DeltaHead(msgspec.Struct, frozen=True, omit_defaults=True):
    """What all pieces of one item have in common."""

    type: DeltaType
    item_id: str
    output_index: int
    content_index: int | None = None
    summary_index: int | None = None


class Pen:
    """Writes events as server-sent events, each with the next number."""

    def __init__(self) -> None:
        self._number = 0

    def write(self, event: EventBody) -> bytes:
        """Gives the bytes of an event."""
        return self.write_encoded(event.type, encode(event))

    def write_encoded(self, type_: str, body: bytes) -> bytes:
        """Gives the bytes of an event whose JSON is made already."""
        number, self._number = self._number, self._number + 1
        return b'event: %b\ndata: {"sequence_number":%d,%b\n\n' % (type_.encode(), number, body[1:])

    def write_delta(self, prepared: bytes, text: str, tail: bytes = b"}\n\n") -> bytes:
        """Gives the bytes of a piece of text; this runs for every token of every stream."""
        number, self._number = self._number, self._number + 1
        return b'%b%d,"delta":%b%b' % (prepared, number, encode(text), tail)


def prepare(head: DeltaHead) -> bytes:
    """Makes what each of an item's pieces begins with, up to their numbers."""
    return b'event: %b\ndata: %b,"sequence_number":' % (head.type.encode(), encode(head)[:-1])
