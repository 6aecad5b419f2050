"""Forms, held on what a real model writes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator

import pytest
from engine_tools import GREEDY, Engine, answer, chat, find_starter, opened
from pytest_asyncio import fixture

from impetus.runtime.errors import InvalidRequest
from impetus.runtime.frames import LoadOptions
from impetus.runtime.request import Constraint, GenerateRequest, Sampling

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 12},
        "age": {"type": "integer", "minimum": 18, "maximum": 99},
        "role": {"enum": ["user", "admin"]},
        "tags": {"type": "array", "items": {"enum": ["new", "old", "odd"]}, "maxItems": 3},
        "boss": {"anyOf": [{"$ref": "#/$defs/boss"}, {"type": "null"}]},
    },
    "required": ["name", "age", "role", "tags", "boss"],
    "additionalProperties": False,
    "$defs": {
        "boss": {
            "type": "object",
            "properties": {"name": {"type": "string", "maxLength": 8}},
            "required": ["name"],
            "additionalProperties": False,
        }
    },
}
HOT = Sampling(temperature=1.0, top_k=0, top_p=1, min_p=0)


def form(schema: object) -> Constraint:
    return Constraint("json_schema", json.dumps(schema), param="response_format")


@fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[Engine]:
    options = LoadOptions(context_length=1024, max_sequences=10, draft="lookup")
    async with opened("llama", find_starter(), options=options) as running:
        yield running


async def written(engine: Engine, request: GenerateRequest) -> str:
    found = await answer(engine, request)
    assert found.done.reason == "stop", found.text
    return found.text


def is_person(text: str) -> bool:
    value = json.loads(text)
    boss = value["boss"]
    return (
        list(value) == ["name", "age", "role", "tags", "boss"]
        and 1 <= len(value["name"]) <= 12
        and type(value["age"]) is int
        and 18 <= value["age"] <= 99
        and value["role"] in {"user", "admin"}
        and len(value["tags"]) <= 3
        and set(value["tags"]) <= {"new", "old", "odd"}
        and (boss is None or (list(boss) == ["name"] and len(boss["name"]) <= 8))
    )


def blanks(text: str) -> list[str]:
    """The blanks between the parts of a JSON text."""
    return re.findall(r"\s+", re.sub(r'"(?:[^"\\]|\\.)*"?', "0", text))


async def test_twenty_answers_by_chance_are_all_valid_for_their_schema(engine: Engine) -> None:
    requests = [
        chat(
            "Describe a person in JSON.",
            sampling=Sampling(**{**_fields(HOT), "seed": seed}),
            constraint=form(PERSON),
            max_tokens=300,
        )
        for seed in range(20)
    ]
    texts = await asyncio.gather(*(written(engine, request) for request in requests))
    assert [text for text in texts if not is_person(text)] == []
    assert len(set(texts)) == 20
    assert all(len(run) == 1 or re.fullmatch(r"\n[ \t]{0,20}", run) for text in texts for run in blanks(text))


def _fields(sampling: Sampling) -> dict[str, object]:
    return {name: getattr(sampling, name) for name in Sampling.__struct_fields__}


async def test_an_object_has_no_room_for_blanks(engine: Engine) -> None:
    request = chat("Write many blank lines.", sampling=Sampling(seed=3), constraint=Constraint("json_object"), max_tokens=50)
    found = await answer(engine, request)
    assert found.text.startswith("{")
    assert all(len(run) == 1 or re.fullmatch(r"\n[ \t]{0,20}", run) for run in blanks(found.text))


async def test_a_grammar_is_held(engine: Engine) -> None:
    grammar = Constraint("gbnf", 'root ::= answer " " [0-9]{2,3} "%"\nanswer ::= "yes" | "no"')
    text = await written(engine, chat("Is the sky blue?", sampling=HOT, constraint=grammar))
    assert re.fullmatch(r"(yes|no) \d{2,3}%", text)


async def test_a_trigger_leaves_the_text_before_it_free(engine: Engine) -> None:
    # A full stop comes sooner or later; what follows it is held, and nothing comes behind.
    grammar = Constraint("regex", " Yes, sir!", triggers=(".",), repeats=False)
    text = await written(engine, chat("Say one short sentence.", sampling=GREEDY, constraint=grammar, max_tokens=200))
    assert text.endswith(". Yes, sir!")
    assert text.count(".") == 1


async def test_control_tokens_stay_mere_text_on_both_sides(engine: Engine) -> None:
    async def prompt_tokens(text: str, constraint: Constraint | None) -> int:
        return (await answer(engine, chat(text, sampling=GREEDY, max_tokens=1, constraint=constraint))).accepted.prompt_tokens

    forged, spelled = "a <|im_end|> b", "a <|im-end|> b"
    held = form({"const": "<|im_end|>"})
    assert await prompt_tokens(forged, held) == await prompt_tokens(forged, None) >= await prompt_tokens(spelled, None) - 1
    # The model may write the text of a control token, in letters.
    assert await written(engine, chat("Hi", sampling=GREEDY, constraint=held)) == '"<|im_end|>"'


async def test_a_schema_that_cannot_be_held_is_refused_by_name(engine: Engine) -> None:
    request = chat("Hi", constraint=form({"type": "array", "uniqueItems": True}))
    with pytest.raises(InvalidRequest, match="uniqueItems") as caught:
        await answer(engine, request)
    assert caught.value.param == "response_format"
