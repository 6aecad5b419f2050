"""The free text in a custom tool's arguments, taken out while it arrives."""

from __future__ import annotations

import json
import random

import pytest

from impetus.api.dialects.responses_custom import FreeInput

PATCH = '*** Begin Patch\n+print("hi\\n")\t\u00e4\u20ac\U0001f600\n*** End Patch\n'
FORMS = [
    json.dumps({"input": PATCH}),
    json.dumps({"input": PATCH}, ensure_ascii=False),
    ' {\n "input" : ' + json.dumps(PATCH).replace("/", "\\/") + "\n}\n",
]


def read(pieces: list[str]) -> tuple[list[str], str]:
    reader = FreeInput()
    given = [reader.push(piece) for piece in pieces]
    given.append(reader.finish())
    assert "".join(given) == reader.text
    return given, reader.text


@pytest.mark.parametrize("written", FORMS)
def test_any_cut_gives_the_same_text(written: str) -> None:
    assert read([written])[1] == PATCH
    assert read(list(written))[1] == PATCH
    chance = random.Random(7)
    for _ in range(200):
        cuts = sorted(chance.randrange(len(written)) for _ in range(chance.randrange(1, 9)))
        assert read([written[a:b] for a, b in zip([0, *cuts], [*cuts, len(written)], strict=True)])[1] == PATCH


def test_text_comes_out_as_soon_as_it_is_certain() -> None:
    reader = FreeInput()
    assert reader.push('{"inp') == ""
    assert reader.push('ut": "ab') == "ab"
    assert reader.push("c\\") == "c"
    assert reader.push("n\\ud83d") == "\n"
    assert reader.push("\\ude00") == "\U0001f600"
    assert reader.push('"}') == ""
    assert reader.finish() == ""


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ('{"patch": "a\\nb"}', "a\nb"),
        ('{"why": "x", "input": "a"}', "a"),
        ('{"cmd": ["ls"], "in": "."}', '{"cmd": ["ls"], "in": "."}'),
        ("*** Begin Patch", "*** Begin Patch"),
        ("", ""),
        ("{}", "{}"),
        ('{"input": 3}', '{"input": 3}'),
    ],
)
def test_arguments_of_another_form_are_not_lost(written: str, text: str) -> None:
    assert read(list(written))[1] == text


def test_arguments_that_were_cut_short_give_what_came() -> None:
    assert read(list('{"input": "abc\\'))[1] == "abc"
    assert read(list('{"input": "'))[1] == ""


def test_half_a_character_alone_is_replaced() -> None:
    assert read(list('{"input": "a\\ud83d and more text"}'))[1] == "a\ufffd and more text"
