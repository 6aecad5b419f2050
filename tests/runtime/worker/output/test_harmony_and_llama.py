"""Harmony's messages and Llama's bare objects."""

from __future__ import annotations

import json

import pytest
from byte_vocabulary import form, open_vocabulary, takes
from hypothesis import given, settings
from hypothesis import strategies as st

from impetus.runtime.request import Tool
from impetus.runtime.worker.output.families.harmony import Harmony
from impetus.runtime.worker.output.families.llama_json import LlamaJson
from impetus.runtime.worker.output.family import Family, WrittenCall
from impetus.runtime.worker.output.pieces import Arguments, Call, Reasoning, Text

SCHEMA = '{"type":"object","properties":{"path":{"type":"string"}},"required":["path"],"additionalProperties":false}'
TOOLS = (Tool("read_file", parameters=SCHEMA), Tool("ls"))
VALUES = ["a.txt", "", "Zoë 🦊", 'say "hi" {[}]', "a\\b", "one\ntwo\n", "1", "true", " x ", "it's", "}", "</x>", "\t", "𝔘"]
FINAL = "<|channel|>final<|message|>"
THINKS = "<|channel|>analysis<|message|>"
AGAIN = "<|end|><|start|>assistant"


def read(family: Family, answer: str, size: int, tools: tuple[Tool, ...] = TOOLS) -> list[tuple[str, str]]:
    parser = family.open_parser(tools)
    pieces = [piece for at in range(0, len(answer), size) for piece in parser.push(answer[at : at + size])] + parser.finish()
    said: list[tuple[str, str]] = []
    for piece in pieces:
        match piece:
            case Call(name):
                said.append(("call", name))
            case Text(text) | Reasoning(text) | Arguments(text):
                kind = type(piece).__name__.lower()
                if said and said[-1][0] == kind:
                    text = said.pop()[1] + text
                said.append((kind, text))
    return said


def all_ways(family: Family, answer: str, tools: tuple[Tool, ...] = TOOLS) -> list[tuple[str, str]]:
    whole = read(family, answer, max(1, len(answer)), tools)
    for size in (1, 3):
        assert read(family, answer, size, tools) == whole
    return whole


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("rest", [{}, {"n": -3}, {"all": True}, {"x": {"a": ["}", None, 1.5]}}, {"none": None}, {"l": [[]]}])
@pytest.mark.parametrize("text", ["", "I look."])
@pytest.mark.parametrize("reasoning", ["", "Hm."])
@pytest.mark.parametrize("family", [Harmony, LlamaJson])
def test_what_is_written_is_read(family: type[Family], value: str, rest: dict[str, object], text: str, reasoning: str) -> None:
    if family is LlamaJson and (text or reasoning):
        return
    arguments = {"path": value, **rest}
    for count in (1, 2):
        calls = [WrittenCall("read_file", json.dumps(arguments, ensure_ascii=False))] * count
        said = all_ways(family(), family().write(calls, text=text, reasoning=reasoning))
        decoded = [(kind, json.loads(words) if kind == "arguments" else words) for kind, words in said]
        before = [("reasoning", reasoning)] * bool(reasoning) + [("text", text)] * bool(text)
        assert decoded == [*before, *([("call", "read_file"), ("arguments", arguments)] * count)]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (f"{FINAL}Hello.", [("text", "Hello.")]),
        (f"{FINAL}Hello.<|return|>", [("text", "Hello.")]),
        (f"{THINKS}Hm.{AGAIN}{FINAL}Hi.", [("reasoning", "Hm."), ("text", "Hi.")]),
        (f"{THINKS}One.{AGAIN}{THINKS}Two.{AGAIN}{FINAL}Hi.", [("reasoning", "One."), ("reasoning", "Two."), ("text", "Hi.")]),
        (f"{THINKS}Hm.<|start|>assistant{FINAL}Hi.", [("reasoning", "Hm."), ("text", "Hi.")]),
        (f"{THINKS}Hm.{FINAL}Hi.", [("reasoning", "Hm."), ("text", "Hi.")]),
        ("Just text.", [("text", "Just text.")]),
        (f"{THINKS}cut", [("reasoning", "cut")]),
        (f"{FINAL}", []),
        ("<|channel|>comm", []),
        ("<|channel|>commentary<|message|>I list.<|end|>", [("text", "I list.")]),
        ("<|channel|>commentary to=functions.ls<|message|>{}", [("call", "ls"), ("arguments", "{}")]),
        (" to=functions.ls<|channel|>commentary<|message|>{}<|call|>", [("call", "ls"), ("arguments", "{}")]),
        (
            "<|start|>assistant to=functions.ls<|channel|>commentary <|constrain|>json<|message|>{}<|call|>",
            [("call", "ls"), ("arguments", "{}")],
        ),
        ("<|channel|>commentary to=assistant<|message|>Note.<|end|>", [("text", "Note.")]),
        ("<|channel|>commentary to=functions.gone <|constrain|>json<|message|>{}", [("call", "gone"), ("arguments", "{}")]),
        ('<|channel|>commentary to=functions.ls<|message|>{"a": 1', [("call", "ls"), ("arguments", '{"a": 1')]),
    ],
)
def test_messages_are_told_apart_by_their_heads(answer: str, expected: list[tuple[str, str]]) -> None:
    said = all_ways(Harmony(), answer)
    joined: list[tuple[str, str]] = []
    for kind, text in expected:
        if joined and joined[-1][0] == kind and kind != "call":
            text = joined.pop()[1] + text
        joined.append((kind, text))
    assert [(kind, text.replace("\n", "")) for kind, text in said] == joined


def test_without_tools_channels_are_still_told_apart() -> None:
    assert all_ways(Harmony(), f"{THINKS}Hm.{AGAIN}{FINAL}Hi.", ()) == [("reasoning", "Hm."), ("text", "Hi.")]


@pytest.mark.parametrize(
    "answer",
    [
        '{"a": 1}',
        '{"name": "gone", "parameters": {}}',
        '{"name": "ls"',
        '[{"name": "ls", "parameters": {}}]',
        'Use {"name": "ls", "parameters": {}} for that.',
        "{",
        "",
        "plain",
    ],
)
def test_a_bare_object_that_is_no_call_of_an_offered_tool_is_text(answer: str) -> None:
    assert all_ways(LlamaJson(), answer) == ([("text", answer)] if answer else [])


def test_llamas_mark_and_several_calls() -> None:
    one = '{"name": "ls", "parameters": {}}'
    expected = [("call", "ls"), ("arguments", "{}")]
    assert all_ways(LlamaJson(), f"<|python_tag|>{one}") == expected
    assert all_ways(LlamaJson(), f"{one}; {one}") == expected * 2
    assert all_ways(LlamaJson(), f"{one}\n{one}") == expected * 2
    assert all_ways(LlamaJson(), '{"type": "function", "name": "ls", "parameters": {}}') == expected


@pytest.mark.parametrize("family", [Harmony, LlamaJson])
@given(text=st.text(alphabet="ab <>{}[]\"'/\n_:\\tol", max_size=60))
@settings(max_examples=60, deadline=None)
def test_text_without_calls_is_never_altered(family: type[Family], text: str) -> None:
    if family is Harmony and text.lstrip(" ").startswith("to="):
        return
    assert all_ways(family(), text) == ([("text", text)] if text else [])


def test_a_required_call_is_held() -> None:
    vocabulary = open_vocabulary()
    call = '<|channel|>commentary to=functions.read_file <|constrain|>json<|message|>{"path": "x"}'
    for family, answer in ((Harmony(), call), (LlamaJson(), '{"name": "read_file", "parameters": {"path": "x"}}')):
        grammar = family.grammar(TOOLS, parallel=True, thinks=False)
        assert takes(vocabulary.compile(form("lark", grammar)), answer)
        assert not takes(vocabulary.compile(form("lark", grammar)), answer.replace('"path"', '"p"'))
        assert not takes(vocabulary.compile(form("lark", grammar)), "hello")
    thinking = Harmony().grammar(TOOLS, parallel=True, thinks=True)
    assert takes(vocabulary.compile(form("lark", thinking)), f"{THINKS}Hm.{AGAIN}{call}")


def test_a_form_stands_in_the_final_channel() -> None:
    start = Harmony().start("form", thinks=True)
    grammar = f'{start}\nform: %json {{"type":"object"}}'
    vocabulary = open_vocabulary()
    assert takes(vocabulary.compile(form("lark", grammar)), f"{THINKS}Hm.{AGAIN}{FINAL}{{}}")
    assert takes(vocabulary.compile(form("lark", grammar)), f"{FINAL}{{}}")
    assert not takes(vocabulary.compile(form("lark", grammar)), "{}")
