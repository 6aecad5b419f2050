"""What a thought quotes does not hold it; what comes behind it is held."""

from __future__ import annotations

import pytest
from byte_vocabulary import form, open_vocabulary, takes, token

from impetus.runtime.worker.constraint.free_thought import FreeThought

VOCABULARY = open_vocabulary()
CALL = "<tool_call>{}</tool_call>"


def hold(*, begun: bool = False, opening: bytes = b"<think>\n") -> FreeThought:
    inner = VOCABULARY.compile(form("lark", 'start: "{}</tool_call>"', triggers=("<tool_call>",)))
    pieces = VOCABULARY.tokens.pieces
    return FreeThought(inner, pieces=pieces, opening=opening, closing=b"</think>", begun=begun)


@pytest.mark.parametrize(
    ("text", "begun"),
    [
        ("Text.", False),
        (f"So: {CALL}", False),
        (f"<think>A <tool_call> is quoted.</think>{CALL}", False),
        (f"\n <think>\nquoted: <tool_call>x</think>\n\nText {CALL} and {CALL}", False),
        (f"quoted: <tool_call>x</think>{CALL}", True),
        ("<think>never closed <tool_call>x", False),
    ],
)
def test_thoughts_are_free(text: str, begun: bool) -> None:
    assert takes(hold(begun=begun), text)


@pytest.mark.parametrize(
    ("text", "begun"),
    [
        ("<tool_call>x", False),
        ("Text <think><tool_call>x", False),
        ("<think></think><tool_call>x", False),
        ("<think></think><think><tool_call>x", False),
        ("</think><tool_call>x", True),
    ],
)
def test_all_else_is_held(text: str, begun: bool) -> None:
    assert not takes(hold(begun=begun), text)


def test_a_guess_is_bounded_until_the_thought_is_over() -> None:
    matcher = hold()
    guess = [token(b"<tool_call>"), token(b"x")]
    assert matcher.allowed_prefix(guess) == 1
    for byte in b"<think>":
        matcher.accept(byte)
    assert matcher.allowed() is None
    assert matcher.allowed_prefix(guess) == 1
    for byte in b"</think>":
        matcher.accept(byte)
    assert matcher.allowed_prefix(guess) == 1
    assert matcher.allowed_prefix([token(b"<tool_call>"), *b"{}</tool_call>x"]) == 15 + 1
    assert not matcher.is_complete
