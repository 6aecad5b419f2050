"""The forms that clients ask for, to the runtime's constraint."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from impetus.api.dialects import openai
from impetus.runtime.errors import InvalidRequest
from impetus.runtime.request import Constraint, GenerateRequest, Sampling

SCHEMA = {"type": "object", "properties": {"z": {"type": "integer"}, "a": {"type": "null"}}}
WRITTEN = msgspec.json.encode(SCHEMA).decode()


def chat(**fields: object) -> GenerateRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]} | fields
    return openai.to_chat_request(openai.CHAT.decode(msgspec.json.encode(body)))


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("response_format", {"type": "text"}, None),
        ("response_format", {"type": "json_object"}, Constraint("json_object", param="response_format")),
        (
            "response_format",
            {"type": "json_object", "schema": SCHEMA},
            Constraint("json_schema", WRITTEN, param="response_format.schema"),
        ),
        (
            "response_format",
            {"type": "json_schema", "json_schema": {"name": "a-1", "strict": True, "schema": SCHEMA, "description": "d"}},
            Constraint("json_schema", WRITTEN, param="response_format"),
        ),
        ("json_schema", SCHEMA, Constraint("json_schema", WRITTEN, param="json_schema")),
        ("grammar", 'root ::= "a"', Constraint("gbnf", 'root ::= "a"', param="grammar")),
        ("grammar", "", None),
        ("guided_json", SCHEMA, Constraint("json_schema", WRITTEN, param="guided_json")),
        ("guided_json", WRITTEN, Constraint("json_schema", WRITTEN, param="guided_json")),
        ("guided_regex", "a+", Constraint("regex", "a+", param="guided_regex")),
        ("guided_grammar", 'root ::= "a"', Constraint("gbnf", 'root ::= "a"', param="guided_grammar")),
        ("guided_choice", ['say "a"', "é\n"], Constraint("lark", 'start: "say \\"a\\"" | "é\\n"\n', param="guided_choice")),
        ("structured_outputs", {"json": SCHEMA}, Constraint("json_schema", WRITTEN, param="structured_outputs.json")),
        ("structured_outputs", {"regex": "b"}, Constraint("regex", "b", param="structured_outputs.regex")),
        ("structured_outputs", {"json_object": True}, Constraint("json_object", param="structured_outputs.json_object")),
        ("structured_outputs", {}, None),
    ],
)
def test_a_form_becomes_a_constraint(field: str, value: object, expected: Constraint | None) -> None:
    assert chat(**{field: value}).constraint == expected


def test_the_order_of_a_schema_is_kept_as_it_was_written() -> None:
    constraint = chat(json_schema=SCHEMA).constraint
    assert constraint is not None
    assert list(msgspec.json.decode(constraint.text)["properties"]) == ["z", "a"]


def test_completions_take_a_form_too() -> None:
    [request] = openai.to_completion_requests(
        openai.COMPLETION.decode(b'{"model":"m","prompt":"a","grammar":"root ::= \\"a\\""}')
    )
    assert request.constraint == Constraint("gbnf", 'root ::= "a"', param="grammar")


def test_two_forms_at_once_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="'grammar' cannot be used together with 'response_format'") as caught:
        chat(response_format={"type": "json_object"}, grammar='root ::= "a"')
    assert caught.value.param == "grammar"


def test_llama_servers_names_reach_the_sampler() -> None:
    fields: dict[str, Any] = {
        "typical_p": 0.9,
        "dry_multiplier": 0.8,
        "dry_base": 1.5,
        "dry_allowed_length": 3,
        "dry_penalty_last_n": 100,
        "dry_sequence_breakers": ["\n", "x"],
        "xtc_probability": 0.5,
        "xtc_threshold": 0.2,
        "mirostat": 2,
        "mirostat_tau": 4.0,
        "mirostat_eta": 0.2,
    }
    expected = Sampling(**{**fields, "dry_sequence_breakers": ("\n", "x")})
    assert chat(**fields).sampling == expected
    assert chat().sampling == Sampling()


def test_what_concerns_context_cache_and_guesses_is_passed_on() -> None:
    request = chat(num_ctx=2048, cache_prompt=False, draft_tokens=0)
    assert (request.context_limit, request.cache_prompt, request.draft_tokens) == (2048, False, 0)
    bare = chat()
    assert (bare.context_limit, bare.cache_prompt, bare.draft_tokens) == (None, True, None)
    assert chat(num_ctx=10**12).context_limit == 2**31 - 1
