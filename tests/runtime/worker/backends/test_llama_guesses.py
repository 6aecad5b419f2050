"""Tokens guessed ahead inside the backend: what is said stays the same, and guesses are checked several at a time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from impetus.runtime.frames import LoadOptions
from impetus.runtime.request import Constraint, GenerateRequest, Sampling, TokenPrompt
from impetus.runtime.worker.backends.backend import LoadError
from impetus.runtime.worker.backends.llama import LlamaBackend
from impetus.runtime.worker.backends.llama_draft import DraftModel
from impetus.runtime.worker.draft.pace import Pace

pytestmark = pytest.mark.engine

PROMPT = tuple(range(40, 90))
GREEDY = Sampling(temperature=0)
FEW = {60: 50.0, 61: 50.0, 62: 50.0}
"""A text of three words soon repeats itself, here and there with a change."""
Said = tuple[bytes, int, int]
"""The text, how many tokens were guessed for it, and how many of these were right."""


def say(backend: LlamaBackend, request: GenerateRequest, count: int = 60) -> Said:
    backend.start(1, backend.admit(request), request)
    pieces: list[bytes] = []
    drafted = accepted = 0
    for _ in range(10 * count):
        outcome = backend.step()
        pieces += [token.piece for token in outcome.tokens]
        drafted += sum(one.tokens for one in outcome.drafted)
        accepted += sum(one.accepted for one in outcome.drafted)
        if len(pieces) >= count or any(token.end for token in outcome.tokens):
            break
    backend.drop(1)
    backend.forget()
    return b"".join(pieces[:count]), drafted, accepted


@pytest.fixture
def open_backend(tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., LlamaBackend]:
    """Opens the tiny model; it guesses whenever it can, as what pays depends on the machine."""
    monkeypatch.setattr(Pace, "wanted", lambda self, **_: 6)
    monkeypatch.setattr(Pace, "could_pay", lambda self, **_: True)

    def open_one(**options: Any) -> LlamaBackend:
        backend = LlamaBackend()
        path = str(tiny_models["llama"])
        backend.load(path, LoadOptions(context_length=512, threads=1, max_sequences=2, **options), lambda _: None)
        return backend

    return open_one


@pytest.mark.parametrize(
    ("sampling", "constraint"),
    [
        (Sampling(temperature=0, logit_bias=FEW), None),
        (Sampling(temperature=0, logit_bias=FEW, repeat_penalty=1.3, repeat_last_n=8), None),
        (GREEDY, Constraint("regex", "(one two three (four|five) six ){9}")),
    ],
    ids=["greedy", "penalties", "form"],
)
def test_lookup_changes_no_token(
    open_backend: Callable[..., LlamaBackend], sampling: Sampling, constraint: Constraint | None
) -> None:
    request = GenerateRequest("m", TokenPrompt(PROMPT), sampling, constraint=constraint)
    with closing(open_backend()) as plain, closing(open_backend(draft="lookup")) as guessing:
        text, drafted, _ = say(plain, request)
        guessed_text, guessed, accepted = say(guessing, request)
    assert drafted == 0
    assert guessed >= accepted > 0
    assert guessed_text == text


def test_a_model_that_guesses_for_itself_is_always_right(
    open_backend: Callable[..., LlamaBackend], tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DraftModel.__init__.__kwdefaults__, "least_probability", 0.0)
    request = GenerateRequest("m", TokenPrompt(PROMPT), GREEDY)
    with (
        closing(open_backend()) as plain,
        closing(open_backend(draft="model", draft_path=str(tiny_models["llama"]))) as guessing,
    ):
        text, _, _ = say(plain, request)
        guessed_text, guessed, accepted = say(guessing, request)
    assert guessed_text == text
    assert guessed > 10
    assert accepted > 0.8 * guessed


def test_a_model_of_other_words_cannot_guess(open_backend: Callable[..., LlamaBackend], starter: Path) -> None:
    with pytest.raises(LoadError, match="vocabular"):
        open_backend(draft="model", draft_path=str(starter))


def test_whoever_wants_no_guesses_gets_none(open_backend: Callable[..., LlamaBackend]) -> None:
    often = Sampling(temperature=0, logit_bias=FEW)
    with closing(open_backend(draft="lookup")) as backend:
        for request in (
            GenerateRequest("m", TokenPrompt(PROMPT), often, draft_tokens=0),
            GenerateRequest("m", TokenPrompt(PROMPT), Sampling(temperature=0.5, seed=3, logit_bias=FEW)),
        ):
            assert say(backend, request)[1] == 0
        assert say(backend, GenerateRequest("m", TokenPrompt(PROMPT), often, draft_tokens=2))[1] > 0


@pytest.fixture
def starter() -> Path:
    from engine_tools import find_starter

    return find_starter()
