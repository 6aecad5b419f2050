"""Anthropic's bodies to the runtime's request."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from impetus.api.body import decode_body
from impetus.api.dialects import anthropic
from impetus.runtime.errors import InvalidRequest
from impetus.runtime.request import ChatPrompt, Constraint, GenerateRequest, Message, Sampling, TextPart, Thinking, Tool

GOLDEN = Path(__file__).parent.parent / "golden" / "anthropic"
RECORDED = Path(__file__).parents[3] / "shared" / "clients" / "replays" / "claude-code_session"
TOOL = {"name": "Read", "input_schema": {"type": "object"}}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}


def read(**fields: object) -> GenerateRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]} | fields
    return anthropic.to_request(decode_body(msgspec.json.encode(body), anthropic.GENERATION))


def prompt(**fields: object) -> ChatPrompt:
    chat = read(**fields).prompt
    assert isinstance(chat, ChatPrompt)
    return chat


def turn(*blocks: object, role: str = "user") -> tuple[Message, ...]:
    return prompt(messages=[{"role": role, "content": list(blocks)}]).messages


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def test_a_body_becomes_the_request_beside_it() -> None:
    body = decode_body((GOLDEN / "agent_turn.body.json").read_bytes(), anthropic.GENERATION)
    expected = msgspec.json.decode((GOLDEN / "agent_turn.request.json").read_bytes(), type=GenerateRequest)
    assert anthropic.to_request(body) == expected


def test_every_optional_field_may_be_null() -> None:
    names = [field.encode_name for field in msgspec.structs.fields(anthropic.GenerationBody) if not field.required]
    assert len(names) > 10
    assert read(**dict.fromkeys(names)) == read()


def test_without_more_the_runtimes_defaults_hold() -> None:
    assert read() == GenerateRequest("m", ChatPrompt((Message("user", (TextPart("hi"),)),)), Sampling())


def test_a_count_has_the_prompt_of_the_generation() -> None:
    body = (GOLDEN / "agent_turn.body.json").read_bytes()
    question = anthropic.to_count(decode_body(body, anthropic.PROMPT))
    assert question.prompt == anthropic.to_request(decode_body(body, anthropic.GENERATION)).prompt


def test_max_tokens_is_clamped_and_may_be_missing_or_0() -> None:
    assert read().max_tokens is None
    assert read(max_tokens=0).max_tokens == 0
    assert read(max_tokens=10**15).max_tokens == 2**31 - 1


def test_system_is_text_or_blocks_and_may_stand_among_the_messages() -> None:
    assert prompt(system="a").messages == prompt(system=[text("a")]).messages
    assert prompt(system=[text("a"), text("b")]).messages[0] == Message("system", (TextPart("a\nb"),))
    in_between = [{"role": "user", "content": "hi"}, {"role": "system", "content": [text("now")]}]
    assert prompt(messages=in_between).messages[1] == Message("system", (TextPart("now"),))


def test_text_that_moves_from_blocks_to_a_string_stays_the_same() -> None:
    in_blocks = [{"role": "user", "content": [text("hi") | {"cache_control": {"type": "ephemeral"}}]}]
    assert prompt(messages=in_blocks) == prompt()


def test_results_come_before_what_the_user_says_besides() -> None:
    result = {"type": "tool_result", "tool_use_id": "c1", "content": "r"}
    first, second, said = turn(text("before"), result, text("after"), result | {"tool_use_id": "c2"})
    assert [message.tool_call_id for message in (first, second)] == ["c1", "c2"]
    assert said == Message("user", (TextPart("before\nafter"),))
    assert [message.role for message in turn(result)] == ["tool"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ""),
        ({"content": None}, ""),
        ({"content": ""}, ""),
        ({"content": []}, ""),
        ({"content": [text("a"), text("b")]}, "a\nb"),
        ({"content": [{"type": "tool_reference", "tool_name": "Grep"}]}, "Grep"),
        ({"content": [{"type": "search_result", "source": "s", "title": "t", "content": [text("x")]}]}, "t\ns\nx"),
        ({"content": [{"type": "novel", "content": {"deep": 1}}, text("a")]}, "a"),
    ],
)
def test_what_a_result_may_hold(fields: dict[str, object], expected: str) -> None:
    [result] = turn({"type": "tool_result", "tool_use_id": "c"} | fields)
    assert (result.role, result.text, result.failed) == ("tool", expected, False)


def test_a_result_may_tell_of_an_error() -> None:
    [result] = turn({"type": "tool_result", "tool_use_id": "c", "content": "no", "is_error": True})
    assert result.failed


def test_a_document_may_hold_blocks() -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    source = {"type": "content", "content": [text("x"), picture, text("y"), text("z")]}
    [message] = turn({"type": "document", "source": source}, text("?"))
    assert [part.text if isinstance(part, TextPart) else part.media_type for part in message.parts] == [
        "x",
        "image/png",
        "y\nz\n?",
    ]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "redacted_thinking", "data": "x"},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": {"type": "web_search_tool_result_error"}},
        {"type": "code_execution_tool_result", "tool_use_id": "s", "content": {"stdout": ""}},
        {"type": "container_upload", "file_id": "f"},
        {"type": "novel", "text": {"no": "text"}, "input": 7},
    ],
)
def test_blocks_that_say_nothing_to_a_model_here_are_skipped(block: dict[str, object]) -> None:
    assert turn(text("a"), block, role="assistant") == turn(text("a"), role="assistant")


def test_a_call_without_arguments_has_an_empty_object() -> None:
    [message] = turn({"type": "tool_use", "id": "c", "name": "Now", "input": None}, role="assistant")
    assert message.tool_calls[0].arguments == "{}"


@pytest.mark.parametrize(
    ("last", "continues"),
    [
        ({"role": "assistant", "content": "The answer is ("}, True),
        ({"role": "assistant", "content": [text("{")]}, True),
        ({"role": "assistant", "content": ""}, False),
        ({"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}]}, False),
        ({"role": "assistant", "content": [text("a"), {"type": "tool_use", "id": "c", "name": "Now", "input": {}}]}, False),
        ({"role": "user", "content": "more"}, False),
    ],
)
def test_the_answer_goes_on_where_the_assistants_text_stands_last(last: dict[str, object], continues: bool) -> None:
    assert prompt(messages=[{"role": "user", "content": "hi"}, last]).continues is continues


@pytest.mark.parametrize(
    ("block", "param", "words"),
    [
        ({"type": "text"}, "messages[0].content[0]", "missing required field text"),
        ({"type": "text", "text": 5}, "messages[0].content[0].text", "expected str, got int"),
        ({"text": "a"}, "messages[0].content[0]", "missing required field type"),
        (7, "messages[0].content[0]", "expected object, got int"),
        (
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
            "messages[0].content[0].source.url",
            "fetches nothing",
        ),
        (
            {"type": "image", "source": {"type": "file", "file_id": "f"}},
            "messages[0].content[0].source.type",
            "fetches nothing",
        ),
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "?"}},
            "messages[0].content[0].source.data",
            "not valid base64",
        ),
        (
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}},
            "messages[0].content[0].source.type",
            "of a PDF send the text",
        ),
        (
            {"type": "tool_result", "tool_use_id": "c", "content": [text("a"), {"type": "image"}]},
            "messages[0].content[0].content[1]",
            "missing required field source",
        ),
        ({"type": "tool_use", "id": "c"}, "messages[0].content[0]", "missing required field name"),
    ],
)
def test_a_block_at_fault_is_named(block: object, param: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as wrong:
        turn(block)
    assert wrong.value.param == param
    assert f"'{param}'" in wrong.value.message


def test_tools_that_run_elsewhere_are_dropped() -> None:
    assert prompt(tools=[SEARCH, TOOL, TOOL | {"type": "custom"}]).tools == (Tool("Read", "", '{"type":"object"}'),) * 2
    assert prompt(tools=[{"name": "Now"}]).tools == (Tool("Now"),)


@pytest.mark.parametrize(
    ("choice", "mode", "names", "parallel"),
    [
        (None, "auto", (), True),
        ({"type": "auto"}, "auto", (), True),
        ({"type": "auto", "disable_parallel_tool_use": True}, "auto", (), False),
        ({"type": "any"}, "required", (), True),
        ({"type": "tool", "name": "Read", "disable_parallel_tool_use": True}, "required", ("Read",), False),
        ({"type": "none"}, "none", (), True),
    ],
)
def test_which_tools_are_called(choice: object, mode: str, names: tuple[str, ...], parallel: bool) -> None:
    chat = prompt(tools=[TOOL], tool_choice=choice)
    assert (chat.tool_mode, chat.tool_names, chat.parallel_calls) == (mode, names, parallel)


@pytest.mark.parametrize(
    ("tools", "choice", "words"),
    [
        ([], {"type": "any"}, "none among 'tools'"),
        ([TOOL], {"type": "tool", "name": "Write"}, "no tool 'Write'"),
        ([TOOL], {"type": "tool"}, "no tool ''"),
        ([SEARCH, TOOL], {"type": "tool", "name": "web_search"}, "web_search_20250305 are Anthropic's own"),
    ],
)
def test_a_call_that_cannot_be_made_is_refused(tools: list[object], choice: object, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as wrong:
        read(tools=tools, tool_choice=choice)
    assert wrong.value.param == "tool_choice"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Thinking()),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, Thinking(True, None, 2048)),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}, Thinking(False)),
        ({"thinking": {"type": "adaptive"}}, Thinking()),
        ({"thinking": {"type": "novel", "depth": 3}}, Thinking()),
        ({"output_config": {"effort": "low"}}, Thinking(effort="low")),
        ({"output_config": {"effort": "xhigh"}, "thinking": {"type": "enabled"}}, Thinking(True, "high")),
    ],
)
def test_how_much_is_thought(fields: dict[str, object], expected: Thinking) -> None:
    assert prompt(**fields).thinking == expected


def test_the_form_of_the_answer() -> None:
    form = {"type": "json_schema", "schema": {"type": "object", "required": ["b", "a"]}}
    schema = '{"type":"object","required":["b","a"]}'
    assert read(output_config={"format": form}).constraint == Constraint("json_schema", schema, param="output_config.format")
    assert read(output_format=form).constraint == Constraint("json_schema", schema, param="output_format")
    assert read(output_config={"format": None}, output_format={"type": "text"}).constraint is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"model": ""}, "model"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"temperature": 9}, "temperature"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tools": [{"name": "a", "input_schema": []}]}, "tools[0].input_schema"),
        ({"tool_choice": {"type": "maybe"}}, "tool_choice.type"),
        ({"output_format": {"type": "xml"}}, "output_format.type"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"output_config": {"format": {"type": "json_schema", "schema": "x"}}}, "output_config.format.schema"),
        ({"system": [{"type": "text"}]}, "system[0]"),
    ],
)
def test_a_field_at_fault_is_named(fields: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidRequest) as wrong:
        read(**fields)
    assert wrong.value.param == param


def test_stop_sequences_that_are_empty_stop_nothing() -> None:
    assert read(stop_sequences=["", "END"]).stop == ("END",)


@pytest.mark.skipif(not RECORDED.is_dir(), reason="needs the recorded conversations")
def test_a_recorded_conversation_only_grows() -> None:
    bodies = [path.read_bytes() for path in sorted(RECORDED.glob("[0-9]*.json"))]
    prompts = [anthropic.to_request(decode_body(body, anthropic.GENERATION)).prompt for body in bodies]
    assert len(prompts) > 5
    for earlier, later in pairwise(prompts):
        assert isinstance(earlier, ChatPrompt)
        assert isinstance(later, ChatPrompt)
        assert later.messages[: len(earlier.messages)] == earlier.messages
        assert later.tools == earlier.tools
    last = prompts[-1]
    assert isinstance(last, ChatPrompt)
    calls = [call.id for message in last.messages for call in message.tool_calls]
    assert calls == [message.tool_call_id for message in last.messages if message.role == "tool"]
    assert len(calls) > 5
    assert last.thinking == Thinking(effort="high")
