"""Hundreds of answers of each family give what they say, whole, by tokens and by characters."""

from __future__ import annotations

import json

import pytest
from family_outputs import AS_JSON, BARE, LISTED, NAMED, TAGGED, cuts, decoded, made, outputs, read, read_all_ways

from impetus.runtime.worker.output.choice import FAMILIES
from impetus.runtime.worker.output.family import Family, WrittenCall

# Harmony's channels and Llama's bare objects have no marks that text could stand around: they have tests of their own.
ALL = [family for family in made() if family.name not in ("harmony", "llama_json")]
NAMES = [family.name for family in ALL]
WORDS = (
    "Plain words.",
    " leading and trailing \n",
    "{}",
    '{"name": "unheard_of", "arguments": {}}',
    '{"name": "ls"',
    "[]",
    "[1, 2]",
    "<",
    "a < b and c > d",
    "<tool",
    "<|tool",
    "[TOOL",
    "<b>html</b>",
    "```json\n{}\n```",
    "def f(x): return [x]",
    "The tool ls() lists.",
    "<read_file><path>a.txt</path></read_file>",
    "I will call read_file.",
    "\u2028 日本 🦊",
    "C:\\path\\n",
)


def test_each_family_is_told_to_be_of_one_kind() -> None:
    assert {*TAGGED, *AS_JSON, *NAMED, *BARE, *LISTED} <= set(NAMES)


@pytest.mark.parametrize("family", ALL, ids=NAMES)
def test_three_hundred_answers_read_alike_however_they_are_cut(family: Family) -> None:
    some = outputs(family)
    if family.name == "command_r":  # writes no text behind calls
        some = [one for one in some if "Done." not in one[0]]
    for answer, expected in some:
        assert decoded(read_all_ways(family, answer)) == expected, answer
    assert len(some) >= 300


@pytest.mark.parametrize("family", ALL, ids=NAMES)
@pytest.mark.parametrize("text", WORDS)
def test_text_without_calls_stays_as_it_is(family: Family, text: str) -> None:
    assert read_all_ways(family, text) == [("text", text)]
    assert read_all_ways(family, text, tools=()) == [("text", text)]


@pytest.mark.parametrize("family", ALL, ids=NAMES)
def test_marks_that_are_quoted_stay_text(family: Family) -> None:
    for mark in family.triggers():
        for text in (
            f"Write {mark} before a call, as in {mark}.",
            mark,
            f"`{mark}`",
            f"{mark}{mark}",
            f"{mark[:-1]} {mark[1:]}",
            f"{mark[:3]}{mark} is not it",
            f"{mark}: nothing",
        ):
            assert read_all_ways(family, text) == [("text", text)]


@pytest.mark.parametrize("family", ALL, ids=NAMES)
def test_without_tools_calls_are_text(family: Family) -> None:
    answer = family.write([WrittenCall("ls", "{}")], text="So:")
    said = read_all_ways(family, answer, tools=())
    assert {kind for kind, _ in said} == {"text"}
    if family.name != "command_r":
        assert said == [("text", answer)]


@pytest.mark.parametrize("family", ALL, ids=NAMES)
def test_an_answer_that_is_cut_off_stays_sane(family: Family) -> None:
    arguments = {"path": 'a "b"\n{c}', "n": 12, "x": {"a": [True, None]}}
    whole = [WrittenCall("read_file", json.dumps(arguments)), WrittenCall("read_file", json.dumps(arguments))]
    answer = family.write(whole, text="So:", reasoning="Hm." if family.thoughts else "")
    complete = read(family, [answer])
    sayable = {str(value) for kind, value in complete if kind == "arguments"}
    for end in range(len(answer)):
        cut = answer[:end]
        said = read_all_ways(family, cut)
        assert len([kind for kind, _ in said if kind == "call"]) <= 2
        for kind, value in said:
            if kind == "call":
                assert value == "read_file"
            elif kind == "arguments":
                text = str(value)
                assert any(one.startswith(text) for one in sayable) or json.loads(text) == arguments, cut
            elif kind == "text":
                assert str(value) in cut
                # Behind a call no piece of a mark is text, only the beginning of a further call that is none yet.
                first = said.index((kind, value)) == 0 or said[0][0] == "reasoning"
                assert first or str(value).startswith(tuple(family.marks)), cut
        assert read(family, cuts(family, cut)[1]) == said


MENDED: dict[str, dict[str, object]] = {
    '{"path": "a", "n": 1,}': {"path": "a", "n": 1},
    "{'path': 'a', 'n': 1}": {"path": "a", "n": 1},
    '{"path": "a", "all": True, "x": None}': {"path": "a", "all": True, "x": None},
    '{"path": "line one\nline two"}': {"path": "line one\nline two"},
    '{"path": "a\\d"}': {"path": "a\\d"},
    '{path: "a", n: 1}': {"path": "a", "n": 1},
}
"""Arguments as models slip, and what they can only mean."""


@pytest.mark.parametrize("broken", MENDED, ids=range(len(MENDED)))
@pytest.mark.parametrize("name", [*AS_JSON, *NAMED, *LISTED, "llama_json", "harmony"])
def test_slips_in_json_are_mended(name: str, broken: str) -> None:
    family = FAMILIES[name]()
    answer = family.write([WrittenCall("read_file", "{}")])
    assert answer.count("{}") == 1
    said = decoded(read_all_ways(family, answer.replace("{}", broken)))
    assert said == [("call", "read_file"), ("arguments", MENDED[broken])]


def test_a_fence_around_arguments_falls_away() -> None:
    answer = '<|channel|>commentary to=functions.read_file json<|message|>```json\n{"path": "a"}\n```<|call|>'
    said = decoded(read_all_ways(FAMILIES["harmony"](), answer))
    assert said == [("call", "read_file"), ("arguments", {"path": "a"})]


@pytest.mark.parametrize("family", ALL, ids=NAMES)
def test_huge_arguments_come_through(family: Family) -> None:
    arguments = {"path": 'line "x" {\n' * 9000, "n": 1}
    answer = family.write([WrittenCall("read_file", json.dumps(arguments))], text="So:")
    pushes = [answer[at : at + 7] for at in range(0, len(answer), 7)]
    assert decoded(read(family, pushes)) == [("text", "So:"), ("call", "read_file"), ("arguments", arguments)]
    assert decoded(read(family, [answer])) == [("text", "So:"), ("call", "read_file"), ("arguments", arguments)]


@pytest.mark.parametrize("family", ALL, ids=NAMES)
def test_a_tool_that_was_not_offered_is_called_all_the_same(family: Family) -> None:
    answer = family.write([WrittenCall("rm", '{"path": "a"}'), WrittenCall("ls", "{}")])
    said = decoded(read_all_ways(family, answer))
    assert said[-2:] == [("call", "ls"), ("arguments", {})]
    assert ("call", "rm") in said or any(kind == "text" for kind, _ in said)


@pytest.mark.parametrize("family", [one for one in ALL if one.thoughts], ids=lambda family: family.name)
def test_a_call_ends_a_thought_that_was_never_closed(family: Family) -> None:
    assert family.thoughts is not None
    answer = family.thoughts.open + "I look it up. " + family.write([WrittenCall("ls", "{}")])
    said = decoded(read_all_ways(family, answer))
    assert said[0][0] == "reasoning"
    assert said[-2:] == [("call", "ls"), ("arguments", {})]


@pytest.mark.parametrize("family", [one for one in ALL if one.thoughts], ids=lambda family: family.name)
def test_a_call_that_is_quoted_in_a_thought_is_none(family: Family) -> None:
    quoted = f"I might say {family.write([WrittenCall('ls', '{}')])} but no."
    answer = family.write([], text="No.", reasoning=quoted)
    assert read_all_ways(family, answer) == [("reasoning", quoted), ("text", "No.")]
