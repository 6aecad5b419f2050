"""Bodies of the Responses API to the runtime's request."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import msgspec
import pytest

from impetus.api.dialects import responses
from impetus.api.dialects.responses import Task
from impetus.api.dialects.responses_input import find_references, resolve, seal
from impetus.api.dialects.responses_tools import ToolName
from impetus.runtime.errors import InvalidRequest
from impetus.runtime.request import ChatPrompt, GenerateRequest, ImagePart, Message, TextPart, Thinking, ToolCall

GOLDEN = Path(__file__).parent.parent / "golden" / "responses"
RECORDED = Path(__file__).parents[3] / "shared" / "clients" / "replays" / "codex_session"
READ = {"type": "function", "name": "read", "parameters": {"type": "object"}}


def raws(items: list[object]) -> list[msgspec.Raw]:
    return [msgspec.Raw(json.dumps(item).encode()) for item in items]


def task(earlier: list[object] | None = None, **fields: object) -> Task:
    body = responses.RESPONSES.decode(json.dumps({"model": "m", "input": "hi"} | fields).encode())
    return responses.to_task(body, raws(earlier or []), body.items)


def prompt(**fields: object) -> ChatPrompt:
    made = task(**fields).request.prompt
    assert isinstance(made, ChatPrompt)
    return made


def messages(*items: object) -> tuple[Message, ...]:
    return prompt(input=list(items)).messages


def said(role: str, text: str) -> dict[str, object]:
    return {"type": "message", "role": role, "content": [{"type": "output_text", "text": text}]}


def call(id_: str, name: str = "f") -> dict[str, object]:
    return {"type": "function_call", "call_id": id_, "name": name, "arguments": "{}"}


def test_a_written_agent_turn_becomes_the_written_request() -> None:
    body = responses.RESPONSES.decode((GOLDEN / "agent_turn.body.json").read_bytes())
    expected = msgspec.json.decode((GOLDEN / "agent_turn.request.json").read_bytes(), type=GenerateRequest)
    assert responses.to_task(body, [], body.items).request == expected


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded conversation is not here")
def test_recorded_turns_of_codex_only_grow_at_their_end() -> None:
    before: tuple[Message, ...] = ()
    for path in sorted(RECORDED.glob("[0-9]*.json")):
        recorded = json.loads(path.read_bytes())
        body = responses.RESPONSES.decode(json.dumps(recorded.get("body", recorded)).encode())
        made = responses.to_task(body, [], body.items)
        assert isinstance(made.request.prompt, ChatPrompt)
        turns = made.request.prompt.messages
        assert turns[: len(before)] == before
        assert len(turns) > len(before)
        assert "multi_agent_v1__close_agent" in {tool.name for tool in made.request.prompt.tools}
        assert all(tool.name != "web_search" for tool in made.request.prompt.tools)
        before = turns


def test_every_optional_field_may_be_null() -> None:
    names = [field.encode_name for field in msgspec.structs.fields(responses.ResponsesBody) if not field.required]
    assert len(names) > 30
    assert task(**(dict.fromkeys(names) | {"input": "hi"})).request == task().request


def test_the_preload_of_codex_is_a_plain_request() -> None:
    made = task(input="", max_output_tokens=1)
    assert prompt(input="").messages == (Message("user", (TextPart(""),)),)
    assert made.request.max_tokens == 1


@pytest.mark.parametrize("fields", [{"input": []}, {"input": None}, {"input": [{"type": "web_search_call"}]}])
def test_nothing_to_answer_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest, match="'input' is missing"):
        task(**fields)


def test_calls_in_a_row_are_one_turn_with_what_stands_before_them() -> None:
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}
    [turn, one, two] = messages(
        thought,
        said("assistant", "Look:"),
        call("1"),
        call("2", "g"),
        {"type": "function_call_output", "call_id": "2", "output": "b"},
        {"type": "function_call_output", "call_id": "1", "output": "a"},
    )
    assert turn == Message(
        "assistant", (TextPart("Look:"),), tool_calls=(ToolCall("1", "f", "{}"), ToolCall("2", "g", "{}")), reasoning="hm"
    )
    assert (one.name, one.tool_call_id, one.text) == ("g", "2", "b")
    assert (two.name, two.tool_call_id, two.text) == ("f", "1", "a")


def test_text_behind_a_call_belongs_to_its_turn_and_text_behind_text_does_not() -> None:
    assert [len(turn.tool_calls) for turn in messages(call("1"), said("assistant", "so"))] == [1]
    assert [turn.text for turn in messages(said("assistant", "a"), said("assistant", "b"))] == ["a", "b"]


def test_reasoning_begins_a_turn() -> None:
    turns = messages(said("assistant", "a"), {"type": "reasoning", "summary": []}, said("assistant", "b"))
    assert [turn.text for turn in turns] == ["a", "b"]


def test_reasoning_comes_back_as_it_was_handed_out() -> None:
    sealed = {"type": "reasoning", "summary": [], "encrypted_content": seal("déjà vu")}
    [turn] = messages(sealed, said("assistant", "a"))
    assert turn.reasoning == "déjà vu"
    foreign = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "s"}], "encrypted_content": "gAAAAB=="}
    assert messages(foreign, said("assistant", "a"))[0].reasoning == "s"
    full = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "all"}]}
    assert messages(full, said("assistant", "a"))[0].reasoning == "all"


def test_developers_and_instructions_speak_as_the_system() -> None:
    turns = prompt(
        instructions="one", input=[{"role": "developer", "content": "two"}, {"role": "user", "content": "x"}]
    ).messages
    assert [(turn.role, turn.text) for turn in turns] == [("system", "one"), ("system", "two"), ("user", "x")]


def test_what_it_follows_stands_between_instructions_and_input() -> None:
    made = task([{"role": "user", "content": "a"}, said("assistant", "b")], instructions="s", input="c").request.prompt
    assert isinstance(made, ChatPrompt)
    assert [turn.text for turn in made.messages] == ["s", "a", "b", "c"]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "input_text", "text": "a"}, TextPart("a")),
        ({"type": "refusal", "refusal": "no"}, TextPart("no")),
        ({"type": "input_image", "image_url": "data:image/png;base64,aGk="}, ImagePart(b"hi", "image/png")),
        ({"type": "input_file", "file_data": "data:text/plain;base64,aGk=", "filename": "a"}, TextPart("a:\nhi\n")),
        ({"type": "input_file", "file_data": "aGk="}, TextPart("hi")),
        ({"type": "input_file", "file_data": "data:image/gif;base64,aGk="}, ImagePart(b"hi", "image/gif")),
    ],
)
def test_parts(part: dict[str, object], expected: object) -> None:
    assert messages({"role": "user", "content": [part]})[0].parts == (expected,)


def test_parts_of_unknown_types_are_skipped() -> None:
    parts = [{"type": "new", "x": 1}, {"type": "input_text", "text": "a"}]
    assert messages({"role": "user", "content": parts})[0].parts == (TextPart("a"),)


@pytest.mark.parametrize(
    ("item", "param"),
    [
        (
            {"role": "user", "content": [{"type": "input_image", "image_url": "https://x/a.png"}]},
            "input[0].content[0].image_url",
        ),
        ({"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}, "input[0].content[0].image_url"),
        ({"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}, "input[0].content[0]"),
        (
            {"role": "user", "content": [{"type": "input_file", "file_data": base64.b64encode(b"%PDF\xff").decode()}]},
            "input[0].content[0]",
        ),
        ({"role": "boss", "content": "x"}, "input[0].role"),
        ({"role": "user", "content": 3}, "input[0].content"),
        ({"role": "user", "content": [{"text": "x"}]}, "input[0].content[0]"),
        ({"type": "function_call", "name": 1}, "input[0].name"),
        (7, "input[0]"),
    ],
)
def test_what_cannot_be_read_is_named(item: object, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        task(input=[item])
    assert caught.value.param == param


def test_answers_of_tools_may_be_anything() -> None:
    def output(value: object) -> str:
        return messages({"type": "function_call_output", "call_id": "1", "output": value})[0].text

    assert output("a") == "a"
    assert output([{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]) == "ab"
    assert json.loads(output({"ok": True})) == {"ok": True}
    assert json.loads(output([1, 2])) == [1, 2]
    assert output(None) == ""


def test_references_are_found_and_replaced() -> None:
    items = raws([{"type": "item_reference", "id": "a"}, {"id": "b"}, {"id": "c", "role": "user", "content": "x"}])
    assert find_references(items) == ["a", "b"]
    known = raws([said("assistant", "A")])[0]
    assert resolve(items, {"a": known}) == [known, items[2]]
    assert messages({"type": "item_reference", "id": "a"}, {"role": "user", "content": "x"}) == messages(
        {"role": "user", "content": "x"}
    )


def test_names_in_a_namespace_come_back_apart() -> None:
    members = [{"type": "function", "name": "run"}, {"type": "custom", "name": "patch"}]
    box = task(tools=[{"type": "namespace", "name": "mcp__x__", "tools": members}, READ]).toolbox
    assert [tool.name for tool in box.tools] == ["mcp__x__run", "mcp__x__patch", "read"]
    assert box.find("mcp__x__run") == ToolName("run", "mcp__x__")
    assert box.find("patch") == ToolName("patch", "mcp__x__", custom=True)
    assert box.find("read") == ToolName("read")
    assert box.find("other") == ToolName("other")


def test_tools_that_came_up_later_are_offered_too() -> None:
    item = {"type": "tool_search_output", "call_id": "c", "tools": [READ | {"name": "late"}]}
    made = prompt(input=[item, {"role": "user", "content": "x"}], tools=[READ])
    assert [tool.name for tool in made.tools] == ["read", "late"]
    assert [turn.role for turn in made.messages] == ["user"]


@pytest.mark.parametrize(
    ("choice", "mode", "names"),
    [
        ("auto", "auto", ()),
        ("none", "none", ()),
        ("required", "required", ()),
        ({"type": "function", "name": "read"}, "required", ("read",)),
        ({"type": "custom", "name": "patch"}, "required", ("patch",)),
        ({"type": "function", "name": "run", "namespace": "n"}, "required", ("n__run",)),
        ({"type": "function", "name": "run"}, "required", ("n__run",)),
        ({"type": "namespace", "name": "n"}, "required", ("n__run",)),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "read"}]}, "auto", ("read",)),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "web_search"}]}, "none", ()),
        ({"type": "web_search_preview"}, "auto", ()),
    ],
)
def test_tool_choice(choice: object, mode: str, names: tuple[str, ...]) -> None:
    tools = [
        READ,
        {"type": "custom", "name": "patch"},
        {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "run"}]},
        {"type": "web_search"},
    ]
    made = prompt(tools=tools, tool_choice=choice)
    assert (made.tool_mode, made.tool_names) == (mode, names)


def test_a_choice_among_tools_that_are_not_there_is_refused_or_means_nothing() -> None:
    with pytest.raises(InvalidRequest, match="Tool choice 'x' not found"):
        task(tools=[READ], tool_choice={"type": "function", "name": "x"})
    with pytest.raises(InvalidRequest, match="'often' is none of"):
        task(tools=[READ], tool_choice="often")
    assert prompt(tools=[{"type": "web_search"}], tool_choice="required").tool_mode == "auto"


def test_a_broken_function_is_refused_and_a_broken_hosted_tool_is_not() -> None:
    with pytest.raises(InvalidRequest, match="tools"):
        task(tools=[{"type": "function", "name": 5}])
    assert prompt(tools=[{"type": "file_search", "name": 5, "tools": "x"}]).tools == ()


def test_an_answer_must_act_where_tools_can_be_called() -> None:
    assert task(tools=[READ]).must_act
    assert not task(tools=[READ], tool_choice="none").must_act
    assert not task(tools=[{"type": "web_search"}]).must_act


@pytest.mark.parametrize(
    ("reasoning", "thinking"),
    [
        (None, Thinking()),
        ({"summary": "auto"}, Thinking()),
        ({"effort": "none"}, Thinking(enabled=False)),
        ({"effort": "xhigh"}, Thinking(enabled=True, effort="xhigh")),
    ],
)
def test_effort(reasoning: object, thinking: Thinking) -> None:
    assert prompt(reasoning=reasoning).thinking == thinking


@pytest.mark.parametrize(
    ("format_", "kind", "text"),
    [
        ({"type": "json_object"}, "json_object", ""),
        ({"type": "json_schema", "name": "n", "schema": {"type": "object"}}, "json_schema", '{"type": "object"}'),
    ],
)
def test_a_form(format_: object, kind: str, text: str) -> None:
    constraint = task(text={"format": format_}).request.constraint
    assert constraint is not None
    assert (constraint.kind, constraint.text, constraint.param) == (kind, text, "text.format")
    assert task(text={"format": {"type": "text"}}).request.constraint is None
    assert task(text={"verbosity": "low"}).request.constraint is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
    ],
)
def test_what_cannot_be_kept_is_refused(fields: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        task(**fields)
    assert caught.value.param == param


def test_logprobs_are_given_where_they_are_asked_for() -> None:
    assert task().request.top_logprobs is None
    assert task(include=["message.output_text.logprobs"]).request.top_logprobs == 0
    assert task(top_logprobs=3).request.top_logprobs == 3


def test_more_tokens_than_any_context_holds_are_clamped_not_refused() -> None:
    assert task(max_output_tokens=10**15).request.max_tokens == 2**31 - 1
