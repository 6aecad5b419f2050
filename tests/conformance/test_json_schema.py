"""Which keywords of JSON Schema are held, by examples; the table in docs/structured-output.md is made of the same ones.

Run as a program it writes the table anew: `PYTHONPATH=tests/fixtures python tests/conformance/test_json_schema.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from byte_vocabulary import form, open_vocabulary, takes_value

from impetus.runtime.worker.backends.backend import Refusal
from impetus.runtime.worker.constraint.keywords import CONSTRAINING

HERE = Path(__file__).parent
DOC = HERE.parent.parent / "docs" / "structured-output.md"
BEGIN, END = "<!-- keywords: begin -->\n", "<!-- keywords: end -->\n"
MAX_BYTES = 200 * 1024


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: object
    valid: list[object]
    invalid: list[object]
    unwritten: list[object] = []
    """Valid by the specification, but never written."""


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keyword: str
    cases: list[Case]
    refused: list[object] = []
    remark: str = ""


CASES = HERE / "json_schema_cases.json"
GROUPS = msgspec.json.decode(CASES.read_bytes(), type=list[Group])
VOCABULARY = open_vocabulary()


def is_taken(schema: object, value: object) -> bool:
    return takes_value(VOCABULARY.compile(form("json_schema", json.dumps(schema))), value)


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.keyword.split(",")[0])
def test_valid_values_are_taken_and_others_are_not(group: Group) -> None:
    wrong = [
        f"{json.dumps(case.schema)} {'does not take' if wanted else 'takes'} {json.dumps(value)}"
        for case in group.cases
        for values, wanted in ((case.valid, True), (case.invalid, False), (case.unwritten, False))
        for value in values
        if is_taken(case.schema, value) != wanted
    ]
    assert wrong == []


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.keyword.split(",")[0])
def test_what_cannot_be_held_is_refused(group: Group) -> None:
    for schema in group.refused:
        with pytest.raises(Refusal) as caught:
            VOCABULARY.compile(form("json_schema", json.dumps(schema)))
        assert (caught.value.kind, caught.value.param) == ("invalid", "response_format"), schema


def test_the_examples_are_of_every_keyword_that_is_known() -> None:
    text = CASES.read_text()
    assert [keyword for keyword in CONSTRAINING if f'"{keyword}"' not in text and keyword != "$recursiveRef"] == []
    assert len(text.encode()) < MAX_BYTES


def test_the_table_in_the_docs_is_made_of_these_examples() -> None:
    text = DOC.read_text()
    assert text[text.index(BEGIN) + len(BEGIN) : text.index(END)] == make_table(), f"run python {Path(__file__).name}"


def make_table() -> str:
    rows = ["| Keyword | Examples taken | Examples kept out | Schemas refused | Remarks |", "| --- | --- | --- | --- | --- |"]
    for group in GROUPS:
        names = ", ".join(name if " " in name else f"`{name}`" for name in group.keyword.split(", "))
        valid = sum(len(case.valid) for case in group.cases)
        invalid = sum(len(case.invalid) for case in group.cases)
        rows.append(f"| {names} | {valid} | {invalid} | {len(group.refused) or '–'} | {group.remark} |")
    unwritten = [f"`{json.dumps(value)}`" for group in GROUPS for case in group.cases for value in case.unwritten]
    rows += ["", f"Valid, but never written: {', '.join(unwritten)}.", ""]
    return "\n".join(rows)


if __name__ == "__main__":
    text = DOC.read_text()
    DOC.write_text(text[: text.index(BEGIN) + len(BEGIN)] + make_table() + text[text.index(END) :])
