"""The llama engine without its process: what no frame can bring about quickly."""

from collections.abc import Iterator

import pytest
from engine_tools import GREEDY, find_starter

from impetus.runtime.frames import LoadOptions
from impetus.runtime.request import GenerateRequest, Sampling, TextPrompt, TokenPrompt
from impetus.runtime.worker.backends import llama_weights
from impetus.runtime.worker.backends.backend import Refusal, StepOutcome
from impetus.runtime.worker.backends.llama import LlamaBackend
from impetus.runtime.worker.backends.llama_model import choose_context

pytestmark = pytest.mark.engine

ENDLESS = Sampling(temperature=0, logit_bias={0: -100.0, 2: -100.0, 4: -100.0})


@pytest.fixture(scope="module")
def loaded() -> Iterator[LlamaBackend]:
    backend = LlamaBackend()
    # One thread does not spin, whatever the environment says.
    options = LoadOptions(context_length=256, threads=1, max_sequences=4, batch_tokens=128)
    backend.load(str(find_starter()), options, lambda _: None)
    yield backend
    backend.close()


@pytest.fixture
def backend(loaded: LlamaBackend) -> Iterator[LlamaBackend]:
    loaded.forget()
    yield loaded
    for number in range(1, 10):
        loaded.drop(number)
    assert loaded.occupancy().used_tokens == 0


def start(backend: LlamaBackend, number: int, prompt_tokens: int) -> None:
    request = GenerateRequest("m", TokenPrompt((1000 + number,) * prompt_tokens), ENDLESS)
    backend.start(number, backend.admit(request), request)


def step(backend: LlamaBackend) -> StepOutcome:
    """Computes; a step that only tells where prompts come from is put together with the next one."""
    outcome = backend.step()
    while outcome.begun and not outcome.compute_s:
        following = backend.step()
        following.begun[:0] = outcome.begun
        if len(following.begun) > len(outcome.begun):
            outcome = following
            continue
        return following
    return outcome


def spoke(backend: LlamaBackend) -> set[int]:
    return {token.sequence for token in step(backend).tokens}


def test_a_held_sequence_rests_and_goes_on_where_it_was(backend: LlamaBackend) -> None:
    start(backend, 1, 8)
    start(backend, 2, 8)
    assert spoke(backend) == {1, 2}
    backend.hold(1, True)
    assert spoke(backend) == {2}
    backend.hold(2, True)
    assert backend.wait_s() is None
    backend.hold(1, False)
    assert backend.wait_s() == 0
    before = backend.occupancy().used_tokens
    assert spoke(backend) == {1}
    assert backend.occupancy().used_tokens == before + 1


def test_a_held_sequence_gives_up_its_cache_to_one_that_needs_it(backend: LlamaBackend) -> None:
    start(backend, 1, 150)
    while not spoke(backend):
        pass
    backend.hold(1, True)
    start(backend, 2, 150)
    while not spoke(backend):
        pass
    assert backend.occupancy().used_tokens < 200
    backend.hold(1, False)
    backend.drop(2)
    while not spoke(backend):
        pass
    assert backend.occupancy().used_tokens == 151


STORY = tuple(range(500, 540))


def begin(backend: LlamaBackend, number: int, *tokens: int) -> None:
    request = GenerateRequest("m", TokenPrompt(tokens), ENDLESS)
    backend.start(number, backend.admit(request), request)


def reply(backend: LlamaBackend, number: int, count: int) -> bytes:
    """Steps until a sequence has said so many tokens; gives its text."""
    said: list[bytes] = []
    for _ in range(200):
        said += [token.piece for token in step(backend).tokens if token.sequence == number]
        if len(said) >= count:
            break
    return b"".join(said[:count])


def test_prompts_that_begin_alike_compute_their_beginning_once(backend: LlamaBackend) -> None:
    for number in (1, 2, 3):
        begin(backend, number, *STORY, 700 + number)
    first = step(backend)
    assert (first.prefill_tokens, [(begun.sequence, begun.cached_tokens) for begun in first.begun]) == (41, [(1, 0)])
    second = step(backend)
    assert second.prefill_tokens == 2
    assert [(begun.sequence, begun.cached_tokens) for begun in second.begun] == [(2, 40), (3, 40)]
    assert {token.sequence for token in second.tokens} == {1, 2, 3}


def test_a_request_that_is_sent_again_takes_over_what_the_first_one_computed(backend: LlamaBackend) -> None:
    prompt = tuple(1000 + number % 7 for number in range(200))
    begin(backend, 1, *prompt)
    first = step(backend)
    assert 0 < first.prefill_tokens < 200
    begin(backend, 2, *prompt)
    joined = step(backend)
    backend.drop(1)
    last = step(backend)
    # The one that came second waited for the first, and went on where that was given up.
    assert [begun.sequence for begun in (*joined.begun, *last.begun)] == [2]
    [begun] = (*joined.begun, *last.begun)
    assert begun.cached_tokens >= first.prefill_tokens
    assert begun.cached_tokens + begun.report.computed_tokens == 200
    backend.drop(2)


COUNTING = "One, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, thirteen, fourteen,"


def begin_text(backend: LlamaBackend, number: int, text: str) -> None:
    request = GenerateRequest("m", TextPrompt(text), ENDLESS)
    backend.start(number, backend.admit(request), request)


def test_a_shared_beginning_outlives_the_sequence_it_came_from(backend: LlamaBackend) -> None:
    begin_text(backend, 3, COUNTING + " fifteen, sixteen,")
    alone = reply(backend, 3, 14)
    backend.drop(3)
    backend.forget()
    begin_text(backend, 1, COUNTING + " and so on")
    step(backend)
    begin_text(backend, 2, COUNTING + " fifteen, sixteen,")
    (begun,) = step(backend).begun
    assert begun.cached_tokens > 25
    backend.drop(1)
    begin_text(backend, 3, "Paris is the capital of France. Rome is the capital of Italy. Madrid is the capital of")
    assert b"twenty-one" in alone
    assert reply(backend, 2, 12) in alone
    backend.drop(2)


def test_a_prompt_inside_another_leaves_its_last_token_to_compute(backend: LlamaBackend) -> None:
    begin(backend, 1, *STORY, 900)
    step(backend)
    begin(backend, 2, *STORY)
    outcome = step(backend)
    assert [(begun.sequence, begun.cached_tokens) for begun in outcome.begun] == [(2, 39)]
    assert {token.sequence for token in outcome.tokens} == {1, 2}


def test_short_common_beginnings_are_not_waited_for(backend: LlamaBackend) -> None:
    begin(backend, 1, *STORY[:10], 1, 2, 3)
    begin(backend, 2, *STORY[:10], 4, 5, 6)
    assert [begun.cached_tokens for begun in step(backend).begun] == [0, 0]


def test_the_oldest_that_waits_for_room_is_next(backend: LlamaBackend) -> None:
    for number in (1, 2, 3):
        start(backend, number, 150)
    while not (first := spoke(backend)):
        pass
    assert first == {1}
    backend.drop(1)
    while not (second := spoke(backend)):
        pass
    assert second == {2}


@pytest.mark.parametrize(
    ("sampling", "param"),
    [
        (Sampling(repeat_penalty=0), "repeat_penalty"),
        (Sampling(repeat_penalty=-1), "repeat_penalty"),
        (Sampling(frequency_penalty=float("inf")), "frequency_penalty"),
        (Sampling(temperature=float("nan")), "temperature"),
        (Sampling(logit_bias={5: float("nan")}), "logit_bias"),
        (Sampling(logit_bias={-5: 1.0}), "logit_bias"),
    ],
)
def test_what_would_bring_the_engine_down_is_refused(backend: LlamaBackend, sampling: Sampling, param: str) -> None:
    with pytest.raises(Refusal) as caught:
        backend.admit(GenerateRequest("m", TextPrompt("a"), sampling))
    assert (caught.value.kind, caught.value.param) == ("invalid", param)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(top_k=2**40, repeat_last_n=2**40, repeat_penalty=1.1, seed=2**70),
        Sampling(top_k=-1, top_p=0, min_p=1, seed=-1),
        Sampling(top_p=-3, min_p=5, temperature=1e-30, repeat_last_n=-1, presence_penalty=-1e30),
        Sampling(temperature=-1, logit_bias=dict.fromkeys(range(0, 49152, 2), -1e30)),
        Sampling(temperature=1e30, top_k=0, top_p=1, min_p=0, seed=0xFFFFFFFF),
    ],
)
def test_extreme_sampling_is_survived(backend: LlamaBackend, sampling: Sampling) -> None:
    request = GenerateRequest("m", TextPrompt("Once upon a time"), sampling, top_logprobs=60_000)
    backend.start(1, backend.admit(request), request)
    spoke(backend)  # the last token of a prompt with a seed has a step of its own
    for _ in range(3):
        assert spoke(backend) == {1}


@pytest.mark.parametrize("text", ["a\0b", "\0", " ", "\ufeff", "é" * 50, "\U0010ffff"])
def test_odd_text_becomes_tokens(backend: LlamaBackend, text: str) -> None:
    ids = backend.admit(GenerateRequest("m", TextPrompt(text), GREEDY)).token_ids
    assert b"".join(map(backend._vocabulary.piece, ids)).decode() == text


@pytest.mark.parametrize(
    ("wanted", "trained", "per_token", "served"),
    [
        (1000, 8192, 23_040, 1000),
        (100_000, 8192, 23_040, 8192),
        (None, 8192, 23_040, 8192),
        (None, 131_072, 131_072, 16_384),
        (None, 131_072, 4 << 20, 4096),
        (None, 2048, 4 << 20, 2048),
        (None, 0, 1, 4096),
    ],
)
def test_the_context_is_what_was_asked_for_or_what_is_affordable(
    wanted: int | None, trained: int, per_token: int, served: int
) -> None:
    assert choose_context(wanted, trained, per_token) == served


@pytest.mark.parametrize(
    ("platform", "machine", "info", "trap"),
    [
        ("linux", "x86_64", "CPU : AVX512 = 1 | AMX_INT8 = 1 | REPACK = 1", True),
        ("linux", "x86_64", "CPU : AVX512 = 1 | REPACK = 1", False),
        ("darwin", "arm64", "CPU : AMX_INT8 = 1", False),
        ("linux", "aarch64", "CPU : AMX_INT8 = 1", False),
    ],
)
def test_only_builds_with_amx_need_care(
    monkeypatch: pytest.MonkeyPatch, platform: str, machine: str, info: str, trap: bool
) -> None:
    monkeypatch.setattr(llama_weights.sys, "platform", platform)
    monkeypatch.setattr(llama_weights.platform, "machine", lambda: machine)
    assert llama_weights.has_amx_trap(info) is trap
