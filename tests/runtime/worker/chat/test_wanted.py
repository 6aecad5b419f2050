"""What an answer is held to: calls, forms and the thoughts before them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from byte_vocabulary import open_vocabulary, takes

from impetus.runtime.request import ChatPrompt, Constraint, Message, TextPart, Thinking, Tool
from impetus.runtime.worker.chat.conversation import Conversation, Written
from impetus.runtime.worker.chat.forms import open_form
from impetus.runtime.worker.output.pieces import Text

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKING = CHATML + "{# <think></think> <tool_call> #}"
SWITCHED = (
    CHATML.removesuffix("{% endif %}") + "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n"
    "{% endif %}{% endif %}{# <tool_call> #}"
)
OPENED = CHATML.removesuffix("{% endif %}") + "<think>\n{% endif %}{# </think> <tool_call> #}"
SCHEMA = '{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],"additionalProperties":false}'
FORM = Constraint("json_schema", SCHEMA, param="response_format")
LOOK = Tool("look", "", '{"type":"object","properties":{"at":{"type":"string"}},"required":["at"]}')
CALL = '<tool_call>\n{"name": "look", "arguments": {"at": "x"}}\n</tool_call>'
ANSWER = '{"n": 3}'


def write(source: str, *, constraint: Constraint | None = None, **fields: Any) -> Written:
    prompt = ChatPrompt((Message("user", (TextPart("hi"),)),), **fields)
    return Conversation(source).write(prompt, constraint)


def held(written: Written, constraint: Constraint | None, answer: str) -> bool:
    matcher = open_form(open_vocabulary(), constraint, written)
    return matcher is None or takes(matcher, answer)


@pytest.mark.parametrize(
    ("source", "answer", "fits"),
    [
        (CHATML, ANSWER, True),
        (CHATML, CALL, True),
        (CHATML, "hello", False),
        (CHATML, f"<think>hm</think>{ANSWER}", False),
        (THINKING, ANSWER, True),
        (THINKING, f"<think>\nhm\n</think>\n\n{ANSWER}", True),
        (THINKING, f"<think>\nhm\n</think>\n\n{CALL}", True),
        (THINKING, "<think>\nhm\n</think>\n\nhello", False),
        (OPENED, f"hm\n</think>\n\n{ANSWER}", True),
        (OPENED, f"hm\n</think>\n\n{CALL}", True),
        (OPENED, "hm\n</think>\n\nhello", False),
    ],
)
def test_with_tools_a_form_may_be_calls_instead(source: str, answer: str, fits: bool) -> None:
    assert held(write(source, constraint=FORM, tools=(LOOK,)), FORM, answer) is fits


@pytest.mark.parametrize(
    ("source", "answer", "fits"),
    [
        (CHATML, ANSWER, True),
        (CHATML, CALL, False),
        (THINKING, f"<think>\nhm\n</think>\n\n{ANSWER}", True),
        (THINKING, ANSWER, True),
        (OPENED, f"hm\n</think>\n\n{ANSWER}", True),
        (OPENED, ANSWER, False),
    ],
)
def test_a_thought_may_stand_before_a_form(source: str, answer: str, fits: bool) -> None:
    assert held(write(source, constraint=FORM), FORM, answer) is fits


def test_no_thought_stands_before_a_form_where_thinking_is_off() -> None:
    written = write(THINKING, constraint=FORM, thinking=Thinking(enabled=False))
    assert not held(written, FORM, f"<think>\nhm\n</think>\n\n{ANSWER}")
    assert held(write(THINKING, constraint=FORM, thinking=Thinking(enabled=False)), FORM, ANSWER)


@pytest.mark.parametrize(("answer", "fits"), [(CALL, True), ("hello", False), (f"{CALL}\n{CALL}", True)])
def test_a_required_call_is_one_of_the_tools(answer: str, fits: bool) -> None:
    assert held(write(CHATML, tools=(LOOK,), tool_mode="required"), None, answer) is fits


def test_who_names_a_function_wants_one_call_of_it() -> None:
    named = {"tools": (LOOK, Tool("other")), "tool_mode": "required", "tool_names": ("look",)}
    assert held(write(CHATML, **named), None, CALL)
    assert not held(write(CHATML, **named), None, f"{CALL}\n{CALL}")
    assert not held(write(CHATML, **named), None, CALL.replace("look", "other"))


def test_a_free_answer_is_held_only_behind_the_opening_of_a_call() -> None:
    for answer, fits in (("hello", True), (f"Well. {CALL} Then.", True), ("<tool_call>nonsense", False)):
        assert held(write(CHATML, tools=(LOOK,)), None, answer) is fits


@pytest.mark.parametrize(
    "schema",
    ['{"type":"object","properties":{"a":{"not":{"pattern":"x"}}}}', '{"$ref":"#/nowhere"}', '{"type":"object","if":{}}'],
)
@pytest.mark.parametrize("mode", ["auto", "required"])
def test_a_schema_that_cannot_be_held_is_never_the_requests_fault(schema: str, mode: str) -> None:
    tools = (Tool("look", "", schema),)
    assert held(write(CHATML, tools=tools, tool_mode=mode), None, CALL)


@pytest.mark.parametrize(
    ("source", "thinking", "tokens"),
    [
        (SWITCHED, Thinking(enabled=False), None),
        (OPENED, Thinking(enabled=False), 0),
        (OPENED, Thinking(), None),
        (OPENED, Thinking(budget_tokens=9), 9),
    ],
)
def test_thinking_is_switched_by_the_template_or_else_ended_at_once(
    source: str, thinking: Thinking, tokens: int | None
) -> None:
    limit = write(source, thinking=thinking).limit
    assert limit is not None
    assert (limit.tokens, limit.begun) == (tokens, source is OPENED)


def test_a_thought_ends_at_its_limit() -> None:
    written = write(OPENED, thinking=Thinking(budget_tokens=3))
    matcher = open_form(open_vocabulary(), None, written)
    assert matcher is not None
    for byte in b"abc":
        assert matcher.allowed() is None
        matcher.accept(byte)
    for byte in b"</think>":
        allowed = matcher.allowed()
        assert allowed is not None
        assert allowed.nonzero()[0].tolist() == [byte]
        matcher.accept(byte)
    assert matcher.allowed() is None


def test_what_the_model_wrote_is_shown_again_however_the_client_sends_it_back() -> None:
    conversation = Conversation(CHATML)
    prompt = ChatPrompt((Message("user", (TextPart("hi"),)),), tools=(LOOK,))
    parser = conversation.write(prompt).parser
    assert parser is not None
    said = '<tool_call>\n{"name": "look", "arguments": {"b": 1,  "a": [2]}}\n</tool_call>'
    pieces = [*parser.push(said), *parser.finish()]
    assert len(pieces) >= 2
    from impetus.runtime.request import ToolCall

    call = ToolCall("c1", "look", json.dumps({"a": [2], "b": 1}))
    more = ChatPrompt((*prompt.messages, Message("assistant", tool_calls=(call,))), tools=(LOOK,))
    assert said in "".join(segment.text for segment in conversation.write(more).segments)


@pytest.mark.parametrize(
    ("source", "before"),
    [(CHATML, ""), (THINKING, ""), (THINKING, "<think>hm</think>"), (SWITCHED, ""), (OPENED, "hm</think>")],
)
def test_tools_that_may_not_be_called_are_described_all_the_same(source: str, before: str) -> None:
    none, auto = (write(source, tools=(LOOK,), tool_mode=mode) for mode in ("none", "auto"))
    assert none.segments == auto.segments
    assert none.segments != write(source).segments
    assert held(none, None, f"{before}hello <tool> and {{}}")
    assert not held(none, None, f"{before}{CALL}")
    assert not held(none, None, f"{before}text, then {CALL}")
    with_form = write(source, tools=(LOOK,), tool_mode="none", constraint=FORM)
    assert held(with_form, FORM, before + ANSWER)
    assert not held(with_form, FORM, before + CALL)


def test_what_looks_like_a_call_is_text_where_none_may_come() -> None:
    parser = write(THINKING, tools=(LOOK,), tool_mode="none").parser
    assert parser is not None
    assert "".join(piece.text for piece in (*parser.push(CALL), *parser.finish()) if isinstance(piece, Text)) == CALL


def test_tools_are_left_out_where_calls_could_not_be_kept_from_coming() -> None:
    llama = CHATML + '{# <|start_header_id|> "parameters" #}'
    assert not Conversation(llama).family.triggers()
    assert write(llama, tools=(LOOK,), tool_mode="none").segments == write(llama).segments
