import random
from typing import Any

import pytest

from impetus.runtime.worker.draft.cost import StepCost
from impetus.runtime.worker.draft.guesser import NAP_STEPS, RESTLESS_STEPS, Guesser

FILE = random.Random(3).choices(range(200), k=1200)
PROMPT = [*FILE, 300, 301]


def generate(guesser: Guesser, cost: StepCost, reply: list[int], *, others: int = 0, room: int | None = None) -> list[int]:
    """Plays an engine that would choose just this reply; gives the number of tokens guessed in each step."""
    tokens, end = list(PROMPT), len(PROMPT) + len(reply)
    whole = PROMPT + reply
    guessed: list[int] = []
    while len(tokens) < end:
        guess = guesser.guess(tokens, others=others, room=room)
        guessed.append(len(guess))
        cost.note(1 + others + len(guess), 0.005 + 0.004 * (1 + others + len(guess)))
        right = 0
        while right < len(guess) and whole[len(tokens) + right :][:1] == [guess[right]]:
            right += 1
        tokens += whole[len(tokens) : len(tokens) + right + 1]
    return guessed


def test_a_copy_with_a_change_takes_far_fewer_steps() -> None:
    reply = [*FILE[:600], 400, 401, *FILE[600:]]
    guessed = generate(Guesser(16, cost := StepCost()), cost, reply)
    assert len(guessed) < len(reply) / 6
    assert max(guessed) == 16


def test_a_text_of_its_own_is_left_alone() -> None:
    reply = random.Random(4).choices(range(200), k=1000)
    guessed = generate(Guesser(16, cost := StepCost()), cost, reply)
    assert sum(guessed) < 20
    assert len(guessed) > 980


def test_guessing_begins_where_the_copy_begins() -> None:
    own = random.Random(4).choices(range(200), k=500)
    guessed = generate(Guesser(16, cost := StepCost()), cost, own + FILE)
    assert sum(guessed[:490]) < 20
    assert len(guessed) < 500 + len(FILE) / 6


def test_a_guess_takes_no_more_than_the_room() -> None:
    assert max(generate(Guesser(16, cost := StepCost()), cost, FILE[:300], room=3)) == 3
    assert max(generate(Guesser(16, cost := StepCost()), cost, FILE[:60], room=0)) == 0


def test_where_no_guess_can_pay_the_prompt_is_not_even_indexed(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = StepCost()
    for tokens in (16, 17, 18, 20, 24, 32) * 20:
        cost.note(tokens, 0.01 * tokens)
    guesser = Guesser(16, cost)
    monkeypatch.setattr("impetus.runtime.worker.draft.lookup._Index", None)
    assert guesser.guess(PROMPT, others=15) == []
    assert guesser.guess([*PROMPT, 1, 2, 3], others=15) == []


def test_a_model_is_asked_only_where_there_is_one() -> None:
    cost = StepCost()
    cost.note(1, 0.01)
    assert Guesser(8, cost).wanted() == 0
    assert Guesser(8, cost, model=True).wanted(room=1) == 1
    assert Guesser(0, cost, model=True).wanted() == 0


def test_a_model_that_guesses_badly_is_asked_ever_less() -> None:
    cost = StepCost()
    guesser = Guesser(8, cost, model=True)
    tokens = list(range(50))
    wanted: list[int] = []
    for step in range(400):
        assert guesser.guess(tokens) == []
        wanted.append(guesser.wanted())
        guesser.use([999] * wanted[-1])
        cost.note(1 + wanted[-1], 0.005 + 0.004 * (1 + wanted[-1]))
        tokens.append(1000 + step)
    assert wanted[1] > 0
    assert sum(count > 0 for count in wanted[200:]) <= 2


def test_a_model_that_guesses_well_is_asked_for_more() -> None:
    cost = StepCost()
    guesser = Guesser(16, cost, model=True)
    tokens = list(range(50))
    wanted: list[int] = []
    for _ in range(60):
        guesser.guess(tokens)
        wanted.append(guesser.wanted())
        guess = list(range(len(tokens), len(tokens) + wanted[-1]))
        guesser.use(guess)
        cost.note(1 + len(guess), 0.009 + 0.001 * len(guess))
        tokens += [*guess, len(tokens) + len(guess)]
    assert wanted[-1] == 16


class Watched(list[int]):
    """A sequence that counts how often somebody looks at its newest tokens."""

    looks = 0

    def __getitem__(self, at: Any) -> Any:
        self.looks += isinstance(at, slice)
        return super().__getitem__(at)


def test_a_new_text_is_looked_at_now_and_then() -> None:
    cost = StepCost()
    cost.note(1, 0.01)
    guesser = Guesser(16, cost)
    tokens = Watched(PROMPT)
    for step in range(RESTLESS_STEPS + 200):
        assert guesser.guess(tokens) == []
        tokens.append(1000 + step)
        if step == RESTLESS_STEPS:
            awake, tokens.looks = tokens.looks, 0
    assert awake >= RESTLESS_STEPS
    assert tokens.looks <= 200 / (NAP_STEPS + 1) + 1


def test_a_model_is_judged_step_by_step() -> None:
    cost = StepCost()
    cost.note(1, 0.01)
    guesser = Guesser(16, cost, model=True)
    tokens = Watched(PROMPT)
    for step in range(RESTLESS_STEPS + 100):
        guesser.guess(tokens)
        tokens.append(1000 + step)
    assert tokens.looks >= RESTLESS_STEPS + 99
