"""The runtime's events to those of the Responses API, from event lists made by hand."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable

import msgspec
import pytest
from openai.types.responses import Response
from response_events import check_response, read_stream

from impetus.api.dialects import responses
from impetus.api.dialects.responses_input import SEALED
from impetus.api.dialects.responses_stream import ResponseStream
from impetus.api.errors import Failure
from impetus.runtime.events import (
    Admitted,
    CallBegun,
    CallDelta,
    Event,
    Finished,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
)

ADMITTED = Admitted("real", 7, 100)
TOOLS = [
    {"type": "function", "name": "read", "parameters": {"type": "object"}},
    {"type": "namespace", "name": "agents", "description": "Others.", "tools": [{"type": "function", "name": "ask"}]},
    {"type": "custom", "name": "apply_patch"},
    {"type": "web_search"},
]


def stream(**fields: object) -> ResponseStream:
    written = json.dumps({"model": "m", "input": "hi"} | fields).encode()
    body = responses.RESPONSES.decode(written)
    task = responses.to_task(body, [], body.items)
    return ResponseStream(body, written, task, stored=False, now_epoch_s=lambda: 1000.5)


def end(reason: str = "stop", *, tokens: int = 5, cached: int = 3, reasoning: int = 2) -> Finished:
    return Finished(0, reason, 7, tokens, cached, reasoning_tokens=reasoning)


def play(events: Iterable[Event], **fields: object) -> list[dict]:
    wire = stream(**fields)
    return read_stream(b"".join([wire.to_wire([event]) for event in [ADMITTED, *events]]) + wire.ending())


def types(events: list[dict]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def test_a_text() -> None:
    events = play([TextDelta(0, "Hé"), TextDelta(0, "llo"), end()])
    assert types(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert events[0]["response"]["model"] == "real"
    assert events[0]["response"]["status"] == "in_progress"
    assert events[2]["item"]["status"] == "in_progress"
    assert events[2]["item"]["content"] == []
    assert events[4]["logprobs"] == []
    assert events[6]["text"] == "Héllo"
    final = events[-1]["response"]
    assert final["status"] == "completed"
    assert final["completed_at"] == 1000
    assert final["output"] == [events[-2]["item"]]
    assert final["output"][0]["content"][0]["text"] == "Héllo"
    assert final["usage"] == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 12,
    }


def test_reasoning_text_and_calls_are_items_in_a_row() -> None:
    events = play(
        [
            ReasoningDelta(0, "Let "),
            ReasoningDelta(0, "me see."),
            TextDelta(0, "I read."),
            CallBegun(0, 0, "call_a", "read"),
            CallDelta(0, 0, '{"path":'),
            CallDelta(0, 0, '"a"}'),
            CallBegun(0, 1, "call_b", "agents__ask"),
            end("tool_calls"),
        ],
        tools=TOOLS,
        include=["reasoning.encrypted_content"],
    )
    assert types(events)[2:] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    thought, message, one, two = (event["item"] for event in events if event["type"] == "response.output_item.done")
    assert thought["summary"] == [{"type": "summary_text", "text": "Let me see."}]
    assert base64.b64decode(thought["encrypted_content"]) == SEALED + b"Let me see."
    assert message["content"][0]["text"] == "I read."
    assert (one["name"], one["call_id"], one["arguments"]) == ("read", "call_a", '{"path":"a"}')
    assert "namespace" not in one
    assert (two["namespace"], two["name"], two["call_id"], two["arguments"]) == ("agents", "ask", "call_b", "{}")
    assert {item["status"] for item in (thought, message, one, two)} == {"completed"}
    added = [event["item"] for event in events if event["type"] == "response.output_item.added"]
    assert added[2]["arguments"] == ""
    assert added[3]["namespace"] == "agents"
    assert events[-1]["response"]["output"] == [thought, message, one, two]


def test_reasoning_is_packed_only_for_who_asks() -> None:
    events = play([ReasoningDelta(0, "hm"), TextDelta(0, "a"), end()])
    assert events[-1]["response"]["output"][0]["encrypted_content"] is None


def test_a_custom_tool_gets_its_text_piece_by_piece() -> None:
    events = play(
        [
            CallBegun(0, 0, "call_a", "apply_patch"),
            *[CallDelta(0, 0, piece) for piece in ('{"in', 'put": "*** a\\', 'n+\\"b\\""', "}")],
            end("tool_calls"),
        ],
        tools=TOOLS,
    )
    assert types(events)[2:] == [
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
        "completed",
    ]
    deltas = [event["delta"] for event in events if event["type"].endswith("input.delta")]
    assert "".join(deltas) == events[-3]["input"] == '*** a\n+"b"'
    item = events[-2]["item"]
    assert (item["type"], item["name"], item["call_id"], item["input"]) == (
        "custom_tool_call",
        "apply_patch",
        "call_a",
        '*** a\n+"b"',
    )


def test_blank_text_before_a_call_is_no_message() -> None:
    events = play([TextDelta(0, "\n"), TextDelta(0, "\n"), CallBegun(0, 0, "c", "read"), end("tool_calls")], tools=TOOLS)
    assert [item["type"] for item in events[-1]["response"]["output"]] == ["function_call"]


def test_blank_text_before_text_is_kept() -> None:
    events = play([TextDelta(0, "\n"), TextDelta(0, " "), TextDelta(0, "a"), TextDelta(0, " "), end()], tools=TOOLS)
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "\n a "


def test_the_context_or_the_limit_ends_it_early() -> None:
    events = play([TextDelta(0, "a"), CallBegun(0, 0, "c", "read"), CallDelta(0, 0, '{"pa'), end("length")], tools=TOOLS)
    assert types(events)[-3:] == ["output_item.added", "function_call_arguments.delta", "incomplete"]
    final = events[-1]["response"]
    assert final["status"] == "incomplete"
    assert final["incomplete_details"] == {"reason": "max_output_tokens"}
    assert [item["status"] for item in final["output"]] == ["completed", "incomplete"]
    assert final["output"][1]["arguments"] == '{"pa'
    assert final["completed_at"] is None


def test_no_client_is_told_to_run_half_a_call() -> None:
    events = play([CallBegun(0, 0, "c", "apply_patch"), CallDelta(0, 0, '{"input": "rm -rf /'), end("length")], tools=TOOLS)
    assert types(events)[2:] == ["output_item.added", "custom_tool_call_input.delta", "incomplete"]
    [item] = events[-1]["response"]["output"]
    assert (item["input"], item["status"]) == ("rm -rf /", "incomplete")


@pytest.mark.parametrize("said", [[], [ReasoningDelta(0, "hm")], [TextDelta(0, " \n")]])
def test_a_turn_with_tools_that_says_nothing_has_failed(said: list[Event]) -> None:
    events = play([*said, end()], tools=TOOLS)
    assert types(events)[-1] == "failed"
    failed = events[-1]["response"]
    assert failed["status"] == "failed"
    assert failed["error"]["code"] == "server_error"
    assert failed["error"]["message"]


def test_saying_nothing_is_no_failure_without_tools_or_at_the_limit() -> None:
    events = play([end()])
    assert types(events)[-1] == "completed"
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == ""
    assert types(play([ReasoningDelta(0, "hm"), end("length")], tools=TOOLS))[-1] == "incomplete"


def test_a_heartbeat_is_an_event_that_counts_on() -> None:
    wire = stream()
    sent = [wire.heartbeat(), wire.heartbeat(), wire.to_wire([ADMITTED, TextDelta(0, "a")]), wire.heartbeat()]
    sent += [wire.to_wire([end()]), wire.ending()]
    events = read_stream(b"".join(sent))
    assert Counter(types(events))["created"] == 1
    assert types(events)[:4] == ["created", "in_progress", "in_progress", "output_item.added"]
    assert types(events)[6] == "in_progress"
    assert events[-1]["response"]["model"] == "real"


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (Failure(400, "invalid_request_error", "too long", code="context_length_exceeded"), "context_length_exceeded"),
        (Failure(400, "invalid_request_error", "no", code="invalid_value"), "invalid_prompt"),
        (Failure(503, "server_error", "full", code="overloaded"), "server_is_overloaded"),
        (Failure(503, "server_error", "gone", code="engine_crashed"), "server_error"),
    ],
)
def test_a_late_error_ends_the_stream_in_its_own_words(failure: Failure, code: str) -> None:
    wire = stream()
    events = read_stream(wire.heartbeat() + wire.failing(failure))
    assert types(events) == ["created", "in_progress", "failed"]
    assert events[-1]["response"]["error"] == {"code": code, "message": failure.message}


def test_an_error_in_the_middle_tells_what_there_was() -> None:
    wire = stream()
    sent = wire.to_wire([ADMITTED, TextDelta(0, "half")]) + wire.failing(Failure(500, "server_error", "x"))
    [item] = read_stream(sent)[-1]["response"]["output"]
    assert (item["content"][0]["text"], item["status"]) == ("half", "incomplete")


def test_what_was_cancelled_ends_what_is_open() -> None:
    wire = stream()
    sent = wire.to_wire([ADMITTED, TextDelta(0, "half")])
    final = wire.finish()
    events = read_stream(sent + wire.ending())
    assert final.status == "cancelled"
    assert types(events)[-2:] == ["output_item.done", "incomplete"]
    assert events[-1]["response"]["status"] == "cancelled"
    assert events[-2]["item"]["status"] == "incomplete"


def test_a_response_under_way_shows_what_there_is() -> None:
    wire = stream()
    wire.to_wire([ADMITTED, TextDelta(0, "half")])
    current = msgspec.json.decode(msgspec.json.encode(wire.current()))
    check_response(current)
    assert current["status"] == "in_progress"
    assert current["output"][0]["content"][0]["text"] == "half"


def test_logprobs_go_with_their_text() -> None:
    logprob = TokenLogprob(1, "é".encode(), -0.5)
    events = play([TextDelta(0, "é", (logprob,)), end()], include=["message.output_text.logprobs"])
    body = {"token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": []}
    assert events[4]["logprobs"] == [body]
    assert events[5]["logprobs"] == [body]
    assert events[-1]["response"]["output"][0]["content"][0]["logprobs"] == [body]


def test_the_answer_repeats_the_request() -> None:
    given = {
        "instructions": "Be brief.",
        "max_output_tokens": 9,
        "max_tool_calls": 2,
        "metadata": {"a": "b"},
        "parallel_tool_calls": False,
        "previous_response_id": "resp_1",
        "prompt_cache_key": "k",
        "reasoning": {"effort": "low", "summary": "auto"},
        "safety_identifier": "s",
        "temperature": 0.5,
        "text": {"format": {"type": "json_object"}, "verbosity": "low"},
        "tool_choice": {"type": "function", "name": "read"},
        "tools": TOOLS,
        "top_logprobs": 1,
        "top_p": 0.5,
        "truncation": "auto",
        "user": "u",
    }
    final = play([TextDelta(0, "a"), end()], **given)[-1]["response"]
    assert {name: final[name] for name in given} == given


def test_what_was_not_given_has_openais_defaults() -> None:
    final = play([TextDelta(0, "a"), end()], metadata=None, tools=None)[-1]["response"]
    assert final["metadata"] == {}
    assert final["tools"] == []
    assert final["tool_choice"] == "auto"
    assert final["parallel_tool_calls"] is True
    assert final["text"] == {"format": {"type": "text"}}
    assert final["truncation"] == "disabled"


def test_every_item_has_an_id_of_its_own() -> None:
    events = play([CallBegun(0, n, f"c{n}", "read") for n in range(4)] + [end("tool_calls")], tools=TOOLS)
    ids = [item["id"] for item in events[-1]["response"]["output"]]
    assert len(set(ids)) == 4
    assert all(id_.startswith("fc_") for id_ in ids)


def test_openais_own_types_take_the_answer_strictly() -> None:
    final = play(
        [
            ReasoningDelta(0, "hm"),
            TextDelta(0, "a"),
            CallBegun(0, 0, "c", "agents__ask"),
            CallBegun(0, 1, "d", "apply_patch"),
            end("tool_calls"),
        ],
        tools=TOOLS[:3],
    )[-1]["response"]
    answer = Response.model_validate(final, strict=True)
    assert [item.type for item in answer.output] == ["reasoning", "message", "function_call", "custom_tool_call"]


def test_text_costs_little() -> None:
    wire = stream()
    wire.to_wire([ADMITTED, TextDelta(0, "a")])
    one = wire.to_wire([TextDelta(0, "word")])
    assert len(one) < 300
    assert wire.to_wire([TextDelta(0, "word")] * 3).count(b"\n\n") == 3
