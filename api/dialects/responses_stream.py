"""A response as it is made: the runtime's events to those of OpenAI's Responses API, and to the response they add up to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import msgspec

from ...runtime.events import Admitted, CallBegun, CallDelta, Event, Finished, ReasoningDelta, TextDelta
from ..errors import Failure
from .responses import ResponsesBody, Task
from .responses_answers import Incomplete, Item, ItemStatus, ReasoningItem, Response, Status, Trouble, to_opening, to_usage
from .responses_events import LifeEvent, Pen, encode
from .responses_writers import CustomWriter, FunctionWriter, ItemWriter, ReasoningWriter, TextWriter

_SAID_NOTHING = Trouble("server_error", "The model ended its turn without a text and without a tool call.")
_OWN_CODES = {"context_length_exceeded": "context_length_exceeded", "overloaded": "server_is_overloaded"}


class ResponseStream:
    """One response; for a whole answer its bytes are thrown away."""

    def __init__(
        self, body: ResponsesBody, written: bytes, task: Task, *, stored: bool, now_epoch_s: Callable[[], float] = time.time
    ) -> None:
        """Begins a response.

        Args:
            body: the request's.
            written: the same as it came.
            task: what it was translated to.
            stored: whether it will be found by its id.
            now_epoch_s: the wall clock.
        """
        self._response = to_opening(body, written, task.request.sampling, stored=stored, now_epoch_s=now_epoch_s())
        self._task = task
        self._seals = body.seals_reasoning
        self._now_epoch_s = now_epoch_s
        self._pen = Pen()
        self._begun = False
        self._items: list[Item] = []
        self._open: ItemWriter | None = None
        self._held: list[TextDelta] = []
        """Blank text that may stand before nothing but a call."""
        self._end: Finished | None = None
        self._last_words = b""
        """The events of the item that was open when the response was cancelled."""
        self._final: Response | None = None

    @property
    def id(self) -> str:
        """The response's."""
        return self._response.id

    def to_wire(self, batch: Iterable[Event]) -> bytes:
        """Gives the server-sent events for what arrived."""
        parts: list[bytes] = []
        for event in batch:
            match event:
                case TextDelta():
                    parts.append(self._write_text(event))
                case ReasoningDelta():
                    if event.text:
                        parts.append(self._write_reasoning(event.text))
                case CallDelta():
                    if isinstance(self._open, (FunctionWriter, CustomWriter)):
                        parts.append(self._open.add(event.text))
                case CallBegun():
                    parts.append(self._begin_call(event))
                case Admitted():
                    self._response = msgspec.structs.replace(self._response, model=event.model)
                    parts.append(self._begin())
                case Finished():
                    parts.append(self._finish(event))
        return b"".join(parts)

    def heartbeat(self) -> bytes:
        """Gives an event that says once more that the response is on its way."""
        return self._begin() or self._pen.write(LifeEvent("response.in_progress", self._response))

    def ending(self) -> bytes:
        """Gives the event that ends the response, which holds all of it."""
        begin = self._begin()
        final = self.finish()
        begin += self._last_words
        match final.status:
            case "completed":
                return begin + self._pen.write(LifeEvent("response.completed", final))
            case "failed":
                return begin + self._pen.write(LifeEvent("response.failed", final))
            case _:
                return begin + self._pen.write(LifeEvent("response.incomplete", final))

    def failing(self, failure: Failure) -> bytes:
        """Gives the event of an error that comes after the head; nothing follows it."""
        client_is_wrong = failure.kind == "invalid_request_error"
        code = _OWN_CODES.get(failure.code or "") or ("invalid_prompt" if client_is_wrong else "server_error")
        failed = self._respond("failed", Trouble(code, failure.message))
        return self._begin() + self._pen.write(LifeEvent("response.failed", failed))

    def current(self) -> Response:
        """Gives the response as it stands."""
        return self._final or self._respond("in_progress")

    def finish(self) -> Response:
        """Gives the response that all of it adds up to; what is not at its end by itself was cancelled."""
        if self._final is None:
            self._last_words = self._close("incomplete")
            self._final = self._conclude()
        return self._final

    def _conclude(self) -> Response:
        if self._end is None:
            return self._respond("cancelled")
        if self._end.reason == "length":
            return msgspec.structs.replace(self._respond("incomplete"), incomplete_details=Incomplete())
        if self._task.must_act and all(isinstance(item, ReasoningItem) for item in self._items):
            return self._respond("failed", _SAID_NOTHING)
        return msgspec.structs.replace(self._respond("completed"), completed_at=int(self._now_epoch_s()))

    def _respond(self, status: Status, error: Trouble | None = None) -> Response:
        usage = None if self._end is None else to_usage(self._end)
        output = [*self._items, *([] if self._open is None else [self._open.item("in_progress")])]
        return msgspec.structs.replace(self._response, status=status, error=error, output=output, usage=usage)

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        body = encode(self._response)
        return b"".join(
            self._pen.write_encoded(name, b'{"type":"%b","response":%b}' % (name.encode(), body))
            for name in ("response.created", "response.in_progress")
        )

    def _write_text(self, event: TextDelta) -> bytes:
        if isinstance(self._open, TextWriter):
            return self._open.add(event.text, event.logprobs)
        self._held.append(event)
        return self._release() if event.text.strip() else b""

    def _release(self) -> bytes:
        """Begins a message with the text that was held back."""
        writer = TextWriter(self._pen, self._next_index())
        opening = self._switch(writer)
        held, self._held = self._held, []
        return opening + b"".join(writer.add(event.text, event.logprobs) for event in held)

    def _write_reasoning(self, text: str) -> bytes:
        opening = b""
        writer = self._open
        if not isinstance(writer, ReasoningWriter):
            self._held.clear()
            writer = ReasoningWriter(self._pen, self._next_index(), seals=self._seals)
            opening = self._switch(writer)
        return opening + writer.add(text)

    def _begin_call(self, event: CallBegun) -> bytes:
        self._held.clear()
        tool = self._task.toolbox.find(event.name)
        kind = CustomWriter if tool.custom else FunctionWriter
        return self._switch(kind(self._pen, self._next_index(), event.id, tool))

    def _finish(self, event: Finished) -> bytes:
        self._end = event
        # Who offers no tools gets what the model said, be it blank or nothing at all.
        speech = self._release() if self._open is None and not self._items and not self._task.must_act else b""
        return speech + self._close("incomplete" if event.reason == "length" else "completed")

    def _next_index(self) -> int:
        return len(self._items) + (self._open is not None)

    def _switch(self, writer: ItemWriter) -> bytes:
        """Ends the item that is open, and begins another."""
        closing = self._close("completed")
        self._open = writer
        return closing + writer.open()

    def _close(self, status: ItemStatus) -> bytes:
        writer = self._open
        if writer is None:
            return b""
        self._open = None
        closing = writer.close(status)
        self._items.append(writer.item(status))
        return closing
