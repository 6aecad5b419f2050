"""The stand-in for an able model, with tools as agents offer them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from impetus.runtime.request import ChatPrompt, Constraint, Message, TextPart, Tool, ToolCall
from impetus.runtime.worker.backends.script import arguments_of
from impetus.runtime.worker.backends.stand_in import HELLO, act, fill_form

TASK = "Create a file named hello.txt with content hi-there"


def text(role: str, words: str, **fields: Any) -> Message:
    return Message(role, (TextPart(words),), **fields)


def tool(name: str, required: tuple[str, ...] = (), **properties: object) -> Tool:
    return Tool(name, "", json.dumps({"type": "object", "properties": properties, "required": required}))


STRING = {"type": "string"}
WRITE = tool("write_file", ("path", "content"), path=STRING, content=STRING)
EDIT = tool("edit_file", path=STRING, old_string=STRING, new_string=STRING)
READ = tool("read_file", ("path",), path=STRING)
SHELL = tool("bash", ("command", "why"), command=STRING, why=STRING)
FINISH = tool("attempt_completion", ("result",), result=STRING, sure={"type": "boolean"})


def calls(*messages: Message, tools: tuple[Tool, ...], **fields: Any) -> list[tuple[str, object]]:
    turn = act(ChatPrompt(messages, tools=tools, **fields), None)
    return [(call.name, json.loads(arguments_of(call))) for call in turn.calls]


def test_a_file_is_written_in_the_agents_folder() -> None:
    system = text("system", "Environment\nWorking directory: /home/me/notes\n")
    [(name, arguments)] = calls(system, text("user", TASK), tools=(EDIT, READ, SHELL, WRITE))
    assert (name, arguments) == ("write_file", {"path": "/home/me/notes/hello.txt", "content": "hi-there"})


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (STRING, "printf %s hi-there > hello.txt"),
        ({"type": "array", "items": STRING}, ["bash", "-lc", "printf %s hi-there > hello.txt"]),
    ],
)
def test_a_shell_does_where_no_tool_writes(command: object, expected: object) -> None:
    [(name, arguments)] = calls(text("user", TASK), tools=(tool("shell", ("command",), command=command),))
    assert (name, arguments) == ("shell", {"command": expected})


def test_a_tool_with_several_commands_takes_one_that_creates() -> None:
    editor = tool("editor", command={"type": "string", "enum": ["view", "create"]}, path=STRING, file_text=STRING)
    [(_, arguments)] = calls(text("user", TASK), tools=(editor,))
    assert arguments == {"command": "create", "path": "hello.txt", "file_text": "hi-there"}


def test_it_reads_what_it_wrote_and_then_finishes_by_tool() -> None:
    written = Message("assistant", tool_calls=(ToolCall("1", "write_file", "{}"),))
    result = text("tool", "ok", tool_call_id="1")
    conversation = [text("user", TASK), written, result]
    assert calls(*conversation, tools=(WRITE, READ, FINISH)) == [("read_file", {"path": "hello.txt"})]
    conversation += [Message("assistant", tool_calls=(ToolCall("2", "read_file", "{}"),)), text("tool", "hi-there")]
    [(name, arguments)] = calls(*conversation, tools=(WRITE, READ, FINISH))
    assert (name, arguments) == ("attempt_completion", {"result": "Done: hello.txt holds hi-there.", "sure": True})
    assert act(ChatPrompt(tuple(conversation), tools=(WRITE, READ)), None).text == "Done: hello.txt holds hi-there."


def test_agents_whose_tools_are_in_the_text_get_them_there() -> None:
    system = text("system", "Use <write_to_file> with <path> and <content>.")
    first = act(ChatPrompt((system, text("user", TASK))), None)
    assert "<write_to_file>\n<path>hello.txt</path>\n<content>\nhi-there\n</content>\n</write_to_file>" in first.text
    done = text("user", "[write_to_file for 'hello.txt'] Result: saved")
    assert "<attempt_completion>" in act(ChatPrompt((system, text("user", TASK), done)), None).text
    aider = text("system", "Answer with *SEARCH/REPLACE blocks*.")
    assert (
        "hello.txt\n```\n<<<<<<< SEARCH\n=======\nhi-there\n>>>>>>> REPLACE\n```"
        in act(ChatPrompt((aider, text("user", TASK))), None).text
    )


def test_a_tool_that_the_question_names_is_called_with_what_it_asks_about() -> None:
    weather = tool("get_weather", ("city",), city=STRING)
    question = text("user", "What is the weather in Lyon?")
    assert calls(question, tools=(READ, weather)) == [("get_weather", {"city": "Lyon"})]
    assert calls(question, tools=(READ, weather), tool_mode="none") == []
    assert calls(text("user", "Say hello."), tools=(READ, weather)) == []
    assert calls(text("user", "Say hello."), tools=(READ, weather), tool_mode="required", tool_names=("get_weather",)) == [
        ("get_weather", {"city": "Paris"})
    ]


def test_a_form_is_filled_and_else_it_says_hello() -> None:
    prompt = ChatPrompt((text("user", "A person, please."),))
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "kind": {"enum": ["a"]}}}
    turn = act(prompt, Constraint("json_schema", json.dumps(schema)))
    assert json.loads(turn.text) == {"name": "Paris", "age": 7, "kind": "a"}
    assert act(prompt, None).text == HELLO
    assert fill_form({"type": ["null"], "const": 3}) == 3
