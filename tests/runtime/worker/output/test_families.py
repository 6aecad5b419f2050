"""Each family reads what it writes, however the answer is cut, and leaves text alone that holds no call."""

from __future__ import annotations

import json

import pytest
from byte_vocabulary import form, open_vocabulary, takes
from hypothesis import given, settings
from hypothesis import strategies as st

from impetus.runtime.request import Tool
from impetus.runtime.worker.output.families.apriel import Apriel
from impetus.runtime.worker.output.families.firefunction import FireFunction
from impetus.runtime.worker.output.families.generic import Generic
from impetus.runtime.worker.output.families.gigachat import GigaChat
from impetus.runtime.worker.output.families.glm import Glm
from impetus.runtime.worker.output.families.granite import Granite
from impetus.runtime.worker.output.families.hermes import Hermes
from impetus.runtime.worker.output.families.minimax_m2 import MinimaxM2
from impetus.runtime.worker.output.families.nemotron import Nemotron
from impetus.runtime.worker.output.families.phi4 import Phi4
from impetus.runtime.worker.output.families.qwen3_coder import Qwen3Coder
from impetus.runtime.worker.output.families.seed_oss import SeedOss
from impetus.runtime.worker.output.family import Family, WrittenCall
from impetus.runtime.worker.output.pieces import Arguments, Call, Reasoning, Text

FAMILIES = (Apriel, FireFunction, Generic, GigaChat, Glm, Granite, Hermes, MinimaxM2, Nemotron, Phi4, Qwen3Coder, SeedOss)
SCHEMA = {
    "type": "object",
    "properties": {"path": {"type": "string"}, "n": {"type": "integer"}, "all": {"type": "boolean"}, "x": {"type": "object"}},
    "required": ["path"],
}
UNHELD = {"type": "object", "properties": {"y": {"contains": {}}}}
TOOLS = (Tool("read_file", parameters=json.dumps(SCHEMA)), Tool("ls", parameters=json.dumps(UNHELD)))
VALUES = [
    "a.txt",
    "",
    "Zoë 🦊",
    'say "hi" {[}]',
    "a\\b",
    "one\ntwo\n",
    "</parameter> and <tool_call>",
    "1",
    "true",
    " x ",
    "it's",
]
VOCABULARY = open_vocabulary()


def read(family: Family, answer: str, size: int, *, rendered_end: str = "") -> list[tuple[str, str]]:
    parser = family.open_parser(TOOLS, rendered_end=rendered_end)
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


def read_all_ways(family: Family, answer: str, *, rendered_end: str = "") -> list[tuple[str, str]]:
    whole = read(family, answer, max(1, len(answer)), rendered_end=rendered_end)
    for size in (1, 3):
        assert read(family, answer, size, rendered_end=rendered_end) == whole
    return whole


def decoded(said: list[tuple[str, str]]) -> list[tuple[str, object]]:
    return [(kind, json.loads(text) if kind == "arguments" else text) for kind, text in said]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("rest", [{}, {"n": -3}, {"all": True}, {"x": {"a": ["}", None, 1.5]}}])
@pytest.mark.parametrize("text", ["", "I look."])
@pytest.mark.parametrize("count", [1, 2])
def test_what_is_written_is_read(family: type[Family], value: str, rest: dict[str, object], text: str, count: int) -> None:
    arguments = {"path": value, **rest}
    calls = [WrittenCall("read_file", json.dumps(arguments, ensure_ascii=False)) for _ in range(count)]
    expected = [("text", text)] if text else []
    for _ in range(count):
        expected += [("call", "read_file"), ("arguments", arguments)]
    assert decoded(read_all_ways(family(), family().write(calls, text=text))) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_a_thought_stands_apart(family: type[Family]) -> None:
    made = family()
    if made.thoughts is None:
        pytest.skip("has no marks for thoughts")
    answer = made.write([WrittenCall("ls", "{}")], text="So:", reasoning="Hm.")
    assert read_all_ways(made, answer) == [("reasoning", "Hm."), ("text", "So:"), ("call", "ls"), ("arguments", "{}")]
    behind = f"Hm.\n{made.thoughts.close}\n\nSo: "
    assert read_all_ways(made, behind, rendered_end=made.thoughts.open) == [("reasoning", "Hm."), ("text", "So: ")]


@pytest.mark.parametrize("family", FAMILIES)
@given(text=st.text(alphabet="ab <>{}[]\"'/\n|_:\\tool", max_size=60))
@settings(max_examples=60, deadline=None)
def test_text_without_calls_is_never_altered(family: type[Family], text: str) -> None:
    assert read_all_ways(family(), text) == ([("text", text)] if text else [])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_required_call_is_held_whatever_its_schema(family: type[Family]) -> None:
    made = family()
    one = [WrittenCall("read_file", '{"path": "x", "n": 3}')]
    grammar = made.grammar(TOOLS, parallel=False, thinks=False)
    assert takes(VOCABULARY.compile(form("lark", grammar)), made.write(one))
    assert not takes(VOCABULARY.compile(form("lark", grammar)), "   ")
    assert not takes(VOCABULARY.compile(form("lark", grammar)), made.write([WrittenCall("rm", "{}")]))
    held = VOCABULARY.compile(form("lark", made.call_grammar(TOOLS), triggers=made.triggers()))
    assert takes(held, "So: " + made.write(one))
