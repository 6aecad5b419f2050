"""What Ollama's clients are answered: events to lines of JSON, or to one object.

A call is sent whole, as its arguments are an object there; until it is, what is streamed are empty lines.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from ...runtime.events import (
    Admitted,
    CallBegun,
    CallDelta,
    Event,
    Finished,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    TopLogprob,
)
from ..errors import Failure
from .arguments import to_object

_encode = msgspec.json.Encoder().encode
_NS = 1_000_000_000
_LEAST_LOGPROB = -9999.0
"""What stands for minus infinity, which JSON has not."""


class Function(msgspec.Struct, frozen=True):
    """The function of a call."""

    index: int
    """Number of the call within the answer."""
    name: str
    arguments: msgspec.Raw
    """An object."""


class ToolCall(msgspec.Struct, frozen=True):
    """A call the model makes."""

    id: str
    function: Function


class ChatMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the model says, or a piece of it."""

    role: str
    content: str
    thinking: str = ""
    tool_calls: list[ToolCall] = []


class TopEntry(msgspec.Struct, frozen=True):
    """One candidate at a position."""

    token: str
    logprob: float
    bytes: list[int]


class LogprobEntry(TopEntry, frozen=True, omit_defaults=True):
    """The chosen token at a position."""

    top_logprobs: list[TopEntry] = []


class Ending(msgspec.Struct, frozen=True):
    """What the last line of an answer says beside its text; durations are in nanoseconds."""

    done: bool
    done_reason: str
    total_duration: int
    load_duration: int
    prompt_eval_count: int
    prompt_eval_duration: int
    eval_count: int
    eval_duration: int


class ErrorAnswer(msgspec.Struct, frozen=True):
    """What is answered in place of anything else when something went wrong."""

    error: str


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """How long a request has taken so far."""

    read_load_s: Callable[[], float | None]
    """How long it waited for its model to be in memory; None while it does."""
    started_s: float
    """By time.monotonic()."""

    def total_ns(self) -> int:
        """All of it until now."""
        return to_ns(time.monotonic() - self.started_s)

    def load_ns(self) -> int:
        """The wait for the model."""
        return to_ns(self.read_load_s() or 0.0)


def to_error(failure: Failure) -> ErrorAnswer:
    """Puts a failure into Ollama's error object."""
    return ErrorAnswer(failure.message)


def to_ns(seconds: float) -> int:
    """Gives seconds as Ollama writes them."""
    return int(seconds * _NS)


def to_time(epoch_s: float) -> str:
    """Writes a time of the wall clock as RFC 3339."""
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class _Answer(ABC):
    """One answer as it grows: its lines, or all of it at its end."""

    def __init__(self, model: str, stopwatch: Stopwatch) -> None:
        self._model = model
        self._stopwatch = stopwatch
        self._head = b""
        self._call: CallBegun | None = None
        self._arguments: list[str] = []
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[ToolCall] = []
        self._logprobs: list[LogprobEntry] = []
        self._finished: Finished | None = None
        self._keeps = False

    def to_wire(self, batch: Iterable[Event]) -> bytes:
        """Gives the lines for what arrived, one for each token."""
        self._write_head()
        lines: list[bytes] = []
        for event in batch:
            if self._call is not None and not isinstance(event, CallDelta):
                lines.append(self._end_call(self._call))
            match event:
                case TextDelta():
                    lines.append(self._line(self._text(event.text), to_logprobs(event.logprobs)))
                case ReasoningDelta():
                    lines.append(self._line(self._thinking(event.text)))
                case CallBegun():
                    self._call, self._arguments = event, []
                case CallDelta():
                    self._arguments.append(event.text)
                case Admitted():
                    self._model = event.model
                    lines.append(self.heartbeat())
                case Finished():
                    self._finished = event
        return b"".join(lines)

    def heartbeat(self) -> bytes:
        """Gives a line without text."""
        self._write_head()
        return self._line(self._text(""))

    def ending(self) -> bytes:
        """Gives the last line."""
        self._write_head()
        return self._head + self._text("") + b"," + _encode(self._ending())[1:] + b"\n"

    def failing(self, failure: Failure) -> bytes:
        """Gives the line of an error that comes after the head; nothing follows it."""
        return _encode(to_error(failure)) + b"\n"

    def take(self, batch: Iterable[Event]) -> None:
        """Takes in what arrived of an answer that is given whole."""
        for event in batch:
            if self._call is not None and not isinstance(event, CallDelta):
                self._calls.append(self._made(self._call))
                self._call = None
            match event:
                case TextDelta():
                    self._texts.append(event.text)
                    self._logprobs += to_logprobs(event.logprobs)
                case ReasoningDelta():
                    self._thoughts.append(event.text)
                case CallBegun():
                    self._call, self._arguments = event, []
                case CallDelta():
                    self._arguments.append(event.text)
                case Admitted():
                    self._model = event.model
                case Finished():
                    self._finished = event

    def whole(self) -> bytes:
        """Gives the answer as one object."""
        self._write_head()
        logprobs = b',"logprobs":' + _encode(self._logprobs) if self._logprobs else b""
        said = self._said("".join(self._texts), "".join(self._thoughts), self._calls)
        return self._head + said + logprobs + b"," + _encode(self._ending())[1:]

    def only_loaded(self, reason: str) -> bytes:
        """Gives the answer to a request that asks for no text."""
        self._write_head()
        return self._head + self._text("") + b',"done":true,"done_reason":' + _encode(reason) + b"}\n"

    @abstractmethod
    def _said(self, text: str, thinking: str, calls: list[ToolCall]) -> bytes:
        """Gives the fields of all that was said."""

    @abstractmethod
    def _text(self, text: str) -> bytes:
        """Gives the field of a piece of text."""

    @abstractmethod
    def _thinking(self, text: str) -> bytes:
        """Gives the fields of a piece of reasoning."""

    def _write_head(self) -> None:
        """Makes anew what each line begins with."""
        self._head = b'{"model":' + _encode(self._model) + b',"created_at":"' + to_time(time.time()).encode() + b'",'

    def _line(self, fields: bytes, logprobs: list[LogprobEntry] | None = None) -> bytes:
        more = b',"logprobs":' + _encode(logprobs) if logprobs else b""
        return self._head + fields + more + b',"done":false}\n'

    def _end_call(self, begun: CallBegun) -> bytes:
        self._call = None
        return self._line(self._said("", "", [self._made(begun)]))

    def _made(self, begun: CallBegun) -> ToolCall:
        return ToolCall(begun.id, Function(begun.call, begun.name, to_object("".join(self._arguments))))

    def _ending(self) -> Ending:
        finished = self._finished or Finished(0, "stop", 0, 0)
        return Ending(
            done=True,
            done_reason="length" if finished.reason == "length" else "stop",
            total_duration=self._stopwatch.total_ns(),
            load_duration=self._stopwatch.load_ns(),
            prompt_eval_count=finished.prompt_tokens,
            prompt_eval_duration=to_ns(finished.prefill_s),
            eval_count=finished.completion_tokens,
            eval_duration=to_ns(finished.decode_s),
        )


class ChatAnswer(_Answer):
    """The answer of `/api/chat`."""

    def _said(self, text: str, thinking: str, calls: list[ToolCall]) -> bytes:
        return b'"message":' + _encode(ChatMessage("assistant", text, thinking, calls))

    def _text(self, text: str) -> bytes:
        return b'"message":{"role":"assistant","content":' + _encode(text) + b"}"

    def _thinking(self, text: str) -> bytes:
        return b'"message":{"role":"assistant","content":"","thinking":' + _encode(text) + b"}"


class GenerateAnswer(_Answer):
    """The answer of `/api/generate`."""

    def _said(self, text: str, thinking: str, calls: list[ToolCall]) -> bytes:
        more = b',"thinking":' + _encode(thinking) if thinking else b""
        return b'"response":' + _encode(text) + more + (b',"tool_calls":' + _encode(calls) if calls else b"")

    def _text(self, text: str) -> bytes:
        return b'"response":' + _encode(text)

    def _thinking(self, text: str) -> bytes:
        return b'"response":"","thinking":' + _encode(text)


def to_logprobs(tokens: Iterable[TokenLogprob]) -> list[LogprobEntry]:
    """Puts logprobs into Ollama's form."""
    return [
        LogprobEntry(_text_of(token), _logprob(token), list(token.text), [_to_top(top) for top in token.top])
        for token in tokens
    ]


def _to_top(token: TopLogprob) -> TopEntry:
    return TopEntry(_text_of(token), _logprob(token), list(token.text))


def _text_of(token: TokenLogprob | TopLogprob) -> str:
    return token.text.decode("utf-8", "replace")


def _logprob(token: TokenLogprob | TopLogprob) -> float:
    return max(token.logprob, _LEAST_LOGPROB)
