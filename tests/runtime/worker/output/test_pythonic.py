"""Calls as Python writes them: every kind of value, slips, and texts that only look so."""

from __future__ import annotations

import json

import pytest
from family_outputs import Said, decoded, outputs, read, read_all_ways

from impetus.runtime.request import Tool
from impetus.runtime.worker.output.families.lfm2 import Lfm2
from impetus.runtime.worker.output.families.llama_pythonic import LlamaPythonic
from impetus.runtime.worker.output.family import Family

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "n": {"type": "integer"}, "x": {}, "on": {"type": "boolean"}},
}
TOOLS = (Tool("weather", parameters=json.dumps(SCHEMA)), Tool("now", parameters='{"type": "object", "properties": {}}'))
LFM2, LLAMA = Lfm2(), LlamaPythonic()
BOTH = [LFM2, LLAMA]
NAMES = [family.name for family in BOTH]


def marked(family: Family, calls: str) -> str:
    return f"{family.marks[0]}[{calls}]{family.marks[1]}"


@pytest.mark.parametrize("family", BOTH, ids=NAMES)
@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ("city='Paris'", {"city": "Paris"}),
        ('city="Pa\'ris"', {"city": "Pa'ris"}),
        (r"city='it\'s \"so\"'", {"city": 'it\'s "so"'}),
        (r"city='a\n\t\\b\x41é\U0001F98A'", {"city": "a\n\t\\bAé🦊"}),
        (r"city='\d+\.\w'", {"city": "\\d+\\.\\w"}),
        ("city='''a 'b' \"c\"\nd'''", {"city": "a 'b' \"c\"\nd"}),
        ("city='one ' 'two'", {"city": "one two"}),
        ("city='日本 🦊'", {"city": "日本 🦊"}),
        ("city=12", {"city": "12"}),
        ("n=-3, on=True", {"n": -3, "on": True}),
        ("n=+3, on=False, x=None", {"n": 3, "on": False, "x": None}),
        ("n=1_000", {"n": 1000}),
        ("x=1.5e-3", {"x": 0.0015}),
        ("x=.5", {"x": 0.5}),
        ("x=[1, 'a', (2, 3), [], {}]", {"x": [1, "a", [2, 3], [], {}]}),
        ("x={'a': {'b': [True, None]}, \"c\": 'd'}", {"x": {"a": {"b": [True, None]}, "c": "d"}}),
        ("x={1: 'one'}", {"x": {"1": "one"}}),
        ('x={"json": true, "of": null}', {"x": {"json": True, "of": None}}),
        ("city='a', n=2,", {"city": "a", "n": 2}),
        ("\n  city = 'a',\n  n = 2\n", {"city": "a", "n": 2}),
        ("'city'='a'", {"city": "a"}),
        ("city: 'a'", {"city": "a"}),
        ("city='[now()], weather(city=\"x\")'", {"city": '[now()], weather(city="x")'}),
        ("", {}),
    ],
)
def test_every_value_becomes_json(family: Family, written: str, arguments: dict[str, object]) -> None:
    said = decoded(read_all_ways(family, marked(family, f"weather({written}), now()"), tools=TOOLS))
    assert said == [("call", "weather"), ("arguments", arguments), ("call", "now"), ("arguments", {})]


def test_arguments_are_handed_on_as_they_come() -> None:
    parser = LFM2.open_parser(TOOLS)
    assert [str(piece) for piece in parser.push("<|tool_call_start|>[weather(city='Par")] != []
    pieces = parser.push("is and further")
    assert len(pieces) == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("[weather(city='a'), now()]", [("call", "weather"), ("arguments", {"city": "a"}), ("call", "now"), ("arguments", {})]),
        ("\n[now()]", [("call", "now"), ("arguments", {})]),
        ("[now()]<|python_end|>", [("call", "now"), ("arguments", {})]),
        ("So: <|python_start|>now()<|python_end|>", [("text", "So:"), ("call", "now"), ("arguments", {})]),
        ("[functions.now()]", [("call", "now"), ("arguments", {})]),
    ],
)
def test_llama_calls_with_and_without_marks(answer: str, said: Said) -> None:
    assert decoded(read_all_ways(LLAMA, answer, tools=TOOLS)) == said


@pytest.mark.parametrize(
    "text",
    [
        "[weather]",
        "[weather](https://example.org)",
        "[weather(city)]",
        "[weather (as of now) is fine]",
        "[rm(path='a')]",
        "[1, 2, 3]",
        "[]",
        "[",
        "[now",
        "[now(",
        "now()",
        "Use [now()] for that.",
        "weather(city='Paris') is how to ask.",
    ],
)
def test_text_that_only_looks_like_calls_stays_as_it_is(text: str) -> None:
    assert read_all_ways(LLAMA, text, tools=TOOLS) == [("text", text)] or text == "[now("
    assert read_all_ways(LFM2, text, tools=TOOLS) == [("text", text)]


@pytest.mark.parametrize("family", BOTH, ids=NAMES)
def test_calls_in_broken_syntax_are_passed_on(family: Family) -> None:
    said = read_all_ways(family, marked(family, "weather(city=unquoted words)"), tools=TOOLS)
    assert said[0] == ("call", "weather")
    assert "unquoted words" in str(said[1][1])
    text = marked(family, "weather city='a'")
    assert read_all_ways(family, text, tools=TOOLS) == [("text", text)]


def test_lfm2_reads_json_where_it_was_asked_for() -> None:
    for inner in ('[{"name": "weather", "arguments": {"city": "a"}}]', '{"name": "weather", "arguments": {"city": "a"}}'):
        answer = f"<|tool_call_start|>{inner}<|tool_call_end|>Now."
        assert decoded(read_all_ways(LFM2, answer, tools=TOOLS)) == [
            ("call", "weather"),
            ("arguments", {"city": "a"}),
            ("text", "Now."),
        ]


@pytest.mark.parametrize("family", BOTH, ids=NAMES)
def test_hundreds_of_outputs(family: Family) -> None:
    found = outputs(family)
    assert len(found) >= 300
    for answer, said in found:
        assert decoded(read(family, [answer])) == said
