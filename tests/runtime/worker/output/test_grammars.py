"""What each family's grammars let through: what its models write, nothing that is no call, and nothing that cannot be read."""

from __future__ import annotations

import json
import random

import pytest
from byte_vocabulary import form
from family_outputs import decoded, made, read_all_ways
from mark_vocabulary import MarkVocabulary

from impetus.runtime.request import Tool
from impetus.runtime.worker.output.family import Family, WrittenCall
from impetus.runtime.worker.output.tagged import TaggedFamily

SCHEMA = {
    "type": "object",
    "properties": {
        "at": {"type": "string"},
        "n": {"type": "integer"},
        "on": {"type": "boolean"},
        "kind": {"enum": ["dry air", "wet", 3]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "box": {"type": "object", "properties": {"h": {"type": "number"}}},
    },
    "required": ["at"],
}
TOOLS = (Tool("look", "Looks.", json.dumps(SCHEMA)), Tool("go", parameters='{"type": "object", "properties": {}}'))
_OF_AT = {"at": {"type": "string", "enum": ["x", "y z"]}}
BOUNDED = (
    Tool("look", parameters=json.dumps({**SCHEMA, "properties": {**SCHEMA["properties"], **_OF_AT}})),  # type: ignore[dict-item]
    Tool("go", parameters='{"type": "object", "properties": {"k": {"enum": ["a", "b"]}}}'),
)
WHOLE = {"at": "a </ <b>\n", "n": -3, "on": True, "kind": "dry air", "tags": ["x", "y"], "box": {"h": 1.5}}
ONE_CALL = ("harmony", "llama_json", "gigachat")
"""Families whose answers end with their first call."""
ALL = made()
NAMES = [family.name for family in ALL]


def vocabularies(family: Family) -> list[MarkVocabulary]:
    """Without any control tokens, and with those that the family's models have."""
    return [MarkVocabulary(()), MarkVocabulary(sorted({*family.marks} - {"[", "{"}))]


@pytest.mark.parametrize("family", ALL, ids=NAMES)
def test_a_required_call_is_what_the_model_writes(family: Family) -> None:
    grammar = form("lark", family.grammar(TOOLS, parallel=True, thinks=bool(family.thoughts)))
    calls = [[WrittenCall("look", '{"at": "x"}')], [WrittenCall("look", json.dumps(WHOLE))], [WrittenCall("go", "{}")]]
    if family.name not in ONE_CALL:
        calls.append([WrittenCall("go", "{}"), WrittenCall("look", json.dumps(WHOLE)), WrittenCall("go", "{}")])
    for vocabulary in vocabularies(family):
        for some in calls:
            answer = family.write(some, reasoning="Hm.\nSo" if family.thoughts else "")
            assert vocabulary.refused(vocabulary.constraints.compile(grammar), answer) is None, answer


@pytest.mark.parametrize("family", [family for family in ALL if family.triggers()], ids=lambda family: family.name)
def test_an_answer_that_calls_by_itself_is_held_behind_its_mark(family: Family) -> None:
    free = form("lark", family.call_grammar(TOOLS), triggers=family.triggers())
    for vocabulary in vocabularies(family):
        for some in ([WrittenCall("look", json.dumps(WHOLE))], [WrittenCall("go", "{}")]):
            answer = family.write(some, text="So:")
            assert vocabulary.refused(vocabulary.constraints.compile(free), answer) is None, answer
        assert vocabulary.refused(vocabulary.constraints.compile(free), "Just words.") is None
        wrong = family.write([WrittenCall("rm", "{}")], text="So:")
        assert vocabulary.refused(vocabulary.constraints.compile(free), wrong) is not None


@pytest.mark.parametrize("family", ALL, ids=NAMES)
def test_what_is_no_call_of_these_tools_is_refused(family: Family) -> None:
    grammar = form("lark", family.grammar(TOOLS, parallel=True, thinks=False))
    refused = [
        [WrittenCall("look", '{"n": 3}')],
        [WrittenCall("rm", "{}")],
        [WrittenCall("look", '{"at": "x", "n": 1.5}')],
        [WrittenCall("look", '{"at": "x", "kind": "hot"}')],
        [WrittenCall("look", '{"at": "x", "more": 1}')],
        [],
    ]
    for vocabulary in vocabularies(family):
        for some in refused:
            answer = family.write(some, text="" if some else "Words.")
            assert vocabulary.refused(vocabulary.constraints.compile(grammar), answer) is not None, answer


@pytest.mark.parametrize("family", ALL, ids=NAMES)
def test_whatever_the_grammar_lets_through_is_read_as_calls(family: Family) -> None:
    # By chance alone a text between tags that are no tokens would never end.
    tools = TOOLS if not isinstance(family, TaggedFamily) else BOUNDED
    grammar = form("lark", family.grammar(tools, parallel=True, thinks=False))
    vocabulary = vocabularies(family)[1]
    for seed in range(8):
        answer = vocabulary.wander(vocabulary.constraints.compile(grammar), random.Random(seed), 3000)
        said = decoded(read_all_ways(family, answer, tools=TOOLS))
        assert {kind for kind, _ in said} == {"call", "arguments"}, answer
        assert len(said) % 2 == 0
        for (_, name), (_, arguments) in zip(said[::2], said[1::2], strict=True):
            assert name in ("look", "go")
            assert isinstance(arguments, dict)
            if name == "look":
                assert isinstance(arguments["at"], str), answer
