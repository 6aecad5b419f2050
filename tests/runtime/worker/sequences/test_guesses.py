"""Tokens guessed ahead over the shared core: the text stays that of plain arithmetic, and several are checked at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_tools import find_starter
from numpy_llama import open_numpy_llama
from sequence_play import Player, ask, kept_in
from tiny_folder import make_tiny_folder

from impetus.runtime.request import Constraint, GenerateRequest, Sampling
from impetus.runtime.worker.backends.backend import LoadError
from impetus.runtime.worker.draft.pace import Pace
from impetus.runtime.worker.sequences.draft_model import DraftModel

pytestmark = [
    pytest.mark.engine,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"),
]

TEXT = "One two three four five six seven eight nine ten, and again: one two three four five six seven eight nine ten, "
LENGTH = 24
FEW = {60: 50.0, 61: 50.0, 62: 50.0}
"""A text of three words soon repeats itself, here and there with a change."""
Open = Callable[..., Player]


@pytest.fixture
def open_player(layout: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens the small model; it guesses whenever it can, as what pays depends on the machine."""
    monkeypatch.setattr(Pace, "wanted", lambda self, **_: 6)
    monkeypatch.setattr(Pace, "could_pay", lambda self, **_: True)
    engine, path = layout
    return lambda **options: Player(engine, path, prefix=kept_in(None), **options)


@pytest.fixture
def sure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a small model guess however unsure it is."""
    monkeypatch.setitem(DraftModel.__init__.__kwdefaults__, "least_probability", 0.0)


def say(player: Player, request: GenerateRequest) -> tuple[bytes, int, int]:
    """Gives the text, how many tokens were guessed for it, and how many of these were right."""
    drafted: list[tuple[int, int]] = []
    step = player.backend.step

    def watched() -> Any:
        outcome = step()
        drafted.extend((one.tokens, one.accepted) for one in outcome.drafted)
        return outcome

    player.backend.step = watched
    (played,) = player.play([request])
    player.backend.step = step
    assert played.lost is None
    assert all(right <= made for made, right in drafted)
    text = b"".join(token.piece for token in played.tokens[: request.max_tokens])
    return text, sum(made for made, _ in drafted), sum(right for _, right in drafted)


@pytest.mark.parametrize(
    ("sampling", "constraint"),
    [
        (Sampling(temperature=0, logit_bias=FEW), None),
        (Sampling(temperature=0, logit_bias=FEW, repeat_penalty=1.3, repeat_last_n=8), None),
        (Sampling(temperature=0), Constraint("regex", "(one two three (four|five) six ){9}")),
    ],
    ids=["greedy", "penalties", "form"],
)
def test_lookup_changes_no_token(open_player: Open, sampling: Sampling, constraint: Constraint | None) -> None:
    request = ask(TEXT, tokens=40, sampling=sampling, constraint=constraint)
    with closing(open_player()) as plain:
        text, drafted, _ = say(plain, request)
        assert drafted == 0
    with closing(open_player(draft="lookup")) as guessing:
        guessed_text, guessed, accepted = say(guessing, request)
        assert guessed_text == text
        assert guessed >= accepted > 0
        assert say(guessing, request)[0] == text


def test_an_end_behind_a_guess_is_none_of_its_tokens(open_mlx: Open) -> None:
    with closing(open_mlx(draft="lookup")) as player:
        counted: list[tuple[int, int]] = []
        step = player.backend.step

        def watched() -> Any:
            outcome = step()
            if any(token.end for token in outcome.tokens):
                counted.extend((one.tokens, one.accepted) for one in outcome.drafted)
            return outcome

        player.backend.step = watched
        # The form lets only the end follow the last word, which is guessed.
        player.play([ask(TEXT, tokens=40, constraint=Constraint("regex", "(abc){12}"))])
        [(guessed, accepted)] = counted
        assert guessed == accepted > 0


@pytest.mark.usefixtures("sure")
def test_a_model_that_guesses_for_itself_is_always_right(open_player: Open, layout: tuple[str, Path], tiny: Path) -> None:
    with closing(open_player(draft="model", draft_path=str(layout[1]))) as player:
        assert layout[1].name in player.loaded.details["guesses"]
        for prompt in (TEXT, TEXT + "More", TEXT * 4):
            text, guessed, accepted = say(player, ask(prompt, tokens=LENGTH))
            ids = list(player.backend.admit(ask(prompt)).token_ids)
            expected = open_numpy_llama(tiny).greedy(ids, LENGTH)
            assert text == b"".join(map(player.backend._vocabulary.piece, expected))
            assert guessed > 10
            assert accepted > 0.8 * guessed


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the same vocabulary with other weights."""
    return make_tiny_folder(tmp_path_factory.mktemp("other") / "other", find_starter(), seed=7)


@pytest.fixture
def open_mlx(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    monkeypatch.setattr(Pace, "wanted", lambda self, **_: 6)
    monkeypatch.setattr(Pace, "could_pay", lambda self, **_: True)
    return lambda **options: Player("mlx", tiny, prefix=kept_in(None), **options)


@pytest.mark.usefixtures("sure")
@pytest.mark.parametrize("ahead", [False, True])
def test_wrong_guesses_change_no_token_whatever_runs_beside(open_mlx: Open, tiny: Path, other: Path, *, ahead: bool) -> None:
    with closing(open_mlx(draft="model", draft_path=str(other))) as player:
        player.backend._runner._runs_ahead = ahead
        prompts = [TEXT, TEXT + "More of it", TEXT[:30], "Short"]
        texts = []
        for prompt in prompts:
            ids = list(player.backend.admit(ask(prompt)).token_ids)
            texts.append(b"".join(map(player.backend._vocabulary.piece, open_numpy_llama(tiny).greedy(ids, LENGTH))))
        for late in (0, 2, 9):
            requests = [ask(prompt, tokens=LENGTH) for prompt in prompts]
            assert [b"".join(token.piece for token in one.tokens[:LENGTH]) for one in player.play(requests, late=late)] == texts
        for prompt, text in zip(prompts, texts, strict=True):
            said, guessed, accepted = say(player, ask(prompt, tokens=LENGTH, top_logprobs=1))
            assert said == text
            assert guessed > accepted


@pytest.mark.usefixtures("sure")
def test_chance_falls_as_the_larger_model_has_it(open_mlx: Open, tiny: Path, other: Path) -> None:
    # Two tokens are drawn; the second one is guessed, mostly wrong, and is to be as likely as without a guess.
    bias = {40: 12.0, 41: 12.0, 42: 12.0}
    sampling = Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, logit_bias=bias)
    with closing(open_mlx(draft="model", draft_path=str(other))) as player:
        ids = list(player.backend.admit(ask("Hello")).token_ids)
        model = open_numpy_llama(tiny)

        def odds(tokens: list[int]) -> np.ndarray[Any, Any]:
            scores = model.scores(tokens).astype(np.float64)
            for token, more in bias.items():
                scores[token] += more
            weights = np.exp(scores - scores.max())
            return weights / weights.sum()

        firsts = odds(ids)
        expected: Counter[tuple[int, int]] = Counter()
        for first in bias:
            seconds = odds([*ids, first])
            for second in bias:
                expected[first, second] = float(firsts[first] * seconds[second])
        trials = 400
        seen: Counter[tuple[int, int]] = Counter()
        drafted = 0
        for _ in range(trials):
            request = ask(ids, tokens=4, sampling=sampling)
            player.number += 1
            number = player.number
            player.backend.start(number, player.backend.admit(request), request)
            sequence = player.backend._sequences[number]
            while len(sequence.tokens) < len(ids) + 2:
                drafted += sum(one.tokens for one in player.backend.step().drafted)
            player.backend.drop(number)
            seen[sequence.tokens[len(ids)], sequence.tokens[len(ids) + 1]] += 1
    assert drafted > trials / 2
    for pair, odd in expected.items():
        spread = (trials * odd * (1 - odd)) ** 0.5
        assert abs(seen[pair] - trials * odd) < 5 * spread + 1


def test_whoever_wants_no_guesses_gets_none(open_mlx: Open) -> None:
    often = Sampling(temperature=0, logit_bias=FEW)
    with closing(open_mlx(draft="lookup")) as player:
        assert say(player, ask(TEXT, tokens=40, sampling=often, draft_tokens=0))[1] == 0
        seeded = Sampling(temperature=0.5, seed=3, logit_bias=FEW)
        assert say(player, ask(TEXT, tokens=40, sampling=seeded))[1] == 0
        assert say(player, ask(TEXT, tokens=40, sampling=often, draft_tokens=2))[1] > 0


def test_guesses_end_where_the_context_ends(tiny: Path, open_mlx: Open) -> None:
    with closing(open_mlx(draft="model", draft_path=str(tiny), context_length=64)) as player:
        ids = list(player.backend.admit(ask(TEXT)).token_ids)
        number = 1
        request = ask(ids, tokens=64 - len(ids))
        player.backend.start(number, player.backend.admit(request), request)
        sequence = player.backend._sequences[number]
        while len(sequence.tokens) < 64:
            player.backend.step()
        assert len(sequence.tokens) == 64
        player.backend.drop(number)


@pytest.mark.usefixtures("sure")
def test_a_draft_keeps_one_context_of_what_has_ended(open_mlx: Open, tiny: Path) -> None:
    with closing(open_mlx(draft="model", draft_path=str(tiny), context_length=128)) as player:
        drafter = player.backend._guesses._drafter
        computed: list[int] = []
        extend = drafter._runner.extend

        def watched(state: Any, tokens: Any, wanted: Any) -> Any:
            computed.append(len(tokens))
            return extend(state, tokens, wanted)

        drafter._runner.extend = watched
        longest: list[int] = []
        for prompt in (TEXT * 2, TEXT * 2, TEXT[40:], TEXT[::-1][:60], "Some other words that come before it. " + TEXT[:60]):
            computed.clear()
            say(player, ask(prompt, tokens=12))
            kept = [one.tokens for one in drafter._ended]
            assert kept
            assert sum(map(len, kept)) <= 128
            assert all(one.state.length == len(one.tokens) for one in drafter._ended)
            longest.append(max(computed))
        assert not drafter._held
        # The second time all but the newest tokens of the prompt were known.
        assert longest[0] > 32 > longest[1]


def test_a_draft_that_is_not_worth_it_is_given_up(tiny: Path, other: Path) -> None:
    with closing(Player("mlx", tiny, prefix=kept_in(None), draft="model", draft_path=str(other))) as player:
        player.backend._guesses._drafter.token_s = 10.0
        never_twice = Sampling(temperature=0, repeat_penalty=3.0, repeat_last_n=-1)
        _, guessed, _ = say(player, ask(TEXT, tokens=400, sampling=never_twice))
        assert guessed <= 2  # a trial now and then


def test_a_memory_that_cannot_be_cut_is_told(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("mlx_lm")
    from tiny_mlx import make_mlx_folder

    uncuttable = make_mlx_folder(tmp_path / "mamba", tiny, "mamba2")
    with closing(Player("mlx", uncuttable, draft="model", draft_path=str(tiny))) as player:
        assert "cannot go back" in player.loaded.details["guesses"]
        assert say(player, ask(TEXT * 2, tokens=12))[1] == 0
    with pytest.raises(LoadError, match="mamba cannot guess for another model: its memory cannot go back"):
        Player("mlx", tiny, draft="model", draft_path=str(uncuttable))


def test_a_model_of_other_words_cannot_guess(tiny: Path, tmp_path: Path) -> None:
    def change(name: str, old: str, new: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for one in tiny.iterdir():
            (folder / one.name).write_bytes(one.read_bytes())
        text = (folder / "tokenizer.json").read_text(encoding="utf-8")
        assert old in text
        (folder / "tokenizer.json").write_text(text.replace(old, new), encoding="utf-8")
        return folder

    strange = change("strange", '"<|im_end|>"', '"<|done|>"')
    # Of the first few tokens it does not matter what they are called.
    with closing(Player("mlx", tiny, draft="model", draft_path=str(strange))) as player:
        assert "strange" in player.loaded.details["guesses"]
    foreign = change("foreign", '"<gh_stars>"', '"<gh_moons>"')
    with pytest.raises(LoadError, match=r"foreign cannot guess for tiny-llama: .*'<gh_stars>' and '<gh_moons>'"):
        Player("mlx", tiny, draft="model", draft_path=str(foreign))
