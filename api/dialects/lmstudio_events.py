"""The named events that a stateful chat is streamed as.

After https://lmstudio.ai/docs/developer/rest/streaming-events. A stream begins with `chat.start` and ends with
`chat.end`, which holds the whole answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from ...runtime.events import Admitted, CallBegun, CallDelta, Event, Finished, ReasoningDelta, TextDelta
from ...runtime.models.model import ModelStatus
from ..errors import Failure
from .lmstudio_chat import CallFault, ChatAnswer, Reply, no_tool
from .lmstudio_v1 import ErrorBody, to_error


class Plain(msgspec.Struct, frozen=True):
    """An event that says no more than its name."""

    type: str


class Delta(msgspec.Struct, frozen=True):
    """New text."""

    type: str
    content: str


class Progress(msgspec.Struct, frozen=True):
    """How far reading the prompt has come."""

    progress: float
    type: str = "prompt_processing.progress"


class Start(msgspec.Struct, frozen=True):
    """Which model answers, or is loaded for it."""

    type: str
    model_instance_id: str


class LoadProgress(msgspec.Struct, frozen=True):
    """How far loading has come."""

    model_instance_id: str
    progress: float
    type: str = "model_load.progress"


class LoadEnd(msgspec.Struct, frozen=True):
    """The model is loaded."""

    model_instance_id: str
    load_time_seconds: float
    type: str = "model_load.end"


class CallFailure(msgspec.Struct, frozen=True):
    """A call could not be made."""

    reason: str
    metadata: CallFault
    type: str = "tool_call.failure"


class ErrorEvent(msgspec.Struct, frozen=True):
    """Something went wrong on the way."""

    error: ErrorBody
    type: str = "error"


class End(msgspec.Struct, frozen=True):
    """The whole answer once more."""

    result: ChatAnswer
    type: str = "chat.end"


AnyEvent = Plain | Delta | Progress | Start | LoadProgress | LoadEnd | CallFailure | ErrorEvent | End


class ChatStream:
    """Turns the events of a chat into LM Studio's named ones."""

    def __init__(
        self, reply: Reply, name: str, *, read_status: Callable[[], ModelStatus | None], keep: Callable[[], None]
    ) -> None:
        """Writes nothing yet.

        Args:
            reply: gathers the answer meanwhile.
            name: what the model was asked for by.
            read_status: gives how the model stands now.
            keep: called once the answer is whole.
        """
        self._reply = reply
        self._name = name
        self._read_status = read_status
        self._keep = keep
        self._started = False
        self._loading = False
        self._reading = False
        self._open: Literal["message", "reasoning"] | None = None

    def to_wire(self, batch: Iterable[Event]) -> bytes:
        """Gives the named events for what arrived."""
        events = list(batch)
        self._reply.add(events)
        said: list[AnyEvent] = []
        for event in events:
            match event:
                case Admitted():
                    said += self._admit(event)
                case TextDelta():
                    said += self._write("message", event.text)
                case ReasoningDelta():
                    said += self._write("reasoning", event.text)
                case CallBegun():
                    said += self._turn(None)
                    said.append(CallFailure(no_tool(event.name), CallFault(event.name)))
                case Finished():
                    said += self._turn(None)
                case CallDelta():
                    pass
        return _written(said)

    def heartbeat(self) -> bytes:
        """Gives how far loading or reading has come, or an empty text; a comment where nothing else fits."""
        if self._open is not None:
            return _written([Delta(f"{self._open}.delta", "")])
        if self._reading:
            return _written([Progress(0.0)])
        status = self._read_status()
        said = self._begin()
        if status is not None and status.state == "loading":
            said += self._begin_load()
            if status.progress is not None:
                said.append(LoadProgress(self._model, status.progress))
        return _written(said) or b": ping\n\n"

    def ending(self) -> bytes:
        """Gives the last event, with the whole answer."""
        self._keep()
        return _written([End(self._reply.answer(self._name))])

    def failing(self, failure: Failure) -> bytes:
        """Gives the event of an error, and the last one with what there is of the answer."""
        self._reply.response_id = None
        said = [*self._begin(), *self._turn(None)]
        return _written([*said, ErrorEvent(to_error(failure).error), End(self._reply.answer(self._name))])

    @property
    def _model(self) -> str:
        return self._reply.model or self._name

    def _admit(self, event: Admitted) -> list[AnyEvent]:
        said = self._begin()
        status = self._read_status()
        self._reply.note_load(None if status is None else status.load_s)
        if (load_s := self._reply.load_s) is not None:
            said += [*self._begin_load(), LoadEnd(event.model, load_s)]
        self._reading = True
        return [*said, Plain("prompt_processing.start")]

    def _begin(self) -> list[AnyEvent]:
        if self._started:
            return []
        self._started = True
        return [Start("chat.start", self._model)]

    def _begin_load(self) -> list[AnyEvent]:
        if self._loading:
            return []
        self._loading = True
        return [Start("model_load.start", self._model)]

    def _write(self, kind: Literal["message", "reasoning"], text: str) -> list[AnyEvent]:
        said = self._turn(kind)
        if text:
            said.append(Delta(f"{kind}.delta", text))
        return said

    def _turn(self, kind: Literal["message", "reasoning"] | None) -> list[AnyEvent]:
        """Closes what is open and opens what is meant, where these are not the same."""
        said: list[AnyEvent] = []
        if self._reading:
            self._reading = False
            said.append(Plain("prompt_processing.end"))
        if kind != self._open:
            if self._open is not None:
                said.append(Plain(f"{self._open}.end"))
            if kind is not None:
                said.append(Plain(f"{kind}.start"))
            self._open = kind
        return said


def _written(events: Iterable[AnyEvent]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (event.type.encode(), msgspec.json.encode(event)) for event in events)
