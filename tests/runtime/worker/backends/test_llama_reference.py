"""The llama engine with all it keeps and shares, against the same model that keeps nothing.

What a sequence's cells hold shows in what the model thinks likely after them. For each token of each answer these
probabilities are compared with those of a cold context that computed the same tokens alone. They may differ by the noise of
the engine's own batches: it is measured here for each model, by the same tokens computed at once, one by one and in random
pieces, alone and beside others (about 0.00001 in the logarithm for pure states, 0.005 for windows, 0.03 where keys and
values are rounded to 16 bits). One wrong token among those before makes a difference of 1 to 5 in most cases, and of 0.1 in
all but one of a hundred.

`tests/benchmarks/random_requests.py` plays ten thousand requests by the same rules.
"""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from cold_reference import Reference
from engine_tools import find_starter
from random_play import Mix, Parted, RandomRequests
from small_llama import open_backend, options

from impetus.runtime.frames import PrefixOptions
from impetus.runtime.request import Sampling
from impetus.runtime.worker.backends.llama_cells import Adapters, Donor
from impetus.runtime.worker.backends.llama_sequence import Generating

pytestmark = pytest.mark.engine

GREEDY = Sampling(temperature=0)
MARGIN = 3
"""How much more than the measured noise is allowed: it is the largest of a few hundred positions, not of all there are."""
LONG = Mix(prompt_tokens=(40, 300), answer_tokens=(1, 12), limit=700, holds=0.1)
T = TypeVar("T")


def tolerance_of(reference: Reference, tokens: int = 120, *, sequences: int = 12, singly: bool = True) -> float:
    draw = random.Random(5)
    words = range(6, reference.vocabulary.size)
    return MARGIN * reference.noise(
        [draw.choices(words, k=draw.randint(20, tokens)) for _ in range(sequences)], draw, singly=singly
    )


@pytest.mark.parametrize(
    ("name", "requests"),
    [
        ("llama", 800),
        ("qwen3", 200),
        ("deepseek2", 200),
        ("gemma3", 200),
        ("lfm2", 200),
        ("mamba2", 200),
        ("granite_hybrid", 200),
    ],
)
def test_random_requests_are_answered_as_without_a_cache(
    tiny_models: dict[str, Path], make: Callable[[T], T], name: str, requests: int
) -> None:
    reference = make(Reference(tiny_models[name], context_length=512))
    backend = make(open_backend(tiny_models[name], options()))
    mix = Mix() if backend._model.cuttable else Mix(prompt_tokens=(30, 90), limit=200)
    # Which experts a token goes to is a tie too, at times.
    strays = 0.05 if name == "deepseek2" else 0.0
    play = RandomRequests(backend, reference, seed=7, tolerance=tolerance_of(reference), mix=mix, strays=strays)
    tally = play.play(requests)
    play.check_nothing_is_left()
    assert tally.requests == requests
    # Where states can be parted, ended sequences leave their cells before anybody needs these.
    gone = tally.parked if backend._model.cuttable else tally.evicted
    assert min(tally.cancelled, tally.aborted, tally.held, gone, tally.restored) > 0, str(tally)
    assert tally.shared_tokens > tally.computed_tokens / 20, str(tally)
    assert tally.compared > 2 * requests
    assert tally.greedy_ties <= tally.greedy / 50, str(tally)
    assert tally.chance_ties <= tally.chance / 20, str(tally)


def test_without_memory_for_states_ended_sequences_stay_until_others_need_their_cells(
    tiny_models: dict[str, Path], make: Callable[[T], T]
) -> None:
    reference = make(Reference(tiny_models["llama"], context_length=512))
    backend = make(open_backend(tiny_models["llama"], options(prefix=PrefixOptions())))
    play = RandomRequests(backend, reference, seed=8, tolerance=tolerance_of(reference), mix=Mix())
    tally = play.play(200)
    play.check_nothing_is_left()
    assert tally.evicted > 0, str(tally)
    assert tally.parked == tally.restored == 0, str(tally)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("llama", {"batch_tokens": 1024, "slots": 12}),
        ("gemma3", {"batch_tokens": 64, "slots": 6}),
        ("lfm2", {"batch_tokens": 128, "slots": 8}),
        ("granite_hybrid", {"batch_tokens": 256, "slots": 7}),
    ],
)
def test_long_prompts_are_answered_as_without_a_cache(
    tiny_models: dict[str, Path], make: Callable[[T], T], name: str, fields: dict[str, object]
) -> None:
    """Prompts of several segments, with messages whose ends are kept, on few slots."""
    reference = make(Reference(tiny_models[name], context_length=1024))
    backend = make(open_backend(tiny_models[name], options(1024, max_sequences=4, **fields)))
    play = RandomRequests(backend, reference, seed=3, tolerance=tolerance_of(reference, 500), mix=LONG)
    tally = play.play(60)
    play.check_nothing_is_left()
    assert tally.restored > 0, str(tally)


def test_states_from_the_disk_give_the_same_answers(
    tiny_models: dict[str, Path], make: Callable[[T], T], tmp_path: Path
) -> None:
    reference = make(Reference(tiny_models["llama"], context_length=1024))
    prefix = PrefixOptions(ram_bytes=1 << 17, disk_dir=str(tmp_path), disk_max_bytes=1 << 24)
    tolerance = tolerance_of(reference, 500)
    for earlier in (False, True):
        backend = open_backend(tiny_models["llama"], options(1024, max_sequences=4, prefix=prefix))
        try:
            assert backend._cells.store(())._disk is not None
            assert backend._cells.store(()).flush(10)
            play = RandomRequests(backend, reference, seed=11, tolerance=tolerance, mix=LONG)
            tally = play.play(40)
            play.check_nothing_is_left()
        finally:
            backend.close()
        assert not earlier or tally.disk_tokens > 200
    assert 0 < sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) <= 1 << 24


def test_guessed_tokens_change_nothing(tiny_models: dict[str, Path], make: Callable[[T], T]) -> None:
    """Wherever a guess turns wrong: at once, behind some right tokens, or never."""
    reference = make(Reference(tiny_models["llama"], context_length=512))
    backend = make(open_backend(tiny_models["llama"], options(draft="lookup", batch_tokens=32)))
    mix = Mix(answer_tokens=(10, 30), limit=160)
    play = RandomRequests(backend, reference, seed=5, tolerance=tolerance_of(reference), mix=mix)
    draw = random.Random(9)

    def fill(answering: Sequence[Generating], room: int) -> None:
        room = min(room, backend._model.spare_outputs)
        for sequence in answering:
            guess: list[int] = []
            for _ in range(draw.choice((0, 0, 0, 1, 3))):
                guess.append(int(reference.logits([*sequence.tokens, *guess], len(sequence.tokens) - 1)[-1].argmax()))
            guess += draw.choices(range(6, 500), k=draw.randrange(3))
            sequence.guess = guess[: max(0, min(room, sequence.room - len(sequence.tokens) - 1))]
            room -= len(sequence.guess)

    backend._guesses.fill = fill
    tally = play.play(60)
    play.check_nothing_is_left()
    assert tally.accepted > 50, str(tally)
    assert tally.guessed > tally.accepted + 100, str(tally)


def test_the_starter_model_answers_as_without_a_cache(make: Callable[[T], T]) -> None:
    """Its weights are rounded to 4 bits and the inputs of each product to 8, so its noise is as large as what a wrong token
    does (0.4 in the logarithm from batches of 64 tokens on, and 0.7 at most; one wrong token gives 0.2 to 1.2): here the choice
    of the likeliest token is what counts."""
    reference = make(Reference(find_starter(), context_length=256, threads=2))
    backend = make(
        open_backend(find_starter(), options(256, max_sequences=4, threads=2, prefix=PrefixOptions(ram_bytes=1 << 22)))
    )
    tolerance = tolerance_of(reference, 60, sequences=2, singly=False)
    mix = Mix(limit=90, chance=False, answer_tokens=(1, 6))
    play = RandomRequests(backend, reference, seed=2, tolerance=tolerance, mix=mix)
    tally = play.play(10)
    play.check_nothing_is_left()
    assert tally.shared_tokens > 50, str(tally)


@pytest.mark.parametrize("name", ["llama", "qwen3", "deepseek2"])
def test_one_cell_too_many_is_noticed(tiny_models: dict[str, Path], make: Callable[[T], T], name: str) -> None:
    """That the comparison is worth something: to share a single cell of another token must fail it."""
    reference = make(Reference(tiny_models[name], context_length=512))
    backend = make(open_backend(tiny_models[name], options(prefix=PrefixOptions())))
    find = backend._cells.find_donor

    def find_more(prompt: Sequence[int], adapters: Adapters) -> Donor | None:
        donor = find(prompt, adapters)
        return donor and Donor(donor.slot, donor.tokens + 1)

    backend._cells.find_donor = find_more
    quiet = Mix(cancels=0, interrupts=0, holds=0, answer_tokens=(6, 6))
    tolerance = tolerance_of(reference)
    noticed = 0
    for seed in range(30):
        play = RandomRequests(backend, reference, seed=seed, tolerance=tolerance, mix=quiet)
        shared, end, other = (random.Random((seed, part).__hash__()).choices(range(6, 500), k=30) for part in range(3))
        play.start([*shared, *end], GREEDY)
        play.play(0)
        play.start([*shared, *other], GREEDY)
        try:
            play.play(0)
        except Parted:
            noticed += 1
        backend.forget()
    assert noticed >= 24


@pytest.mark.parametrize("name", ["llama", "gemma3", "lfm2", "mamba2", "granite_hybrid"])
def test_an_ended_step_harms_nobody_else(tiny_models: dict[str, Path], make: Callable[[T], T], name: str) -> None:
    """Wherever in the graph it ends: what is held and what is kept goes on as if nothing had been."""
    reference = make(Reference(tiny_models[name], context_length=512))
    backend = make(open_backend(tiny_models[name], options()))
    play = RandomRequests(
        backend, reference, seed=1, tolerance=tolerance_of(reference), mix=Mix(holds=0.3, interrupts=0.2, limit=200)
    )
    tally = play.play(80)
    play.check_nothing_is_left()
    assert tally.aborted >= 4, str(tally)
