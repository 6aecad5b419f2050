"""The events that Anthropic's clients are streamed, as server-sent events.

After https://docs.anthropic.com/en/docs/build-with-claude/streaming. Blocks are numbered and never overlap; each opens empty,
because clients add the deltas to what its start holds; a thought is signed before it closes.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ...runtime.events import Admitted, CallBegun, CallDelta, Event, Finished, ReasoningDelta, TextDelta
from ..errors import Failure
from .anthropic_answers import SIGNATURE, MessageAnswer, StopReason, Usage, to_error, to_stop_reason, to_usage

_encode = msgspec.json.Encoder().encode
_PING = b'event: ping\ndata: {"type":"ping"}\n\n'
_NO_CHANGE = b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":null,"stop_sequence":null}}\n\n'
"""Changes nothing of a message, but is seen behind an SDK, which keeps pings to itself."""
_END = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_DELTA_END = b"}}\n\n"


class MessageStart(msgspec.Struct, frozen=True, tag_field="type", tag="message_start"):
    """The first event: the message, still empty."""

    message: MessageAnswer


class Ending(msgspec.Struct, frozen=True):
    """Why a message ended."""

    stop_reason: StopReason
    stop_sequence: str | None


class MessageDelta(msgspec.Struct, frozen=True, tag_field="type", tag="message_delta"):
    """What is known of a message at its end."""

    delta: Ending
    usage: Usage
    """Counts of the whole message."""


class MessageStream:
    """Turns the events of an answer into those of its stream.

    A delta is put together from bytes made once per block, and only the new text is encoded: this is the one place that
    runs for every token of every stream.
    """

    def __init__(self, message_id: str, *, counts_pings: bool = True) -> None:
        """Begins a stream.

        Args:
            message_id: the message's id.
            counts_pings: whether the client takes a ping for a sign of life.
        """
        self._id = message_id
        self._heartbeat = _PING if counts_pings else _PING + _NO_CHANGE
        self._index = -1
        """Number of the newest block."""
        self._open: type[TextDelta | ReasoningDelta | CallDelta] | None = None
        """What the open block is made of; None where none is open."""
        self._delta_head = b""

    def to_wire(self, batch: Iterable[Event]) -> bytes:
        """Gives the server-sent events for what arrived, a token each."""
        encode = _encode
        parts: list[bytes] = []
        for event in batch:
            if isinstance(event, TextDelta | ReasoningDelta | CallDelta):
                if not event.text:
                    continue
                if type(event) is not self._open:
                    parts.append(self._turn_to(event))
                parts += (self._delta_head, encode(event.text), _DELTA_END)
            elif isinstance(event, CallBegun):
                parts.append(self._begin_call(event))
            elif isinstance(event, Admitted):
                parts.append(self._begin(event))
            else:
                parts.append(self._finish(event))
        return b"".join(parts)

    def heartbeat(self) -> bytes:
        """Gives the event that means nothing; clients take it at any time, also before the message begins."""
        return self._heartbeat

    def ending(self) -> bytes:
        """Gives the last event."""
        return _END

    def failing(self, failure: Failure) -> bytes:
        """Gives the event of an error that comes after the head; nothing follows it."""
        return b"event: error\ndata: " + _encode(to_error(failure)) + b"\n\n"

    def _begin(self, event: Admitted) -> bytes:
        usage = Usage(event.prompt_tokens, 0, 0, 0)
        start = MessageStart(MessageAnswer(self._id, "assistant", event.model, [], None, None, usage))
        return b"event: message_start\ndata: " + _encode(start) + b"\n\n" + _PING

    def _turn_to(self, event: TextDelta | ReasoningDelta | CallDelta) -> bytes:
        if isinstance(event, TextDelta):
            return self._begin_block(TextDelta, b'{"type":"text","text":""}', b"text_delta", b"text")
        if isinstance(event, ReasoningDelta):
            block = b'{"type":"thinking","thinking":"","signature":""}'
            return self._begin_block(ReasoningDelta, block, b"thinking_delta", b"thinking")
        raise AssertionError("arguments came without the call that they are of")

    def _begin_call(self, event: CallBegun) -> bytes:
        block = b'{"type":"tool_use","id":' + _encode(event.id) + b',"name":' + _encode(event.name) + b',"input":{}}'
        start = self._begin_block(CallDelta, block, b"input_json_delta", b"partial_json")
        return start + self._delta_head + b'""' + _DELTA_END

    def _begin_block(
        self, kind: type[TextDelta | ReasoningDelta | CallDelta], block: bytes, delta: bytes, field: bytes
    ) -> bytes:
        """Ends the block before and begins one; `field` is where its deltas have their text."""
        before = self._end_block()
        self._index += 1
        self._open = kind
        self._delta_head = self._event(b"content_block_delta") + b',"delta":{"type":"%b","%b":' % (delta, field)
        return before + self._event(b"content_block_start") + b',"content_block":' + block + b"}\n\n"

    def _end_block(self) -> bytes:
        if self._open is None:
            return b""
        signature = b""
        if self._open is ReasoningDelta:
            delta = b',"delta":{"type":"signature_delta","signature":' + _encode(SIGNATURE)
            signature = self._event(b"content_block_delta") + delta + _DELTA_END
        self._open = None
        return signature + self._event(b"content_block_stop") + b"}\n\n"

    def _finish(self, event: Finished) -> bytes:
        delta = MessageDelta(Ending(to_stop_reason(event), event.stop_text), to_usage(event))
        return self._end_block() + b"event: message_delta\ndata: " + _encode(delta) + b"\n\n"

    def _event(self, kind: bytes) -> bytes:
        """The beginning of an event about the newest block."""
        return b'event: %b\ndata: {"type":"%b","index":%d' % (kind, kind, self._index)
