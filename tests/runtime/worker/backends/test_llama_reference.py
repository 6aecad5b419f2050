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
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cold_reference import Reference
from engine_tools import find_starter
from random_play import Interrupter, Mix, Parted, RandomRequests

from impetus.runtime.frames import LoadOptions, PrefixOptions
from impetus.runtime.request import GenerateRequest, Sampling, TokenPrompt
from impetus.runtime.worker.backends.backend import StepOutcome
from impetus.runtime.worker.backends.llama import LlamaBackend
from impetus.runtime.worker.backends.llama_cells import Adapters, Donor
from impetus.runtime.worker.backends.llama_sequence import Generating

pytestmark = pytest.mark.engine

GREEDY = Sampling(temperature=0)
MARGIN = 3
"""How much more than the measured noise is allowed: it is the largest of a few hundred positions, not of all there are."""
LONG = Mix(prompt_tokens=(40, 300), answer_tokens=(1, 12), limit=700, holds=0.1)
T = TypeVar("T")


@pytest.fixture
def make() -> Iterator[Callable[[T], T]]:
    """Closes what a test opened."""
    opened: list[LlamaBackend | Reference] = []

    def keep(one: T) -> T:
        opened.append(one)  # type: ignore[arg-type]
        return one

    yield keep
    for one in opened:
        one.close()


def open_backend(path: Path, options: LoadOptions) -> LlamaBackend:
    backend = LlamaBackend()
    backend.load(str(path), options, lambda _: None)
    return backend


def options(context_length: int = 512, *, prefix: PrefixOptions | None = None, **fields: Any) -> LoadOptions:
    """A small context and little memory, so that all of it is always short."""
    prefix = prefix or PrefixOptions(ram_bytes=1 << 18)
    given: dict[str, Any] = {
        "context_length": context_length,
        "threads": 1,
        "max_sequences": 8,
        "batch_tokens": 128,
        "prefix": prefix,
    }
    return LoadOptions(**{**given, **fields})


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


LONGEST = tuple(10 + index * 7 % 480 for index in range(3500))


def ask(backend: LlamaBackend, number: int, *tokens: int, sampling: Sampling = GREEDY) -> None:
    request = GenerateRequest("m", TokenPrompt(tokens), sampling)
    backend.start(number, backend.admit(request), request)


def until_it_speaks(backend: LlamaBackend, number: int) -> list[StepOutcome]:
    outcomes: list[StepOutcome] = []
    for _ in range(500):
        outcomes.append(backend.step())
        if any(token.sequence == number for token in outcomes[-1].tokens):
            return outcomes
    raise AssertionError("it says nothing")


@pytest.mark.parametrize("name", ["llama", "gemma3", "granite_hybrid"])
def test_a_long_prompt_that_nobody_waits_for_ends_within_a_node(
    tiny_models: dict[str, Path], make: Callable[[T], T], name: str
) -> None:
    backend = make(open_backend(tiny_models[name], options(4096, batch_tokens=4096)))
    ask(backend, 1, *LONGEST)
    began_s = time.perf_counter()
    until_it_speaks(backend, 1)
    whole_s = time.perf_counter() - began_s
    backend.drop(1)
    backend.forget()
    computing = threading.Event()
    decode = backend._batch.decode

    def decode_and_tell(context: object) -> int:
        computing.set()
        return decode(context)  # type: ignore[arg-type]

    backend._batch.decode = decode_and_tell
    ended = threading.Thread(target=lambda: computing.wait(10) and backend.interrupt({2, 9}))
    ended.start()
    ask(backend, 2, 5, *LONGEST)
    began_s = time.perf_counter()
    outcome = compute(backend)
    took_s = time.perf_counter() - began_s
    ended.join()
    assert not outcome.tokens
    assert not outcome.lost
    assert took_s < whole_s / 3
    held = backend._sequences[2]
    assert held.in_cache == 0
    assert not held.active or backend._cells.memory.length(held.slot) == 0
    backend.drop(2)
    assert backend.occupancy().kept_tokens == 0
    backend._batch.decode = decode
    ask(backend, 3, *LONGEST[:100])
    assert until_it_speaks(backend, 3)[-1].tokens
    assert backend._cells.memory.length(backend._sequences[3].slot) == 100


def test_a_step_that_others_wait_for_is_not_ended(tiny_models: dict[str, Path], make: Callable[[T], T]) -> None:
    backend = make(open_backend(tiny_models["llama"], options()))
    interrupter = Interrupter(backend)
    ask(backend, 1, *LONGEST[:50])
    ask(backend, 2, *LONGEST[200:250])
    assert len(backend.step().begun) == 2
    interrupter.arm(5, [2])
    assert {token.sequence for token in backend.step().tokens} == {1, 2}
    interrupter.arm(5, [1, 2])
    assert not backend.step().tokens
    assert {token.sequence for token in backend.step().tokens} == {1, 2}


def compute(backend: LlamaBackend) -> StepOutcome:
    """Steps until something was computed: the step in which a prompt begins only says where it comes from."""
    while (outcome := backend.step()).begun:
        pass
    return outcome


def kept_tokens(backend: LlamaBackend) -> list[int]:
    return [len(kept.tokens) for kept in backend._cells.kept]


def begun(outcomes: list[StepOutcome]) -> tuple[int, int, int]:
    (one,) = [begun.report for outcome in outcomes for begun in outcome.begun]
    return one.ram_tokens, one.disk_tokens, one.computed_tokens


def test_ended_sequences_leave_the_cells_where_they_would_slow_running_ones(
    tiny_models: dict[str, Path], make: Callable[[T], T]
) -> None:
    backend = make(
        open_backend(tiny_models["llama"], options(4096, batch_tokens=1024, prefix=PrefixOptions(ram_bytes=1 << 23)))
    )
    ask(backend, 1, *LONGEST[:2500])
    until_it_speaks(backend, 1)
    backend.drop(1)
    assert kept_tokens(backend) == [2500]
    ask(backend, 2, 5, *LONGEST[3000:3050])
    until_it_speaks(backend, 2)
    assert kept_tokens(backend) == []
    assert backend._cells.store(()).ram_bytes > 2400 * 512
    ask(backend, 3, *LONGEST[:2500], 5, 6, 7)
    ram_tokens, _, computed = begun(until_it_speaks(backend, 3))
    # The end of a prompt is kept too.
    assert (ram_tokens, computed) == (2500, 3)


def test_what_no_store_has_room_for_stays_in_the_cells(tiny_models: dict[str, Path], make: Callable[[T], T]) -> None:
    backend = make(
        open_backend(tiny_models["llama"], options(4096, batch_tokens=1024, prefix=PrefixOptions(ram_bytes=1 << 18)))
    )
    ask(backend, 1, *LONGEST[:2500])
    until_it_speaks(backend, 1)
    backend.drop(1)
    ask(backend, 2, 5, *LONGEST[3000:3090])
    until_it_speaks(backend, 2)
    assert kept_tokens(backend) == [2500]
    ask(backend, 3, *LONGEST[:2500], 5, 6, 7)
    assert begun(until_it_speaks(backend, 3)) == (2500, 0, 3)


def test_what_took_least_to_compute_is_evicted_first(tiny_models: dict[str, Path], make: Callable[[T], T]) -> None:
    backend = make(open_backend(tiny_models["llama"], options(prefix=PrefixOptions())))
    for number, (begin, end) in enumerate([(0, 200), (220, 260), (300, 420)], 1):
        ask(backend, number, *LONGEST[begin:end])
        until_it_speaks(backend, number)
        backend.drop(number)
    assert kept_tokens(backend) == [200, 40, 120]
    assert backend._cells.evict()
    assert kept_tokens(backend) == [200, 120]
    assert backend._cells.evict(spare=next(iter(backend._cells.kept)).slot)
    assert kept_tokens(backend) == [200]
    assert backend._cells.evict()
    assert not backend._cells.evict()


def test_a_prompt_that_leaves_a_kept_state_halfway_takes_the_half(tiny_models: dict[str, Path], make: Callable[[T], T]) -> None:
    backend = make(open_backend(tiny_models["llama"], options(1024, prefix=PrefixOptions(ram_bytes=1 << 20))))
    ask(backend, 1, *LONGEST[:600])
    until_it_speaks(backend, 1)
    backend.drop(1)
    while backend.rest():
        pass
    backend.forget()
    ask(backend, 2, *LONGEST[:300], 5, 6, 7)
    assert begun(until_it_speaks(backend, 2)) == (300, 0, 3)
    slot = backend._sequences[2].slot
    assert backend._cells.memory.length(slot) == 303
    # Of the second segment only what is shared came along.
    assert backend._cells.memory.length(backend._cells._scratch) == 0


def test_a_state_that_has_gone_meanwhile_is_computed(tiny_models: dict[str, Path], make: Callable[[T], T]) -> None:
    backend = make(open_backend(tiny_models["llama"], options(1024, prefix=PrefixOptions(ram_bytes=1 << 20))))
    ask(backend, 1, *LONGEST[:600])
    until_it_speaks(backend, 1)
    backend.drop(1)
    while backend.rest():
        pass
    backend.forget()
    store = backend._cells.store(())
    hits = store.match(LONGEST[:599], prefill_tps=None)
    assert [hit.begin for hit in hits] == [0, 256, 512]
    store.memory.discard(hits[1].key)
    ask(backend, 2, *LONGEST[:600], 5)
    assert begun(until_it_speaks(backend, 2)) == (256, 0, 345)


def test_a_prompt_kept_from_the_cache_neither_takes_nor_gives(tiny_models: dict[str, Path], make: Callable[[T], T]) -> None:
    backend = make(open_backend(tiny_models["llama"], options()))

    def ask_apart(number: int) -> None:
        request = GenerateRequest("m", TokenPrompt(LONGEST[:80]), GREEDY, cache_prompt=False)
        backend.start(number, backend.admit(request), request)

    ask(backend, 1, *LONGEST[:80])
    until_it_speaks(backend, 1)
    ask_apart(2)
    assert begun(until_it_speaks(backend, 2)) == (0, 0, 80)
    backend.drop(1)
    backend.forget()
    ask(backend, 3, *LONGEST[:80])
    assert begun(until_it_speaks(backend, 3)) == (0, 0, 80)
    backend.drop(2)
    assert kept_tokens(backend) == []


def test_a_sequence_that_another_one_continues_is_kept_once(tiny_models: dict[str, Path], make: Callable[[T], T]) -> None:
    backend = make(open_backend(tiny_models["llama"], options()))
    for number, end in ((1, 40), (2, 80), (3, 60)):
        ask(backend, number, *LONGEST[:end])
        until_it_speaks(backend, number)
        backend.drop(number)
    assert kept_tokens(backend) == [80]
    assert backend.occupancy().kept_tokens == 80


@pytest.mark.parametrize("name", ["gemma3", "lfm2", "mamba2", "granite_hybrid"])
def test_a_state_is_taken_over_whole_or_not_at_all(tiny_models: dict[str, Path], make: Callable[[T], T], name: str) -> None:
    backend = make(open_backend(tiny_models[name], options(prefix=PrefixOptions())))
    ask(backend, 1, *LONGEST[:50])
    until_it_speaks(backend, 1)
    backend.drop(1)
    ask(backend, 2, *LONGEST[:40], 5)
    assert begun(until_it_speaks(backend, 2)) == (0, 0, 41)
    ask(backend, 3, *LONGEST[:50], 5)
    assert begun(until_it_speaks(backend, 3)) == (50, 0, 1)


def test_one_that_was_sent_away_says_once_where_its_prompt_is_from(
    tiny_models: dict[str, Path], make: Callable[[T], T]
) -> None:
    backend = make(open_backend(tiny_models["llama"], options()))
    ask(backend, 1, *LONGEST[:100])
    until_it_speaks(backend, 1)
    backend.hold(1, True)
    ask(backend, 2, *LONGEST[100:500])
    outcomes = until_it_speaks(backend, 2)
    assert not backend._sequences[1].active
    backend.drop(2)
    backend.hold(1, False)
    outcomes = until_it_speaks(backend, 1)
    assert not any(outcome.begun for outcome in outcomes)
    assert backend._cells.memory.length(backend._sequences[1].slot) == 101


@pytest.mark.parametrize("nodes", [1, 12, 40])
@pytest.mark.parametrize("name", ["lfm2", "mamba2", "granite_hybrid"])
def test_no_state_outlives_a_step_that_was_ended(
    tiny_models: dict[str, Path], make: Callable[[T], T], name: str, nodes: int
) -> None:
    """The engine moves states of others in a step's graph, and counts free ones as zeroed before they are."""
    backend = make(open_backend(tiny_models[name], options()))
    interrupter = Interrupter(backend)
    ask(backend, 1, *LONGEST[:60])
    ask(backend, 2, *LONGEST[100:160])
    ask(backend, 3, *LONGEST[200:260])
    for number in (1, 2, 3):
        until_it_speaks(backend, number)
    backend.drop(1)
    backend.hold(2, True)
    ask(backend, 4, *LONGEST[300:340])
    assert backend.step().begun
    interrupter.arm(nodes, [3, 4])
    assert not backend.step().tokens
    assert kept_tokens(backend) == []
    assert not any(sequence.active for sequence in backend._sequences.values())
    assert all(backend._cells.memory.length(slot) == 0 for slot in range(backend._model.slots))
    backend.drop(3)
    backend.drop(4)
    backend.hold(2, False)
    until_it_speaks(backend, 2)
    assert backend._cells.memory.length(backend._sequences[2].slot) == len(backend._sequences[2].tokens) - 1
