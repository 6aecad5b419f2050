"""Tools and thoughts in OpenAI's bodies, answers and streams."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from impetus.api.dialects import openai
from impetus.api.dialects.openai_answers import Collected, Head, to_chat_answer
from impetus.api.dialects.openai_chunks import ChatStream
from impetus.runtime.errors import InvalidRequest
from impetus.runtime.events import Admitted, CallBegun, CallDelta, Event, Finished, ReasoningDelta, TextDelta
from impetus.runtime.request import ChatPrompt, Thinking

READ = {"type": "function", "function": {"name": "read", "description": "Reads.", "parameters": {"type": "object"}}}
WRITE = {"type": "function", "function": {"name": "write"}}
EVENTS: list[Event] = [
    Admitted("m", 5, 100),
    ReasoningDelta(0, "I "),
    ReasoningDelta(0, "see."),
    TextDelta(0, "Now:"),
    CallBegun(0, 0, "call_1", "read"),
    CallDelta(0, 0, '{"path": '),
    CallDelta(0, 0, '"ü"}'),
    CallBegun(0, 1, "call_2", "write"),
    CallDelta(0, 1, "{}"),
    Finished(0, "tool_calls", 5, 9, reasoning_tokens=2),
]


def prompt(**fields: object) -> ChatPrompt:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": [READ, WRITE]} | fields
    asked = openai.to_chat_request(openai.CHAT.decode(msgspec.json.encode(body))).prompt
    assert isinstance(asked, ChatPrompt)
    return asked


def test_functions_are_offered_and_other_tools_left_out() -> None:
    tools = prompt(tools=[READ, {"type": "web_search"}, WRITE]).tools
    assert [(tool.name, tool.description, json.loads(tool.parameters)["type"]) for tool in tools] == [
        ("read", "Reads.", "object"),
        ("write", "", "object"),
    ]


@pytest.mark.parametrize(
    ("choice", "mode", "names"),
    [
        ("auto", "auto", ()),
        (None, "auto", ()),
        ("none", "none", ()),
        ("required", "required", ()),
        ("any", "required", ()),
        ({"type": "function", "function": {"name": "write"}}, "required", ("write",)),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [READ]}}, "required", ("read",)),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [READ]}}, "auto", ("read",)),
    ],
)
def test_a_choice_of_tools(choice: object, mode: str, names: tuple[str, ...]) -> None:
    asked = prompt(tool_choice=choice)
    assert (asked.tool_mode, asked.tool_names) == (mode, names)


@pytest.mark.parametrize(
    "fields",
    [
        {"tool_choice": {"type": "function", "function": {"name": "gone"}}},
        {"tool_choice": "sometimes"},
        {"tool_choice": "required", "tools": []},
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        prompt(**fields)
    assert caught.value.param == "tool_choice"


def test_a_schema_that_is_no_object_is_refused_by_its_place() -> None:
    with pytest.raises(InvalidRequest) as caught:
        prompt(tools=[{"type": "function", "function": {"name": "f", "parameters": "x"}}])
    assert caught.value.param == "tools[0].function.parameters"


@pytest.mark.parametrize(
    ("fields", "thinking"),
    [
        ({}, Thinking()),
        ({"reasoning_effort": "high"}, Thinking(effort="high")),
        ({"reasoning_effort": "none"}, Thinking(enabled=False)),
        ({"reasoning": {"effort": "low", "max_tokens": 50}}, Thinking(effort="low", budget_tokens=50)),
        ({"thinking": {"type": "disabled"}}, Thinking(enabled=False)),
        ({"thinking": {"type": "enabled", "budget_tokens": 9}, "enable_thinking": False}, Thinking(False, None, 9)),
    ],
)
def test_how_much_is_thought(fields: dict[str, object], thinking: Thinking) -> None:
    assert prompt(**fields).thinking == thinking


def test_arguments_may_come_as_an_object_and_thoughts_come_back() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "read", "arguments": {"b": 1, "a": [True]}}}
    assistant = {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [call]}
    message = prompt(messages=[{"role": "user", "content": "hi"}, assistant]).messages[1]
    assert message.reasoning == "hm"
    assert message.tool_calls[0].arguments == '{"b":1,"a":[true]}'


def test_an_answer_that_is_begun_is_continued() -> None:
    begun = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Well,"}]
    assert prompt(messages=begun).continues
    assert not prompt(messages=begun[:1]).continues


def test_a_whole_answer_holds_thoughts_and_calls() -> None:
    collected = Collected(n=1, logprobs=False)
    collected.add(EVENTS)
    answer = to_chat_answer(Head("chatcmpl-1", "chat.completion", 1, "m", "f"), collected)
    decoded = ChatCompletion.model_validate_json(msgspec.json.encode(answer))
    [choice] = decoded.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Now:"
    assert choice.message.model_extra == {"reasoning_content": "I see."}
    calls = choice.message.tool_calls or []
    assert [(call.id, call.type, call.function.name, call.function.arguments) for call in calls if call.type == "function"] == [
        ("call_1", "function", "read", '{"path": "ü"}'),
        ("call_2", "function", "write", "{}"),
    ]
    assert decoded.usage is not None
    assert decoded.usage.completion_tokens_details is not None
    assert decoded.usage.completion_tokens_details.reasoning_tokens == 2


def test_without_text_the_content_is_null_and_without_calls_they_are_missing() -> None:
    collected = Collected(n=1, logprobs=False)
    collected.add([event for event in EVENTS if not isinstance(event, TextDelta | ReasoningDelta)])
    message = to_chat_answer(Head("i", "chat.completion", 1, "m", "f"), collected).choices[0].message
    assert json.loads(msgspec.json.encode(message))["content"] is None
    empty = Collected(n=1, logprobs=False)
    plain = json.loads(msgspec.json.encode(to_chat_answer(Head("i", "o", 1, "m", "f"), empty).choices[0].message))
    assert plain == {"role": "assistant", "content": "", "refusal": None}


def chunks(events: list[Event]) -> list[dict[str, Any]]:
    stream = ChatStream(Head("chatcmpl-1", "chat.completion.chunk", 1, "m", "f"), n=1, include_usage=True)
    data = stream.to_wire(events) + stream.ending()
    lines = [line.removeprefix(b"data: ") for line in data.split(b"\n\n") if line]
    assert lines.pop() == b"[DONE]"
    return [ChatCompletionChunk.model_validate_json(line).model_dump(exclude_unset=True) for line in lines]


def test_a_streamed_call_has_its_name_and_id_once_and_its_arguments_in_pieces() -> None:
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks(EVENTS)[:-1]]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert [delta["reasoning_content"] for delta in deltas if "reasoning_content" in delta] == ["I ", "see."]
    calls = [delta["tool_calls"] for delta in deltas if "tool_calls" in delta]
    assert calls == [
        [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "read", "arguments": ""}}],
        [{"index": 0, "function": {"arguments": '{"path": '}}],
        [{"index": 0, "function": {"arguments": '"ü"}'}}],
        [{"index": 1, "id": "call_2", "type": "function", "function": {"name": "write", "arguments": ""}}],
        [{"index": 1, "function": {"arguments": "{}"}}],
    ]


def test_every_chunk_is_complete_and_the_last_choice_says_why_it_ended() -> None:
    everything = chunks(EVENTS)
    for chunk in everything:
        assert {"id", "object", "created", "model", "choices"} <= chunk.keys()
    assert everything[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert everything[-1]["choices"] == []
    assert everything[-1]["usage"]["completion_tokens_details"] == {"reasoning_tokens": 2}
