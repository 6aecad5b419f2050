"""The scripted engine: what it says, in which syntax, and what goes wrong where the script wants it."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from impetus.runtime.frames import LoadOptions
from impetus.runtime.questions import Embed
from impetus.runtime.request import ChatPrompt, GenerateRequest, Message, TextPart, Tool
from impetus.runtime.worker.backends.backend import Admission, PromptTooLong, Refusal
from impetus.runtime.worker.backends.scripted import DIMENSIONS, ScriptedBackend
from impetus.runtime.worker.output.pieces import Arguments, Call, Piece, Text

LOOK = Tool("look", "", '{"type":"object","properties":{"at":{"type":"string"}}}')


def loaded(**options: Any) -> ScriptedBackend:
    backend = ScriptedBackend()
    assert backend.load("", LoadOptions(**options), lambda _: None).engine == "scripted"
    return backend


def scripted(*turns: dict[str, object], said: int = 0, **fields: Any) -> GenerateRequest:
    script = json.dumps({"turns": turns})
    messages = [Message("user", (TextPart(f"Please. SCRIPT: {script} Thanks."),))]
    messages += [Message("assistant", (TextPart("done"),)), Message("user", (TextPart("go on"),))] * said
    return GenerateRequest("m", ChatPrompt(tuple(messages), tools=(LOOK,)), **fields)


def begin(backend: ScriptedBackend, number: int, request: GenerateRequest) -> Admission:
    admission = backend.admit(request)
    backend.start(number, admission, request)
    return admission


def answer(request: GenerateRequest) -> list[Piece]:
    backend = loaded()
    admission = begin(backend, 1, request)
    assert admission.parser is not None
    pieces: list[Piece] = []
    for _ in range(100):
        for token in backend.step().tokens:
            if token.end:
                return pieces + admission.parser.finish()
            pieces += admission.parser.push(token.piece.decode())
    raise AssertionError("it never ended")


def test_each_turn_is_said_in_its_turn_and_the_last_one_from_then_on() -> None:
    turns = ({"text": "one"}, {"text": "two"})
    assert [answer(scripted(*turns, said=said)) for said in (0, 1, 5)] == [[Text("one")], [Text("two")], [Text("two")]]


def test_calls_go_through_the_real_parser() -> None:
    pieces = answer(scripted({"text": "Looking.", "calls": [{"name": "look", "arguments": {"at": "a {b}"}}]}))
    texts = "".join(piece.text for piece in pieces if isinstance(piece, Text))
    arguments = "".join(piece.text for piece in pieces if isinstance(piece, Arguments))
    assert texts.strip() == "Looking."
    assert [piece.name for piece in pieces if isinstance(piece, Call)] == ["look"]
    assert json.loads(arguments) == {"at": "a {b}"}


def test_raw_text_is_said_as_it_is() -> None:
    pieces = answer(scripted({"raw": '<tool_call>{"name": "look", "arguments": {"at": "x"}}</tool_call>'}))
    assert [piece.name for piece in pieces if isinstance(piece, Call)] == ["look"]


@pytest.mark.parametrize("script", ["{", '{"turns": []}', '{"turns": [{"word": 1}]}', '{"family": "none", "turns": [{}]}'])
def test_a_script_that_makes_no_sense_is_refused(script: str) -> None:
    prompt = ChatPrompt((Message("user", (TextPart("SCRIPT: " + script),)),))
    with pytest.raises(Refusal) as caught:
        loaded().admit(GenerateRequest("m", prompt))
    assert caught.value.param == "messages"


def test_a_delay_holds_the_first_word_back() -> None:
    backend = loaded()
    begin(backend, 1, scripted({"text": "late", "delay_s": 60}))
    outcome = backend.step()
    assert len(outcome.begun) == 1
    assert outcome.tokens == []
    assert 50 < (backend.wait_s() or 0) <= 60


def test_a_step_fails_and_there_is_no_room_where_the_script_says_so() -> None:
    backend = loaded()
    begin(backend, 1, scripted({"text": "never", "fault": "fail"}))
    with pytest.raises(RuntimeError):
        backend.step()
    backend.drop(1)
    begin(backend, 2, scripted({"text": "fine"}))
    assert backend.step().tokens
    with pytest.raises(Refusal) as caught:
        backend.admit(scripted({"text": "never", "fault": "busy"}))
    assert caught.value.kind == "overloaded"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.usefixtures("counted")
def test_a_fault_comes_so_many_times_also_in_the_process_that_follows() -> None:
    request = scripted({"text": "fine", "fault": "busy", "times": 2})
    for _ in range(2):
        with pytest.raises(Refusal):
            loaded().admit(request)
    last = loaded()
    assert last.admit(request).token_ids
    last.close()
    with pytest.raises(Refusal):
        loaded().admit(request)


@pytest.mark.usefixtures("counted")
def test_a_prompt_is_found_too_long_where_the_script_says_so() -> None:
    with pytest.raises(PromptTooLong):
        loaded().admit(scripted({"fault": "overflow", "times": 1}))


def test_the_stand_in_goes_on_behind_a_text_and_a_quoted_script_is_read() -> None:
    prompt = ChatPrompt(
        (Message("user", (TextPart('"SCRIPT: {\\"turns\\": [{\\"text\\": \\"So. \\", \\"stand_in\\": true}]}"'),)),)
    )
    pieces = answer(GenerateRequest("m", prompt))
    assert "".join(piece.text for piece in pieces if isinstance(piece, Text)).startswith("So. Hello!")


def test_what_a_prompt_shares_with_an_earlier_one_counts_as_known() -> None:
    backend = loaded()
    first = begin(backend, 1, scripted({"text": "one"}, said=0))
    assert backend.step().begun[0].cached_tokens == 0
    begin(backend, 2, scripted({"text": "one"}, said=1))
    [begun] = backend.step().begun
    assert begun.cached_tokens == len(first.token_ids)


def test_a_prompt_that_does_not_fit_is_refused() -> None:
    with pytest.raises(PromptTooLong):
        loaded(context_length=8).admit(scripted({"text": "one"}))


def test_equal_texts_have_equal_vectors_of_length_one() -> None:
    import struct

    work = loaded().answer(Embed(("a", "b", "a")))
    with pytest.raises(StopIteration) as end:
        next(work)
    one, other, again = (struct.unpack(f"<{DIMENSIONS}f", vector) for vector in end.value.value.vectors)
    assert one == again != other
    assert sum(number * number for number in one) == pytest.approx(1)


def test_speed_is_the_turns_own() -> None:
    backend = loaded()
    begin(backend, 1, scripted({"text": "a b c d e f g h", "tps": 1.0}))
    first = backend.step().tokens
    assert [token.piece for token in first] == [b"a"]
    assert 0 < (backend.wait_s() or 0) <= 1
    assert time.monotonic() > 0
