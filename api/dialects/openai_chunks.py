"""The chunks that OpenAI's clients are streamed, as server-sent events.

Every chunk is complete (id, object, created, model, choices), a stream's first has the role and an empty text, each choice
ends with a finish reason, token counts come with an empty `choices`: agents break where one of these is missing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import msgspec

from ...runtime.events import Admitted, CallBegun, CallDelta, Event, Finished, ReasoningDelta, TextDelta
from ..errors import Failure
from .openai_answers import Head, Tally, Usage, text_of, to_chat_logprobs, to_completion_logprobs, to_error

_encode = msgspec.json.Encoder().encode


class UsageChunk(Head, frozen=True, kw_only=True):
    """The chunk of a stream that holds the token counts."""

    usage: Usage
    choices: tuple[()] = ()


class _Stream(ABC):
    """What the streams of both endpoints share.

    A chunk is put together from bytes made once per stream, and only the new text is encoded: this is the one place
    that runs for every token of every stream.
    """

    def __init__(self, head: Head, *, n: int, include_usage: bool) -> None:
        self._head = head
        self._n = n
        self._include_usage = include_usage
        self._tally = Tally()
        self._first_index = 0
        """Number of the first choice of the prompt that runs."""
        self._text_heads: list[bytes] = []
        self._text_tail = b""
        self._write_heads()

    def to_wire(self, batch: Iterable[Event]) -> bytes:
        """Gives the server-sent events for what arrived, a token each."""
        heads, tail, encode = self._text_heads, self._text_tail, _encode
        parts: list[bytes] = []
        for event in batch:
            if type(event) is TextDelta:
                if event.logprobs:
                    parts.append(self._with_logprobs(event))
                else:
                    parts += (heads[event.index], encode(event.text), tail)
            elif type(event) is Admitted:
                parts.append(self._admit(event))
                heads = self._text_heads
            elif type(event) is Finished:
                self._tally.finish(event)
                parts.append(self._finish(event))
            elif isinstance(event, ReasoningDelta | CallBegun | CallDelta):
                parts.append(self._beside_text(event))
        return b"".join(parts)

    def ending(self) -> bytes:
        """Gives what follows the last choice's end."""
        done = b"data: [DONE]\n\n"
        if not self._include_usage:
            return done
        head = self._head
        usage = UsageChunk(head.id, head.object, head.created, head.model, head.system_fingerprint, usage=self._tally.usage())
        return b"data: " + _encode(usage) + b"\n\n" + done

    def failing(self, failure: Failure) -> bytes:
        """Gives the event of an error that comes after the head; nothing follows it."""
        return b"data: " + _encode(to_error(failure)) + b"\n\n"

    def _admit(self, event: Admitted) -> bytes:
        self._first_index = self._tally.prompts * self._n
        self._tally.admit(event)
        self._head = msgspec.structs.replace(self._head, model=event.model)
        self._write_heads()
        return self._opening()

    @abstractmethod
    def heartbeat(self) -> bytes:
        """Gives what keeps a waiting client waiting: a comment, and a chunk for those that do not count comments."""

    def _chunk_head(self, index: int) -> bytes:
        """Everything of a chunk before the fields of its choice."""
        return b"data: " + _encode(self._head)[:-1] + b',"choices":[{"index":%d' % (self._first_index + index)

    @abstractmethod
    def _write_heads(self) -> None:
        """Makes anew what each chunk of text begins and ends with."""

    @abstractmethod
    def _opening(self) -> bytes:
        """Gives the chunks that stand before a prompt's first text."""

    @abstractmethod
    def _finish(self, event: Finished) -> bytes:
        """Gives the chunk that ends a choice."""

    @abstractmethod
    def _beside_text(self, event: ReasoningDelta | CallBegun | CallDelta) -> bytes:
        """Gives a chunk of what is said besides the text."""

    @abstractmethod
    def _with_logprobs(self, event: TextDelta) -> bytes:
        """Gives a chunk of text with its logprobs."""


class ChatStream(_Stream):
    """Turns the events of a chat into the chunks of its stream."""

    _delta_heads: list[bytes]
    """Of chunks, up to what their delta holds."""

    def heartbeat(self) -> bytes:
        """Gives a comment and an empty text in the role's name."""
        return b": ping\n\n" + self._role(0)

    def _write_heads(self) -> None:
        self._delta_heads = [self._chunk_head(index) + b',"delta":{' for index in range(self._n)]
        self._text_heads = [head + b'"content":' for head in self._delta_heads]
        self._text_tail = b'},"finish_reason":null}]}\n\n'

    def _opening(self) -> bytes:
        return b"".join(self._role(index) for index in range(self._n))

    def _role(self, index: int) -> bytes:
        return self._chunk_head(index) + b',"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'

    def _finish(self, event: Finished) -> bytes:
        return self._chunk_head(event.index) + b',"delta":{},"finish_reason":' + _encode(event.reason) + b"}]}\n\n"

    def _beside_text(self, event: ReasoningDelta | CallBegun | CallDelta) -> bytes:
        match event:
            case ReasoningDelta():
                delta = b'"reasoning_content":' + _encode(event.text)
            case CallBegun():
                # The name and the id once, in a call's first chunk: some clients join what they get, others overwrite.
                call = {"index": event.call, "id": event.id, "type": "function"}
                function = {"name": event.name, "arguments": ""}
                delta = b'"tool_calls":[' + _encode({**call, "function": function}) + b"]"
            case CallDelta():
                delta = b'"tool_calls":[{"index":%d,"function":{"arguments":%b}}]' % (event.call, _encode(event.text))
        return self._delta_heads[event.index] + delta + self._text_tail

    def _with_logprobs(self, event: TextDelta) -> bytes:
        logprobs = _encode(to_chat_logprobs(event.logprobs))
        return (
            self._text_heads[event.index] + _encode(event.text) + b'},"logprobs":' + logprobs + b',"finish_reason":null}]}\n\n'
        )


class CompletionStream(_Stream):
    """Turns the events of a completion into the chunks of its stream."""

    def __init__(self, head: Head, *, n: int, include_usage: bool, echoes: Sequence[str] = ()) -> None:
        """Begins the stream; `echoes` has a text for each prompt that its choices begin with, () is none."""
        super().__init__(head, n=n, include_usage=include_usage)
        self._offsets = [0] * n
        self._echoes = echoes

    def heartbeat(self) -> bytes:
        """Gives a comment and an empty text."""
        return b": ping\n\n" + self._text_heads[0] + b'""' + self._text_tail

    def _write_heads(self) -> None:
        self._text_heads = [self._chunk_head(index) + b',"text":' for index in range(self._n)]
        self._text_tail = b',"logprobs":null,"finish_reason":null}]}\n\n'

    def _opening(self) -> bytes:
        self._offsets = [0] * self._n
        if not self._echoes:
            return b""
        echo = _encode(self._echoes[self._tally.prompts - 1])
        return b"".join(head + echo + self._text_tail for head in self._text_heads)

    def _finish(self, event: Finished) -> bytes:
        return self._text_heads[event.index] + b'"","logprobs":null,"finish_reason":' + _encode(event.reason) + b"}]}\n\n"

    def _beside_text(self, event: ReasoningDelta | CallBegun | CallDelta) -> bytes:
        del event  # a raw text's answer is one text, in which nothing is told apart
        return b""

    def _with_logprobs(self, event: TextDelta) -> bytes:
        logprobs = _encode(to_completion_logprobs(event.logprobs, self._offsets[event.index]))
        self._offsets[event.index] += sum(len(text_of(token)) for token in event.logprobs)
        return (
            self._text_heads[event.index] + _encode(event.text) + b',"logprobs":' + logprobs + b',"finish_reason":null}]}\n\n'
        )
