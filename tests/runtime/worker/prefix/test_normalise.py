"""Known noise is taken out of prompts, and nothing else."""

from __future__ import annotations

import pytest

from impetus.runtime.request import ImagePart, Message, Role, TextPart
from impetus.runtime.worker.prefix.normalise import normalise

HEADER = "x-anthropic-billing-header: cc_version=2.1.117.48f; cc_entrypoint=cli; cch=71fea;"
BARE = "x-anthropic-billing-header: cc_version=2.1.330.18e; cc_entrypoint=sdk-cli;"
"""As the client sends it to a server that is not its own."""
REST = "You are a Claude agent, built on Anthropic's Claude Agent SDK."


def message(role: Role, *texts: str) -> Message:
    return Message(role, tuple(TextPart(text) for text in texts))


USER = message("user", "Hi")


@pytest.mark.parametrize("header", [HEADER, BARE])
def test_claude_codes_billing_header_is_taken_out_in_each_of_its_forms(header: str) -> None:
    clean = (message("system", REST), USER)
    assert normalise([message("system", header, REST), USER]) == clean
    assert normalise([message("system", f"{header}\n{REST}"), USER]) == clean
    assert normalise([message("system", f"{header}\n\n{REST}"), USER]) == clean
    assert normalise([message("system", f"{header}\r\n{REST}"), USER]) == clean
    assert normalise([message("system", f"{header}{REST}"), USER]) == clean
    assert normalise([message("system", header), message("system", REST), USER]) == clean
    assert normalise([message("system", header), USER]) == (USER,)


def test_two_turns_are_the_same_afterwards() -> None:
    turns = [HEADER, HEADER.replace("71fea", "0aab9"), HEADER.replace("48f", "1c0").replace("71fea", "defac"), BARE]
    assert len({normalise([message("system", turn, REST), USER]) for turn in turns}) == 1


@pytest.mark.parametrize(
    "messages",
    [
        [message("system", REST), message("user", HEADER)],
        [message("system", REST), message("user", f"{HEADER}\nWhat is this?")],
        [message("user", "Hi"), message("system", f"{HEADER}\n{REST}")],
        [message("system", f"Never send {HEADER}\n{REST}")],
        [message("system", f"{REST}\n{HEADER}\n")],
        [message("system", REST, HEADER)],
        [message("assistant", HEADER), message("tool", HEADER)],
        [message("system", "x-anthropic-billing-header: something else\n" + REST)],
        [message("system", "x-anthropic-billing-header:\n" + REST)],
        [message("system", "X-Anthropic-Billing-Header: cc_version=2.1.1.abc; cch=00000;")],
        [message("system", f" {HEADER}")],
        [message("system", "")],
        [Message("system")],
        [Message("system", (ImagePart(b"x", "image/png"), TextPart(HEADER)))],
        [],
    ],
)
def test_everything_else_is_left_alone(messages: list[Message]) -> None:
    assert normalise(messages) == tuple(messages)


def test_what_follows_the_header_keeps_its_own_beginning() -> None:
    assert normalise([message("system", HEADER, "\n  indented", "more")]) == (message("system", "\n  indented", "more"),)
    [kept] = normalise([message("system", f"{HEADER}\n  indented cch=1;")])
    assert kept.text == "  indented cch=1;"
    [kept] = normalise([Message("system", (TextPart(HEADER), TextPart(REST)), name="boss")])
    assert (kept.text, kept.name) == (REST, "boss")
