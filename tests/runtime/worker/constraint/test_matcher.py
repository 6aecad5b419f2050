"""What may come next under a constraint."""

from __future__ import annotations

import json
import re
from contextlib import suppress

import pytest
from byte_vocabulary import (
    CONTROL,
    EMPTY,
    END,
    PIECES,
    SECOND_END,
    allowed_pieces,
    form,
    may_end,
    open_vocabulary,
    read_tokens,
    takes,
    token,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from impetus.runtime.worker.backends.backend import Refusal
from impetus.runtime.worker.constraint.keywords import CONSTRAINING
from impetus.runtime.worker.constraint.matcher import ConstraintFailed
from impetus.runtime.worker.constraint.patterns import none_of, repetition_product
from impetus.runtime.worker.constraint.vocabulary import MAX_TEXT_BYTES, ConstraintVocabulary, Tokens

VOCABULARY = open_vocabulary()
OBJECT = form("json_object")


@pytest.mark.parametrize("text", ['{"a": 1}', '{\n  "a": [\n    1,\n    2\n  ]\n}', '{"a":1}', '{ "a" : 1 }', "{ }"])
def test_json_may_have_a_space_or_a_new_line_with_its_indentation(text: str) -> None:
    assert takes(VOCABULARY.compile(OBJECT), text)


@pytest.mark.parametrize(
    "text", ['{  "a": 1}', '{\n\n"a": 1}', '{"a":\r1}', '{"a": 1} ', ' {"a": 1}', "{\n" + " " * 21 + "}", "{ \n}"]
)
def test_blanks_cannot_go_on(text: str) -> None:
    assert not takes(VOCABULARY.compile(OBJECT), text)


def test_an_object_is_an_object() -> None:
    for text in ("[]", "1", '"a"', "null", "", "{", '{"a"}', "{'a': 1}", '{"a": tru}', '{"a": 01}'):
        assert not takes(VOCABULARY.compile(OBJECT), text)


def test_a_name_cannot_be_spelled_in_a_second_way() -> None:
    schema = '{"type": "object", "properties": {"a": {"type": "integer"}}}'
    assert takes(VOCABULARY.compile(form("json_schema", schema)), '{"a":1,"b":"x"}')
    assert not takes(VOCABULARY.compile(form("json_schema", schema)), '{"\\u0061":"x"}')
    assert not takes(VOCABULARY.compile(form("json_schema", schema)), '{"a":1,"a":"x"}')


def test_after_a_complete_answer_only_ends_may_come() -> None:
    matcher = VOCABULARY.compile(OBJECT)
    for byte in b'{"a": 1':
        assert not matcher.is_complete
        assert not may_end(matcher)
        matcher.accept(byte)
    matcher.accept(token(b"}"))
    assert matcher.is_complete
    assert allowed_pieces(matcher) == {PIECES[END], PIECES[SECOND_END]}
    matcher.accept(END)
    assert allowed_pieces(matcher) == {PIECES[END], PIECES[SECOND_END]}


def test_an_answer_that_could_go_on_may_also_end() -> None:
    matcher = VOCABULARY.compile(form("json_schema", '{"type": "integer"}'))
    matcher.accept(token(b"4"))
    assert not matcher.is_complete
    assert {b"2", PIECES[END]} <= allowed_pieces(matcher)
    assert b"a" not in allowed_pieces(matcher)


def test_control_tokens_are_no_text() -> None:
    matcher = VOCABULARY.compile(form("regex", r"(?s:.*)"))
    allowed = matcher.allowed()
    assert allowed is not None
    assert not allowed[CONTROL]
    assert not allowed[EMPTY]
    spelled = VOCABULARY.compile(form("json_schema", '{"const": "<|im_start|>"}'))
    spelled.accept(token(b'"'))
    assert allowed_pieces(spelled) == {b"<"}


def test_a_guess_is_counted_and_changes_nothing() -> None:
    matcher = VOCABULARY.compile(OBJECT)
    guess = list(b'{"a": no')
    assert matcher.allowed_prefix(guess) == 7
    assert matcher.allowed_prefix(guess) == 7
    assert matcher.allowed_prefix([token(b'{"'), token(b"a")]) == 2
    assert matcher.allowed_prefix([token(b"{"), token(b"}"), END, token(b"x")]) == 2
    assert matcher.allowed_prefix([]) == 0
    assert takes(matcher, '{"a": null}')


def test_a_token_that_is_not_allowed_ends_the_matcher() -> None:
    matcher = VOCABULARY.compile(OBJECT)
    with pytest.raises(ConstraintFailed):
        matcher.accept(token(b"x"))
    with pytest.raises(ConstraintFailed):
        matcher.allowed()


def test_answers_with_the_same_constraint_do_not_touch_each_other() -> None:
    one, other = VOCABULARY.compile(OBJECT), VOCABULARY.compile(OBJECT)
    assert takes(one, '{"a": 1}')
    assert takes(other, '{"b": 2}')


def test_the_vocabulary_is_read_once_and_only_when_it_is_needed() -> None:
    readings: list[int] = []

    def read() -> Tokens:
        readings.append(1)
        return read_tokens()

    vocabulary = ConstraintVocabulary(read)
    assert readings == []
    for _ in range(3):
        vocabulary.compile(OBJECT)
    vocabulary.compile(form("regex", "a"))
    assert readings == [1]


def test_more_constraints_than_are_kept_are_still_held() -> None:
    for count in (*range(1, 40), *range(1, 40)):
        assert takes(VOCABULARY.compile(form("regex", f"a{{{count}}}")), "a" * count)


def test_without_an_end_nothing_can_be_held() -> None:
    vocabulary = ConstraintVocabulary(lambda: Tokens(PIECES, frozenset(), frozenset(), lambda text: list(text.encode())))
    with pytest.raises(Refusal, match="no token that ends"):
        vocabulary.compile(OBJECT)


@pytest.mark.parametrize(
    ("kind", "text", "why"),
    [
        ("regex", "(a", "unclosed group"),
        ("regex", "(?=a)b", "look-around"),
        ("regex", "((a{100}){100}){100}", "too often"),
        ("lark", "start: nothing", "unknown name"),
        ("lark", 'start: "a', "."),
        ("gbnf", "%llguidance {}\nstart: nothing", "unknown name"),
        ("json_schema", "{", "not valid JSON"),
        ("json_schema", "5", "must be an object"),
        ("json_schema", '{"type": "object", "properties": {"t": {"type": "array", "uniqueItems": true}}}', "at properties.t"),
        (
            "json_schema",
            '{"properties": {"a": {"anyOf": [{}, {"contains": {}}]}}}',
            r"'contains' \(at properties.a.anyOf\[1\]\)",
        ),
        ("json_schema", '{"properties": [1]}', "an object is expected"),
        ("json_schema", '{"oneOf": {"a": 1}}', "a list is expected"),
        ("json_schema", '{"$ref": 5}', "a text is expected"),
        ("json_schema", '{"description": "' + "x" * MAX_TEXT_BYTES + '"}', "longer than"),
        ("json_schema", '{"not":' * 60 + "{}" + "}" * 60, "."),
        ("json_schema", '{"items":' * 60 + "{}" + "}" * 60, "nested"),
        ("json_schema", '{"items":' * 30_000 + "{}" + "}" * 30_000, "nested|longer"),
        ("json_schema", '{"a":' + "[" * 5000 + "]" * 5000 + "}", "nested"),
        ("json_schema", '{"properties": {' + ",".join(f'"p{at}": {{}}' for at in range(1001)) + "}}", "1000 properties"),
        (
            "json_schema",
            '{"allOf": [' + ",".join(f'{{"pattern": "a.{{{n}}}b"}}' for n in range(20)) + "]}",
            "more than 6 patterns",
        ),
        (
            "json_schema",
            '{"allOf": [' + ",".join(f'{{"properties": {{"a": {{"pattern": "a.{{{n}}}b"}}}}}}' for n in range(20)) + "]}",
            "more than 6 patterns",
        ),
        ("json_schema", '{"pattern": "' + "(a|b.)*" * 5000 + '"}', "longer than 16384"),
        ("json_schema", '{"oneOf": [' + ",".join(f'{{"const": {n}}}' for n in range(2000)) + "]}", "too complex"),
        ("regex", "(a|b.)*" * 5000, "longer than"),
        ("lark", "start: /" + "(a|b.)*" * 9000 + "/", "longer than"),
        ("gbnf", 'root ::= "' + "a" * 50_000 + '"', "longer than"),
        (
            "json_schema",
            '{"allOf": ['
            + ",".join(f'{{"anyOf": [{{"required": ["{i}"]}}, {{"required": ["x{i}"]}}]}}' for i in range(40))
            + "]}",
            "too large",
        ),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_cannot_be_held_is_refused_in_bounded_time(kind: str, text: str, why: str) -> None:
    with pytest.raises(Refusal, match=why) as caught:
        VOCABULARY.compile(form(kind, text))
    assert caught.value.kind == "invalid"
    assert caught.value.param == ("response_format" if kind == "json_schema" else "grammar")
    assert len(caught.value.message) < 500


def test_large_schemas_that_are_not_hostile_are_held() -> None:
    wide = {f"p{at}": {"type": "string", "format": "email"} for at in range(900)}
    assert takes(VOCABULARY.compile(form("json_schema", json.dumps({"type": "object", "properties": wide}))), '{"p3":"a@b"}')
    names = [f"kind{at}" for at in range(30)]
    operand = {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in names]}
    tree = {
        name: {
            "type": "object",
            "properties": {
                "op": {"const": name},
                "id": {"type": "string", "format": "uuid"},
                "left": operand,
                "right": operand,
            },
            "required": ["op"],
            "additionalProperties": False,
        }
        for name in names
    }
    schema = json.dumps({"$defs": tree, "type": "object", "properties": {"root": {"oneOf": operand["anyOf"]}}})
    text = '{"root":{"op":"kind3","left":{"op":"kind9"},"right":{"op":"kind1"}}}'
    assert takes(VOCABULARY.compile(form("json_schema", schema)), text)
    assert not takes(VOCABULARY.compile(form("json_schema", schema)), text.replace("kind9", "kind99"))


def test_the_refusal_names_the_field_that_the_client_used() -> None:
    with pytest.raises(Refusal, match="'guided_json': ") as caught:
        VOCABULARY.compile(form("json_schema", '{"contains": {}}', param="guided_json"))
    assert caught.value.param == "guided_json"


WORDS = st.sets(st.text(st.sampled_from('ab"\n.]^-\\é'), max_size=4), max_size=6)


@settings(max_examples=60, deadline=None)
@given(WORDS, WORDS)
def test_a_pattern_for_everything_else_takes_everything_else(words: set[str], others: set[str]) -> None:
    pattern = none_of(words)
    assert pattern is not None
    # Python writes one of the escapes in another way.
    in_python = re.compile(
        re.sub(r"\\x\{([0-9A-F]+)\}", lambda match: f"\\U{int(match[1], 16):08x}", pattern).replace("$", r"\Z")
    )
    for word in words | others:
        assert (in_python.match(word) is None) == (word in words)


@pytest.mark.parametrize(
    ("pattern", "product"),
    [
        ("a{5}b{7}", 0),
        (".{1,100000}", 0),
        ("(a{5}){7}", 35),
        ("((a{2,3}b){4}){5,}", 60),
        ("(a{2}){3}(b{4}){5}", 20),
        (r"(\{5\}){7}[{9}]{9}", 0),
        ("(a{2}b*){3}?", 6),
    ],
)
def test_only_repetitions_inside_one_another_multiply(pattern: str, product: int) -> None:
    assert repetition_product(pattern) == product


JUNK = [
    "null",
    "true",
    "-1",
    "1.5",
    '"x"',
    "[]",
    "[[]]",
    "[{}]",
    "[5]",
    "{}",
    '{"a": 5}',
    '{"a": []}',
    '{"a": {"type": []}}',
    "1e400",
]
AROUND = ["%s", '{"not": %s}', '{"oneOf": [%s, {"type": "object"}]}', '{"if": %s, "then": false}', '{"properties": {"a": %s}}']


@pytest.mark.parametrize("keyword", sorted(CONSTRAINING))
def test_nonsense_in_a_schema_is_compiled_or_refused_and_nothing_else(keyword: str) -> None:
    compiled = 0
    for value in JUNK:
        for around in AROUND:
            with suppress(Refusal):
                VOCABULARY.compile(form("json_schema", around % f'{{"{keyword}": {value}}}'))
                compiled += 1
    assert compiled < len(JUNK) * len(AROUND) or keyword in {"minContains", "maxContains", "then", "else"}
