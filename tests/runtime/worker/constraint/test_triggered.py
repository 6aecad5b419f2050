"""Answers that are free until they write a trigger."""

from __future__ import annotations

import pytest
from byte_vocabulary import CONTROL, END, allowed_pieces, form, may_end, open_vocabulary, takes, token

from impetus.runtime.worker.backends.backend import Refusal
from impetus.runtime.worker.constraint.matcher import Matcher

VOCABULARY = open_vocabulary()
SCHEMA = '{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": false}'
CALL = f'start: "\\n"? %json {SCHEMA} "</tool_call>"'


def calls(**fields: object) -> Matcher:
    return VOCABULARY.compile(form("lark", CALL, triggers=("<tool_call>", "[CALL]"), **fields))


def write(matcher: Matcher, *pieces: bytes) -> Matcher:
    for piece in pieces:
        allowed = matcher.allowed()
        assert allowed is None or allowed[token(piece)], piece
        matcher.accept(token(piece))
    return matcher


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Just text, with < and <tool and <<tool_cal>.",
        '<tool_call>{"n":1}</tool_call>',
        'First <tool_call>\n{"n":1}</tool_call> and [CALL]{"n":-2}</tool_call> then text.',
        '<<tool_call>{"n":1}</tool_call>',
        '<tool_<tool_call>{"n":1}</tool_call>',
        '[CA[CALL]{"n":1}</tool_call>[CALL]{"n":1}</tool_call>',
    ],
)
def test_text_around_calls_is_free(text: str) -> None:
    assert takes(calls(), text)


@pytest.mark.parametrize(
    "text", ["<tool_call>x", '<tool_call>{"m":1}', '<tool_call>{"n":1}', "[CALL]", '[CALL]{"n":1}</tool_call>[CALL]{']
)
def test_what_follows_a_trigger_is_held(text: str) -> None:
    assert not takes(calls(), text)


def test_free_text_costs_no_mask() -> None:
    matcher = VOCABULARY.compile(form("regex", "a", triggers=("[CALL]",)))
    assert matcher.allowed() is None
    assert matcher.allowed() is None
    matcher.accept(CONTROL)
    assert matcher.allowed() is None
    assert not matcher.is_complete


def test_a_trigger_may_be_one_token_or_several() -> None:
    held = {b"{", b'{"', b"\n"}
    assert allowed_pieces(write(calls(), b"<tool_call>")) == held
    assert allowed_pieces(write(calls(), b"<tool", b"_", b"call", b">")) == held


def test_a_token_that_goes_on_behind_the_trigger_is_held_too() -> None:
    assert allowed_pieces(write(calls(), b"<tool", b"_call>{")) == {b'"', b" ", b"\n"}
    assert b"_call>x" not in allowed_pieces(write(calls(), b"<tool"))
    assert b"_call>{" in allowed_pieces(write(calls(), b"<tool"))
    assert b"_call>x" in allowed_pieces(calls())


def test_blanks_are_bounded_in_a_schema_within_a_grammar() -> None:
    assert takes(calls(), '<tool_call>{ "n":\n    1 }</tool_call>')
    assert not takes(calls(), '<tool_call>{  "n": 1}</tool_call>')
    with pytest.raises(Refusal, match="contains"):
        VOCABULARY.compile(form("lark", 'start: "a" %json {"contains": {}} "b"'))
    with pytest.raises(Refusal, match="not valid JSON"):
        VOCABULARY.compile(form("lark", "start: %json {a}"))


def test_a_trigger_inside_of_a_token_is_seen() -> None:
    matcher = VOCABULARY.compile(form("lark", 'start: "\\"" /[a-z]+/ "\\"}"', triggers=("{",)))
    assert b"_call>x" in allowed_pieces(matcher)
    assert b"_call>{" in allowed_pieces(matcher)
    assert allowed_pieces(write(matcher, b'{"')) >= {b"a", b"call"}
    strict = VOCABULARY.compile(form("lark", 'start: "x"', triggers=("{",)))
    assert b'{"' not in allowed_pieces(strict)


def test_after_a_call_the_answer_is_free_again() -> None:
    matcher = calls()
    for byte in b'<tool_call>{"n":1}</tool_call>':
        assert not matcher.is_complete
        matcher.accept(byte)
    assert may_end(matcher)
    assert b"call" in allowed_pieces(matcher)


def test_where_it_must_come_once_the_answer_can_neither_end_before_nor_go_on_behind() -> None:
    matcher = VOCABULARY.compile(form("regex", "(yes|no)", triggers=("</think>",), repeats=False))
    for byte in b"Hm, let me see </thin":
        assert not may_end(matcher)
        matcher.accept(byte)
    write(matcher, b"k", b">", b"n")
    assert allowed_pieces(matcher) == {b"o"}
    assert not matcher.is_complete
    write(matcher, b"o")
    assert matcher.is_complete
    assert may_end(matcher)
    assert b"x" not in allowed_pieces(matcher)


@pytest.mark.parametrize(
    ("written", "guess", "taken"),
    [
        (b"", b"free text", 9),
        (b"", b'<tool_call>{"n":1}</tool_call> and', 34),
        (b"", b'<tool_call>{"m', 13),
        (b"<tool_ca", b'll>{"n":2}</tool_call>[CALL]x', 28),
        (b'<tool_call>{"n":', b"12}</tool_call>!", 16),
        (b'<tool_call>{"n":', b"x", 0),
    ],
)
def test_a_guess_is_counted_across_triggers_and_changes_nothing(written: bytes, guess: bytes, taken: int) -> None:
    matcher = calls()
    for byte in written:
        matcher.accept(byte)
    before = allowed_pieces(matcher)
    assert matcher.allowed_prefix(list(guess)) == taken
    assert matcher.allowed_prefix([*guess[:taken], END]) == taken
    assert allowed_pieces(matcher) == before


def test_a_guess_behind_the_last_form_is_not_taken() -> None:
    matcher = VOCABULARY.compile(form("regex", "ab", triggers=("!",), repeats=False))
    assert matcher.allowed_prefix(list(b"text!abc")) == 7


@pytest.mark.parametrize("triggers", [("",), ("a",) * 17])
def test_odd_triggers_are_refused(triggers: tuple[str, ...]) -> None:
    with pytest.raises(Refusal, match="trigger"):
        VOCABULARY.compile(form("regex", "a", triggers=triggers))


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("", True),
        ("Just text, with < and <tool and <<tool_cal>.", True),
        ("<tool_call>", False),
        ("First <<tool_call>", False),
        ("[CA[CALL]", False),
        ("[CALLS] and [CALL", True),
    ],
)
def test_a_text_may_be_kept_from_coming_at_all(text: str, fits: bool) -> None:
    assert takes(VOCABULARY.compile(form("without", "", triggers=("<tool_call>", "[CALL]"))), text) is fits


def test_a_text_that_may_not_come_is_refused_as_one_token_and_as_several() -> None:
    matcher = VOCABULARY.compile(form("without", "", triggers=("<tool_call>", "[CALL]")))
    pieces = [VOCABULARY.tokens.pieces[one] for one in range(len(VOCABULARY.tokens.pieces))]
    whole = [one for one, piece in enumerate(pieces) if b"<tool_call>" in piece]
    allowed = matcher.allowed()
    assert whole
    assert allowed is not None
    assert not allowed[whole].any()
    assert allowed.sum() == len(pieces) - len(whole)
    write(matcher, b"[", b"C", b"A", b"L", b"L")
    assert matcher.allowed_prefix([token(b"]")]) == 0
    assert matcher.allowed_prefix([token(b"x"), token(b"]")]) == 2
    assert not matcher.is_complete
