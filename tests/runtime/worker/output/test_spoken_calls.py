"""One generation's tokens to what its reader gets."""

from __future__ import annotations

from impetus.runtime.frames import Delta
from impetus.runtime.request import Tool
from impetus.runtime.worker.output.families.hermes import Hermes
from impetus.runtime.worker.output.spoken import Spoken

CALL = b'<tool_call>\n{"name": "look", "arguments": {}}\n</tool_call>'
TOOLS = (Tool("look"),)


def say(*pieces: bytes, one_call: bool = False) -> tuple[Spoken, list[Delta]]:
    spoken = Spoken(7, (), Hermes().open_parser(TOOLS), one_call=one_call)
    deltas: list[Delta] = []
    for piece in pieces:
        spoken.push(piece, None, deltas)
        if spoken.stopped:
            break
    spoken.finish(deltas)
    return spoken, deltas


def test_calls_are_numbered_and_each_has_an_id_of_its_own() -> None:
    spoken, deltas = say(CALL, b"\n", CALL)
    begun = [delta for delta in deltas if delta.kind == "call"]
    assert [(delta.id, delta.text, delta.call) for delta in begun] == [(7, "look", 0), (7, "look", 1)]
    assert len({delta.call_id for delta in begun}) == 2
    assert spoken.end_reason("stop") == "tool_calls"
    assert spoken.end_reason("length") == "length"


def test_an_answer_with_room_for_one_call_ends_where_a_second_begins() -> None:
    spoken, deltas = say(CALL, b"\n", CALL, CALL, one_call=True)
    assert [delta.text for delta in deltas if delta.kind == "call"] == ["look"]
    assert spoken.stopped
    assert spoken.end_reason("stop") == "tool_calls"
    assert not say(CALL, one_call=True)[0].stopped


def test_tokens_of_thoughts_are_counted() -> None:
    spoken, deltas = say(b"<think>", b"one", b" two", b"</think>", b"said")
    assert [(delta.kind, delta.text) for delta in deltas] == [("reasoning", "one"), ("reasoning", " two"), ("text", "said")]
    assert 2 <= spoken.reasoning_tokens <= 4
    assert spoken.end_reason("stop") == "stop"


def test_an_answer_that_is_broken_off_within_a_call_does_not_ask_for_its_tool() -> None:
    cut, _ = say(CALL[:45])
    assert cut.end_reason(cut.broken_off) == "length"
    words, _ = say(b"round and round")
    assert words.end_reason(words.broken_off) == "stop"
