from __future__ import annotations

from itertools import product

import pytest

from impetus.runtime.request import Tool
from impetus.runtime.worker.output.families.command_r import CommandR
from impetus.runtime.worker.output.families.deepseek import Deepseek, DeepseekFenced
from impetus.runtime.worker.output.families.kimi import Kimi
from impetus.runtime.worker.output.families.mistral import Mistral, MistralList
from impetus.runtime.worker.output.family import Family, WrittenCall
from impetus.runtime.worker.output.pieces import Arguments, Call, Piece, Reasoning, Text

TOOLS = (Tool("get_weather"), Tool("run"))
FAMILIES = (Mistral(), MistralList(), Kimi(), Deepseek(), DeepseekFenced(), CommandR())
ARGUMENTS = (
    "{}",
    '{"a": "x } ] [ { ü 日本 🙂"}',
    '{"a": "say \\"hi\\" \\\\ \\n", "b": {"c": [1, 2.5, null, true]}}',
    '{"a": "```json [TOOL_CALLS] <|tool_call_end|> <|END_ACTION|> <｜tool▁call▁end｜>"}',
)


def read(family: Family, raw: str) -> list[tuple[str, str]]:
    """Reads it whole, in small stretches and per character, which must give the same."""
    results: list[list[tuple[str, str]]] = []
    for size in (max(1, len(raw)), 4, 1):
        parser = family.open_parser(TOOLS)
        pieces: list[Piece] = []
        for at in range(0, len(raw), size):
            pieces += parser.push(raw[at : at + size])
        results.append(join([*pieces, *parser.finish()]))
    assert results[0] == results[1] == results[2]
    return results[0]


def join(pieces: list[Piece]) -> list[tuple[str, str]]:
    joined: list[tuple[str, str]] = []
    for piece in pieces:
        match piece:
            case Call(name, _):
                joined.append(("call", name))
            case Text(text) | Reasoning(text) | Arguments(text):
                kind = type(piece).__name__
                if joined and joined[-1][0] == kind:
                    text = joined.pop()[1] + text
                joined.append((kind, text))
    return joined


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_what_is_written_is_read(family: Family):
    for first, second, text, reasoning in product(ARGUMENTS, (None, *ARGUMENTS), ("", "Well,  ünder {way} [1]"), ("", "I see")):
        calls = [WrittenCall("get_weather", first)] + ([WrittenCall("run", second)] if second else [])
        expected = [("Reasoning", reasoning)] if reasoning else []
        expected += [("Text", text)] if text else []
        for call in calls:
            expected += [("call", call.name), ("Arguments", call.arguments)]
        assert read(family, family.write(calls, text=text, reasoning=reasoning)) == expected


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_marks_that_are_quoted_are_text(family: Family):
    for mark in family.triggers():
        text = f"Write {mark} before a call, as in {mark}."
        assert read(family, text) == [("Text", text)]
