"""How an item of a response's output is written while it grows: one class for each kind of item."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import msgspec

from ...runtime.events import TokenLogprob
from .openai_answers import TokenLogprobBody, to_chat_logprobs
from .responses_answers import (
    CustomItem,
    FunctionItem,
    Item,
    ItemStatus,
    MessageItem,
    OutputText,
    ReasoningItem,
    SummaryText,
    new_id,
)
from .responses_custom import FreeInput
from .responses_events import (
    ArgumentsDone,
    DeltaHead,
    InputDone,
    ItemEvent,
    PartEvent,
    Pen,
    SummaryPartEvent,
    SummaryTextDone,
    TextDone,
    encode,
    prepare,
)
from .responses_input import seal
from .responses_tools import ToolName

_TEXT_TAIL = b',"logprobs":[]}\n\n'


class ItemWriter(ABC):
    """One item, from its first event to its last."""

    def __init__(self, pen: Pen, output_index: int, kind: str) -> None:
        self._pen = pen
        self._index = output_index
        self._id = new_id(kind)
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """All that was written so far."""
        return "".join(self._pieces)

    @abstractmethod
    def item(self, status: ItemStatus) -> Item:
        """Gives the item as it stands."""

    @abstractmethod
    def open(self) -> bytes:
        """Gives the events that stand before the first text."""

    @abstractmethod
    def close(self, status: ItemStatus) -> bytes:
        """Gives the events that stand behind the last text."""

    def _added(self, item: Item) -> bytes:
        return self._pen.write(ItemEvent("response.output_item.added", self._index, item))

    def _done(self, status: ItemStatus) -> bytes:
        return self._pen.write(ItemEvent("response.output_item.done", self._index, self.item(status)))


class TextWriter(ItemWriter):
    """A message."""

    def __init__(self, pen: Pen, output_index: int) -> None:
        super().__init__(pen, output_index, "msg")
        self._logprobs: list[TokenLogprobBody] = []
        self._prepared = prepare(DeltaHead("response.output_text.delta", self._id, output_index, content_index=0))

    def item(self, status: ItemStatus) -> MessageItem:
        """Gives the message as it stands."""
        return MessageItem(id=self._id, content=[OutputText(self.text, logprobs=self._logprobs)], status=status)

    def open(self) -> bytes:
        """Gives the beginning of the message and of its text."""
        part = PartEvent("response.content_part.added", self._id, self._index, OutputText(""))
        return self._added(MessageItem(id=self._id)) + self._pen.write(part)

    def add(self, text: str, logprobs: Sequence[TokenLogprob]) -> bytes:
        """Gives the event of a piece of text."""
        self._pieces.append(text)
        if not logprobs:
            return self._pen.write_delta(self._prepared, text, _TEXT_TAIL)
        bodies = to_chat_logprobs(logprobs).content
        self._logprobs += bodies
        return self._pen.write_delta(self._prepared, text, b',"logprobs":%b}\n\n' % encode(bodies))

    def close(self, status: ItemStatus) -> bytes:
        """Gives the whole text, its end and the message's."""
        text = self.text
        part = OutputText(text, logprobs=self._logprobs)
        return (
            self._pen.write(TextDone(self._id, self._index, text, self._logprobs))
            + self._pen.write(PartEvent("response.content_part.done", self._id, self._index, part))
            + self._done(status)
        )


class ReasoningWriter(ItemWriter):
    """What the model thinks; all of it stands in the summary, where clients look."""

    def __init__(self, pen: Pen, output_index: int, *, seals: bool) -> None:
        super().__init__(pen, output_index, "rs")
        self._seals = seals
        self._prepared = prepare(DeltaHead("response.reasoning_summary_text.delta", self._id, output_index, summary_index=0))

    def item(self, status: ItemStatus) -> ReasoningItem:
        """Gives the reasoning as it stands."""
        text = self.text
        sealed = seal(text) if self._seals else None
        return ReasoningItem(id=self._id, summary=[SummaryText(text)], encrypted_content=sealed, status=status)

    def open(self) -> bytes:
        """Gives the beginning of the reasoning and of its text."""
        part = SummaryPartEvent("response.reasoning_summary_part.added", self._id, self._index, SummaryText(""))
        return self._added(ReasoningItem(id=self._id)) + self._pen.write(part)

    def add(self, text: str) -> bytes:
        """Gives the event of a piece of text."""
        self._pieces.append(text)
        return self._pen.write_delta(self._prepared, text)

    def close(self, status: ItemStatus) -> bytes:
        """Gives the whole text, its end and the reasoning's."""
        text = self.text
        part = SummaryPartEvent("response.reasoning_summary_part.done", self._id, self._index, SummaryText(text))
        return self._pen.write(SummaryTextDone(self._id, self._index, text)) + self._pen.write(part) + self._done(status)


class FunctionWriter(ItemWriter):
    """A call of a function."""

    def __init__(self, pen: Pen, output_index: int, call_id: str, tool: ToolName) -> None:
        super().__init__(pen, output_index, "fc")
        self._item = FunctionItem(id=self._id, call_id=call_id, name=tool.name, namespace=tool.namespace or msgspec.UNSET)
        self._prepared = prepare(DeltaHead("response.function_call_arguments.delta", self._id, output_index))

    def item(self, status: ItemStatus) -> FunctionItem:
        """Gives the call as it stands."""
        return msgspec.structs.replace(self._item, arguments=self.text, status=status)

    def open(self) -> bytes:
        """Gives the beginning of the call."""
        return self._added(self._item)

    def add(self, text: str) -> bytes:
        """Gives the event of a piece of the arguments."""
        self._pieces.append(text)
        return self._pen.write_delta(self._prepared, text)

    def close(self, status: ItemStatus) -> bytes:
        """Gives the whole arguments and the call's end."""
        # A call without arguments has none to write, and clients parse what stands there.
        missing = self.add("{}") if status == "completed" and not self.text.strip() else b""
        done = ArgumentsDone(self._id, self._index, self._item.name, self.text)
        return missing + self._pen.write(done) + self._done(status)


class CustomWriter(ItemWriter):
    """A call of a tool whose input is free text."""

    def __init__(self, pen: Pen, output_index: int, call_id: str, tool: ToolName) -> None:
        super().__init__(pen, output_index, "ctc")
        self._item = CustomItem(id=self._id, call_id=call_id, name=tool.name, namespace=tool.namespace or msgspec.UNSET)
        self._input = FreeInput()
        self._prepared = prepare(DeltaHead("response.custom_tool_call_input.delta", self._id, output_index))

    @property
    def text(self) -> str:
        """The input so far."""
        return self._input.text

    def item(self, status: ItemStatus) -> CustomItem:
        """Gives the call as it stands."""
        return msgspec.structs.replace(self._item, input=self.text, status=status)

    def open(self) -> bytes:
        """Gives the beginning of the call."""
        return self._added(self._item)

    def add(self, text: str) -> bytes:
        """Gives the event of what a piece of the arguments adds to the input."""
        return self._write(self._input.push(text))

    def close(self, status: ItemStatus) -> bytes:
        """Gives the whole input and the call's end."""
        rest = self._write(self._input.finish())
        return rest + self._pen.write(InputDone(self._id, self._index, self.text)) + self._done(status)

    def _write(self, text: str) -> bytes:
        return self._pen.write_delta(self._prepared, text) if text else b""
