"""What form an answer must have: OpenAI's `response_format`, llama-server's `grammar` and `json_schema`, vLLM's `guided_…`.

After https://platform.openai.com/docs/guides/structured-outputs and
https://docs.vllm.ai/en/latest/features/structured_outputs.html.
"""

from __future__ import annotations

import json
from typing import Annotated

import msgspec
from msgspec import Meta

from ...runtime.errors import InvalidRequest
from ...runtime.request import Constraint
from .openai_sampling import SamplingBody

NULL = msgspec.Raw(b"null")
"""Stands for a field that is not given where its value is kept as it was written."""


class NamedSchema(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's envelope of a schema."""

    name: Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    schema: msgspec.Raw = NULL
    strict: bool | None = None
    """Every schema is held to the letter, strict or not."""
    description: str | None = None


class ResponseFormat(msgspec.Struct, frozen=True, kw_only=True):
    """What form the answer should have."""

    type: str
    json_schema: NamedSchema | None = None
    schema: msgspec.Raw = NULL
    """With `json_object`, as llama-server takes it."""


class StructuredOutputs(msgspec.Struct, frozen=True, kw_only=True):
    """vLLM's newer envelope; one of its fields may be given."""

    json: msgspec.Raw = NULL
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None


class FormBody(SamplingBody, frozen=True, kw_only=True):
    """The fields of a body that say what form the answer must have; one of them may be given."""

    response_format: ResponseFormat | None = None
    json_schema: msgspec.Raw = NULL
    grammar: str | None = None
    """GBNF, or llguidance's language where it begins with `%llguidance`; "" is none."""
    structured_outputs: StructuredOutputs | None = None
    guided_json: msgspec.Raw = NULL
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None


def to_constraint(body: FormBody) -> Constraint | None:
    """Translates what is asked for; None leaves the answer free.

    Raises:
        InvalidRequest: something is missing, not known, or asked for twice.
    """
    outputs = body.structured_outputs or StructuredOutputs()
    found = [
        _from_format(body.response_format),
        _schema(body.json_schema, "json_schema"),
        _text("gbnf", body.grammar, "grammar"),
        _schema(outputs.json, "structured_outputs.json"),
        _text("regex", outputs.regex, "structured_outputs.regex"),
        _choice(outputs.choice, "structured_outputs.choice"),
        _text("gbnf", outputs.grammar, "structured_outputs.grammar"),
        Constraint("json_object", param="structured_outputs.json_object") if outputs.json_object else None,
        _schema(body.guided_json, "guided_json"),
        _text("regex", body.guided_regex, "guided_regex"),
        _choice(body.guided_choice, "guided_choice"),
        _text("gbnf", body.guided_grammar, "guided_grammar"),
    ]
    given = [constraint for constraint in found if constraint is not None]
    if len(given) > 1:
        first, second = given[0].param, given[1].param
        raise InvalidRequest(f"'{second}' cannot be used together with '{first}'.", param=second, code="invalid_value")
    return given[0] if given else None


def _from_format(wanted: ResponseFormat | None) -> Constraint | None:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return _schema(wanted.schema, "response_format.schema") or Constraint("json_object", param="response_format")
    if wanted.type != "json_schema":
        raise InvalidRequest(
            f"'response_format.type': '{wanted.type}' is not supported; supported are 'text', 'json_object' and 'json_schema'.",
            param="response_format.type",
            code="invalid_value",
        )
    if wanted.json_schema is None:
        raise _missing("response_format.json_schema")
    constraint = _schema(wanted.json_schema.schema, "response_format.json_schema.schema")
    if constraint is None:
        raise _missing("response_format.json_schema.schema")
    return msgspec.structs.replace(constraint, param="response_format")


def _schema(raw: msgspec.Raw, param: str) -> Constraint | None:
    """Takes a schema as it was written; vLLM's clients send it as text as well."""
    written = bytes(raw).strip()
    if written == b"null":
        return None
    if written.startswith(b'"'):
        written = msgspec.json.decode(written, type=str).strip().encode("utf-8", "replace")
    if not written.startswith(b"{"):
        raise InvalidRequest(f"'{param}': a JSON Schema is an object.", param=param, code="invalid_type")
    return Constraint("json_schema", written.decode(), param=param)


def _text(kind: str, text: str | None, param: str) -> Constraint | None:
    if not text:
        return None
    return Constraint("regex" if kind == "regex" else "gbnf", text, param=param)


def _choice(choices: list[str] | None, param: str) -> Constraint | None:
    if choices is None:
        return None
    if not choices or not all(choices):
        raise InvalidRequest(
            f"'{param}': at least one text is needed, and none may be empty.", param=param, code="invalid_value"
        )
    options = " | ".join(json.dumps(choice, ensure_ascii=False) for choice in choices)
    return Constraint("lark", f"start: {options}\n", param=param)


def _missing(path: str) -> InvalidRequest:
    return InvalidRequest(f"The field '{path}' is missing.", param=path, code="missing_required_parameter")
