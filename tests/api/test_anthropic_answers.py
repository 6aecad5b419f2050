"""Events to Anthropic's whole messages and streams, read back with Anthropic's own types and accumulation."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import msgspec
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, MessageTokensCount, ModelInfo, RawMessageStreamEvent
from pydantic import TypeAdapter

from impetus.api.dialects.anthropic_answers import (
    Collected,
    CountAnswer,
    ModelEntry,
    to_error,
    to_model_page,
)
from impetus.api.dialects.anthropic_stream import MessageStream
from impetus.api.errors import Failure, describe
from impetus.runtime.errors import ContextOverflow, InvalidRequest
from impetus.runtime.events import Admitted, CallBegun, CallDelta, Event, Finished, ReasoningDelta, TextDelta

TRICKY = 'a "b"\n\u2028é😀\\'

PLAIN: list[Event] = [
    Admitted("served", 7, 100),
    TextDelta(0, TRICKY),
    TextDelta(0, "!"),
    Finished(0, "stop", 7, 2, cached_tokens=3),
]
AGENT: list[Event] = [
    Admitted("served", 40, 100),
    ReasoningDelta(0, "I should "),
    ReasoningDelta(0, "look."),
    TextDelta(0, "Let me "),
    TextDelta(0, "look."),
    CallBegun(0, 0, "call_a", "Read"),
    CallDelta(0, 0, '{"path": "'),
    CallDelta(0, 0, f"{TRICKY[0]}.txt"),
    CallDelta(0, 0, '"}'),
    CallBegun(0, 1, "call_b", "Now"),
    Finished(0, "tool_calls", 40, 20, reasoning_tokens=4),
]
STOPPED: list[Event] = [Admitted("served", 3, 100), TextDelta(0, "up to"), Finished(0, "stop", 3, 2, stop_text="END")]
CUT: list[Event] = [
    Admitted("served", 3, 100),
    CallBegun(0, 0, "call_a", "Write"),
    CallDelta(0, 0, '{"path": "x", "text": "half a'),
    Finished(0, "length", 3, 9),
]
THOUGHT_ONLY: list[Event] = [Admitted("served", 3, 100), ReasoningDelta(0, "hm"), Finished(0, "length", 3, 1)]
SILENT: list[Event] = [Admitted("served", 3, 100), Finished(0, "stop", 3, 0)]
INTERLEAVED: list[Event] = [
    Admitted("served", 3, 100),
    TextDelta(0, "one"),
    ReasoningDelta(0, "two"),
    TextDelta(0, ""),
    ReasoningDelta(0, "three"),
    TextDelta(0, "four"),
    CallBegun(0, 0, "call_a", "Run"),
    CallDelta(0, 0, "{}"),
    TextDelta(0, "five"),
    Finished(0, "tool_calls", 3, 9),
]
EVERY = [PLAIN, AGENT, STOPPED, CUT, THOUGHT_ONLY, SILENT, INTERLEAVED]

FACTS: dict[str, set[str]] = {
    "message_start": {"message"},
    "content_block_start": {"index", "content_block"},
    "content_block_delta": {"index", "delta"},
    "content_block_stop": {"index"},
    "message_delta": {"delta", "usage"},
    "message_stop": set(),
    "ping": set(),
    "error": {"error", "request_id"},
}
"""What each event has besides its type."""
BLOCKS: dict[str, dict[str, object]] = {
    "text": {"text": ""},
    "thinking": {"thinking": "", "signature": ""},
    "tool_use": {"input": {}},
}
"""What the start of a block has that deltas are added to."""
DELTAS: dict[str, tuple[str, str]] = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("signature", "thinking"),
    "input_json_delta": ("partial_json", "tool_use"),
}
"""Where each delta has its text, and in which block it may come."""
START_FIELDS = {"type", "id", "role", "model", "content", "stop_reason", "stop_sequence", "usage"}
USAGE_FIELDS = {"input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"}


def whole(events: Sequence[Event]) -> Message:
    collected = Collected("msg_1")
    collected.add(events[:2])
    collected.add(events[2:])
    return Message.model_validate(msgspec.json.decode(msgspec.json.encode(collected.whole())))


def stream(events: Sequence[Event], *, in_batches_of: int = 1) -> bytes:
    wire = MessageStream("msg_1")
    batches = [events[at : at + in_batches_of] for at in range(0, len(events), in_batches_of)]
    return b"".join(wire.to_wire(batch) for batch in batches) + wire.ending()


def read_events(wire: bytes) -> list[dict]:
    """Reads server-sent events and checks that each names its type twice and has the fields it must have."""
    assert wire.endswith(b"\n\n")
    read: list[dict] = []
    for text in wire.decode().removesuffix("\n\n").split("\n\n"):
        name, data = text.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        assert set(event) == {"type"} | FACTS[event["type"]]
        read.append(event)
    return read


def accumulate(events: Iterable[dict]) -> Message:
    """Puts a stream together as Anthropic's own client does, after its types were checked."""
    message = None
    buffers: dict[int, bytes] = {}
    for event in events:
        if event["type"] == "ping":
            continue
        checked = TypeAdapter[RawMessageStreamEvent](RawMessageStreamEvent).validate_python(event)
        message = accumulate_event(event=checked, current_snapshot=message, json_bufs=buffers)
    assert message is not None
    return message


def plain(message: Message) -> dict:
    return message.model_dump(mode="json", exclude_none=True, exclude={"usage": {"output_tokens_details"}}, warnings=False)


@pytest.mark.parametrize("events", EVERY)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_stream_put_together_is_the_whole_message(events: list[Event], size: int) -> None:
    assert plain(accumulate(read_events(stream(events, in_batches_of=size)))) == plain(whole(events))


@pytest.mark.parametrize("events", EVERY)
def test_blocks_are_numbered_and_never_overlap(events: list[Event]) -> None:
    read = read_events(stream(events))
    assert [event["type"] for event in read[:2]] == ["message_start", "ping"]
    assert [event["type"] for event in read[-2:]] == ["message_delta", "message_stop"]
    start = read[0]["message"]
    assert set(start) == START_FIELDS
    assert (start["type"], start["role"], start["content"], start["stop_reason"]) == ("message", "assistant", [], None)
    assert set(start["usage"]) == USAGE_FIELDS
    expected, kind, deltas = 0, None, list[str]()
    for event in read[2:-2]:
        assert event["index"] == expected
        match event["type"]:
            case "content_block_start":
                assert kind is None
                kind = event["content_block"]["type"]
                assert BLOCKS[kind].items() <= event["content_block"].items()
                if kind == "tool_use":
                    assert event["content_block"]["id"]
                    assert event["content_block"]["name"]
            case "content_block_delta":
                field, within = DELTAS[event["delta"]["type"]]
                assert set(event["delta"]) == {"type", field}
                assert isinstance(event["delta"][field], str)
                assert within == kind
                deltas.append(event["delta"]["type"])
            case _:
                assert event["type"] == "content_block_stop"
                assert (kind == "thinking") == (deltas[-1] == "signature_delta")
                expected, kind, deltas = expected + 1, None, []
    assert kind is None


def test_a_token_is_an_event_of_its_own() -> None:
    read = read_events(MessageStream("m").to_wire([Admitted("m", 1, 9), *(TextDelta(0, str(number)) for number in range(50))]))
    assert [event["delta"]["text"] for event in read if event["type"] == "content_block_delta"] == [
        str(number) for number in range(50)
    ]


def test_a_whole_message_thinks_speaks_and_calls() -> None:
    message = whole(AGENT)
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "tool_use"]
    thinking, text, read, now = message.content
    assert (thinking.thinking, bool(thinking.signature)) == ("I should look.", True)
    assert text.text == "Let me look."
    assert (read.id, read.name, read.input) == ("call_a", "Read", {"path": "a.txt"})
    assert (now.id, now.name, now.input) == ("call_b", "Now", {})
    assert (message.id, message.model, message.stop_reason, message.stop_sequence) == ("msg_1", "served", "tool_use", None)
    assert message.usage.output_tokens_details is not None
    assert message.usage.output_tokens_details.thinking_tokens == 4


def test_arguments_come_in_pieces_and_the_first_is_empty() -> None:
    deltas = [event["delta"] for event in read_events(stream(AGENT)) if event["type"] == "content_block_delta"]
    pieces = [delta["partial_json"] for delta in deltas if delta["type"] == "input_json_delta"]
    assert pieces == ["", '{"path": "', "a.txt", '"}', ""]


@pytest.mark.parametrize(
    ("events", "reason", "sequence"),
    [(PLAIN, "end_turn", None), (AGENT, "tool_use", None), (STOPPED, "stop_sequence", "END"), (CUT, "max_tokens", None)],
)
def test_why_it_ended(events: list[Event], reason: str, sequence: str | None) -> None:
    assert (whole(events).stop_reason, whole(events).stop_sequence) == (reason, sequence)
    delta = next(event for event in read_events(stream(events)) if event["type"] == "message_delta")["delta"]
    assert delta == {"stop_reason": reason, "stop_sequence": sequence}


def test_the_counts_of_the_input_add_up_to_the_prompt() -> None:
    usage = whole(PLAIN).usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (4, 3, 0)
    assert usage.output_tokens == 2
    read = read_events(stream(PLAIN))
    assert read[0]["message"]["usage"]["input_tokens"] == 7
    assert read[-2]["usage"] == {
        "input_tokens": 4,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 3,
        "output_tokens": 2,
    }


def test_a_call_that_was_cut_has_what_is_whole_of_it() -> None:
    [call] = whole(CUT).content
    assert call.input == {"path": "x"}


def test_arguments_stay_as_they_were_written() -> None:
    collected = Collected("m")
    collected.add([CUT[0], CUT[1], CallDelta(0, 0, '{"b": 1.50,  "a": 1e3}'), Finished(0, "tool_calls", 1, 1)])
    assert b'"input":{"b": 1.50,  "a": 1e3}' in msgspec.json.encode(collected.whole())


def test_a_ping_may_come_at_any_time() -> None:
    wire = MessageStream("msg_1")
    pieces = [wire.heartbeat()]
    for event in AGENT:
        pieces += [wire.to_wire([event]), wire.heartbeat()]
    assert plain(accumulate(read_events(b"".join(pieces) + wire.ending()))) == plain(whole(AGENT))


def test_an_error_within_a_stream_is_an_event() -> None:
    wire = MessageStream("msg_1")
    wire.to_wire(PLAIN[:2])
    [event] = read_events(wire.failing(Failure(503, "server_error", "The engine ended.")))
    assert event == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "The engine ended."},
        "request_id": None,
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (405, "invalid_request_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (529, "overloaded_error"),
    ],
)
def test_the_status_says_the_type_of_an_error(status: int, kind: str) -> None:
    error = msgspec.to_builtins(to_error(Failure(status, "any", "words", request_id="abc")))
    assert error == {"type": "error", "error": {"type": kind, "message": "words"}, "request_id": "abc"}


def test_a_prompt_that_does_not_fit_is_told_in_the_words_that_clients_know() -> None:
    error = to_error(describe(ContextOverflow(9000, 8192))).error
    assert (error.type, error.message) == ("invalid_request_error", "prompt is too long: 9000 tokens > 8192 maximum")


def test_a_count_and_a_model_are_the_clients_own_types() -> None:
    assert MessageTokensCount.model_validate(msgspec.to_builtins(CountAnswer(7)), strict=True).input_tokens == 7
    model = ModelInfo.model_validate(msgspec.to_builtins(entries(1)[0]))
    assert (model.type, model.id, model.max_input_tokens) == ("model", "m0", 4096)


def entries(count: int) -> list[ModelEntry]:
    return [ModelEntry(f"m{at}", f"m{at}", "2026-01-02T03:04:05Z", "active", 4096) for at in range(count)]


@pytest.mark.parametrize(
    ("limit", "after", "before", "ids", "more"),
    [
        (None, None, None, ["m0", "m1", "m2", "m3"], False),
        ("2", None, None, ["m0", "m1"], True),
        ("2", "m1", None, ["m2", "m3"], False),
        ("1", "m1", None, ["m2"], True),
        ("2", None, "m3", ["m1", "m2"], True),
        ("9", None, "m2", ["m0", "m1"], False),
        ("9", "m3", None, [], False),
    ],
)
def test_pages_of_models(limit: str | None, after: str | None, before: str | None, ids: list[str], more: bool) -> None:
    page = to_model_page(entries(4), limit=limit, after=after, before=before)
    assert ([entry.id for entry in page.data], page.has_more) == (ids, more)
    assert (page.first_id, page.last_id) == ((ids[0], ids[-1]) if ids else (None, None))


@pytest.mark.parametrize("limit", ["0", "1001", "x", "-1", "٣", "9" * 20])
def test_a_page_has_1_to_1000_models(limit: str) -> None:
    with pytest.raises(InvalidRequest, match="1 to 1000"):
        to_model_page(entries(1), limit=limit, after=None, before=None)


@pytest.mark.parametrize("side", ["after", "before"])
def test_a_page_that_goes_on_from_nowhere_is_refused(side: str) -> None:
    with pytest.raises(InvalidRequest, match="'gone' is not in the list"):
        to_model_page(entries(1), limit=None, **{"after": None, "before": None} | {side: "gone"})
