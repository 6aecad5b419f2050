"""Logprobs come with the text of their tokens, also where that was held back."""

from __future__ import annotations

import pytest

from impetus.runtime.events import TokenLogprob
from impetus.runtime.frames import Delta
from impetus.runtime.request import Tool
from impetus.runtime.worker.output.families.hermes import Hermes
from impetus.runtime.worker.output.spoken import Spoken

TOOLS = (Tool("ls"),)


def speak(*tokens: str, rendered_end: str = "") -> list[Delta]:
    spoken = Spoken(1, (), Hermes().open_parser(TOOLS, rendered_end=rendered_end))
    deltas: list[Delta] = []
    for at, token in enumerate(tokens):
        spoken.push(token.encode(), TokenLogprob(at, token.encode(), -1.0), deltas)
    spoken.finish(deltas)
    return deltas


def told(deltas: list[Delta]) -> list[tuple[str, str, list[str]]]:
    return [(delta.kind, delta.text, [logprob.text.decode() for logprob in delta.logprobs]) for delta in deltas]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (["a", " b"], [("text", "a", ["a"]), ("text", " b", [" b"])]),
        (["a <", "tool", "_x"], [("text", "a", ["a <"]), ("text", " <tool_x", ["tool", "_x"])]),
        (["<", "tool", "!"], [("text", "<tool!", ["<", "tool", "!"])]),
        (["a", "\n", "\n", "b"], [("text", "a", ["a"]), ("text", "\n\nb", ["\n", "\n", "b"])]),
        (["a <tool"], [("text", "a", ["a <tool"]), ("text", " <tool", [])]),
        (["é", "<", "ü"], [("text", "é", ["é"]), ("text", "<ü", ["<", "ü"])]),
    ],
)
def test_text_that_was_held_back_brings_the_logprobs_of_all_its_tokens(
    tokens: list[str], expected: list[tuple[str, str, list[str]]]
) -> None:
    assert told(speak(*tokens)) == expected


def test_those_of_thoughts_and_calls_are_dropped() -> None:
    call = ["<tool_call>", '{"name": "ls", ', '"arguments": {', "}}", "</tool_call>"]
    deltas = told(speak("<think>", "Hm", "</think>", "\n\n", "So", ":", *call, "\n", "Done"))
    assert [delta for delta in deltas if delta[2]] == [("text", "So", ["So"]), ("text", ":", [":"]), ("text", "Done", ["Done"])]
    assert [kind for kind, _, _ in deltas] == ["reasoning", "text", "text", "call", "arguments", "arguments", "text"]


def test_a_thought_that_the_prompt_began_has_none() -> None:
    assert told(speak("Hm", "</think>", "Yes", rendered_end="<think>\n")) == [("reasoning", "Hm", []), ("text", "Yes", ["Yes"])]


def test_a_call_gives_the_answer_its_end_and_its_ids() -> None:
    spoken = Spoken(1, (), Hermes().open_parser(TOOLS))
    deltas: list[Delta] = []
    spoken.push(b'<tool_call>{"name": "ls", "arguments": {}}</tool_call>' * 2, None, deltas)
    spoken.finish(deltas)
    begun = [delta for delta in deltas if delta.kind == "call"]
    assert [delta.call for delta in begun] == [0, 1]
    assert len({delta.call_id for delta in begun}) == 2
    assert spoken.end_reason("stop") == "tool_calls"
    assert spoken.end_reason("length") == "length"
