"""Pictures in the llama engine, with tiny projectors over tiny models."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from engine_tools import GREEDY
from tiny_companions import make_picture, tiny_projector
from tiny_models import TINY_MODELS

from impetus.runtime.frames import LoadOptions, PrefixOptions
from impetus.runtime.request import ChatPrompt, GenerateRequest, ImagePart, Message, Part, TextPart, TextPrompt
from impetus.runtime.worker.backends.backend import PromptTooLong, Refusal, StepOutcome
from impetus.runtime.worker.backends.llama import LlamaBackend
from impetus.runtime.worker.backends.llama_sequence import Generating

pytestmark = pytest.mark.engine

LENGTH = 12
PICTURE_TOKENS = 64
KINDS = {"llama": "mlp", "gemma3": "gemma3", "lfm2": "mlp"}
"""By what is special about the model: plain, with a window, with states."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for name, kind in KINDS.items():
        TINY_MODELS[name](folder / f"{name}.gguf")
        tiny_projector(folder / f"mmproj-{name}.gguf", kind=kind)
    return folder


Load = Callable[..., LlamaBackend]


@pytest.fixture
def load(folder: Path) -> Iterator[Load]:
    opened: list[LlamaBackend] = []

    def load_one(name: str = "llama", **fields: object) -> LlamaBackend:
        options = LoadOptions(
            **{
                "context_length": 1024,
                "cache_tokens": 4096,
                "threads": 1,
                "max_sequences": 4,
                "prefix": PrefixOptions(ram_bytes=1 << 26),
                "projector_path": str(folder / f"mmproj-{name}.gguf"),
                **fields,
            }  # type: ignore[arg-type]
        )
        backend = LlamaBackend()
        backend.load(str(folder / f"{name}.gguf"), options, lambda _: None)
        opened.append(backend)
        return backend

    yield load_one
    for backend in opened:
        if backend not in closed:
            backend.close()


closed: list[LlamaBackend] = []


def close(backend: LlamaBackend) -> None:
    backend.close()
    closed.append(backend)


RED, BLUE, GREEN = (make_picture(seed) for seed in (1, 2, 3))
STORY = "you are a helpful assistant that answers questions about programs, tells stories and counts numbers "


def ask(*parts: str | bytes, after: Sequence[Message] = (), **fields: Any) -> GenerateRequest:
    content: list[Part] = [TextPart(part) if isinstance(part, str) else ImagePart(part, "image/png") for part in parts]
    messages = (Message("user", tuple(content)), *after)
    return GenerateRequest("m", ChatPrompt(messages), GREEDY, **fields)


def begin(backend: LlamaBackend, number: int, request: GenerateRequest) -> Generating:
    backend.start(number, backend.admit(request), request)
    return backend._sequences[number]


def answer_all(backend: LlamaBackend, requests: Sequence[GenerateRequest]) -> list[tuple[bytes, int]]:
    """Answers requests at the same time; gives of each the text and how many tokens were taken over."""
    said: dict[int, list[bytes]] = {}
    cached: dict[int, int] = {}
    for number, request in enumerate(requests):
        said[number] = []
        begin(backend, number, request)
    for _ in range(30 * LENGTH):
        outcome = backend.step()
        assert not outcome.lost
        cached |= {begun.sequence: begun.cached_tokens for begun in outcome.begun}
        for token in outcome.tokens:
            said[token.sequence].append(token.piece)
            if len(said[token.sequence]) == LENGTH:
                backend.drop(token.sequence)
        if all(len(pieces) >= LENGTH for pieces in said.values()):
            return [(b"".join(pieces[:LENGTH]), cached[number]) for number, pieces in said.items()]
    raise AssertionError("they did not come to an end")


def answer(backend: LlamaBackend, request: GenerateRequest) -> tuple[bytes, int]:
    return answer_all(backend, [request])[0]


@pytest.mark.parametrize("name", KINDS)
def test_an_answer_depends_on_the_picture_and_on_where_it_stands(load: Load, name: str) -> None:
    requests = [
        ask("what is this?"), ask(RED, "what is this?"), ask(BLUE, "what is this?"), ask("what ", RED, "is this?"),
        ask(RED, BLUE, "what is this?"), ask(BLUE, RED, "what is this?"),
    ]  # fmt: skip
    texts = [answer(load(name), request)[0] for request in requests]
    assert len(set(texts)) == len(requests)


@pytest.mark.parametrize("name", KINDS)
def test_pictures_and_texts_side_by_side_are_answered_as_each_alone(load: Load, name: str) -> None:
    requests = [ask(RED, "what is this?"), ask(STORY * 2), ask(STORY, BLUE, "and this?", GREEN), ask("one two three")]
    alone = [answer(load(name), request)[0] for request in requests]
    assert [text for text, _ in answer_all(load(name), requests)] == alone


@pytest.mark.parametrize("name", KINDS)
def test_a_conversation_goes_on_behind_its_picture_without_computing_it_again(load: Load, name: str) -> None:
    backend = load(name)
    first = ask(STORY, RED, "what is this?")
    turns = (Message("assistant", (TextPart("it is a picture"),)), Message("user", (TextPart("why?"),)))
    later = [ask(STORY, picture, "what is this?", after=turns) for picture in (RED, BLUE)]
    fresh = [answer(load(name), request)[0] for request in (first, *later)]
    text, cached = answer(backend, first)
    assert (text, cached) == (fresh[0], 0)
    picture = backend.admit(first).pictures[0]  # type: ignore[attr-defined]
    assert picture.count == PICTURE_TOKENS
    text, cached = answer(backend, later[0])
    assert text == fresh[1]
    assert cached >= picture.end
    text, cached = answer(backend, later[1])
    assert text == fresh[2]
    assert cached <= picture.begin


def test_a_picture_that_is_kept_only_in_part_is_computed_as_a_whole(load: Load) -> None:
    backend = load()
    request = ask(STORY * 3, RED, "what is this?")
    fresh = answer(load(), request)[0]
    generating = begin(backend, 7, request)
    while not backend.step().tokens:
        pass
    picture = generating.pictures[0]
    generating.in_cache = picture.begin + 20
    assert backend._cells.memory.cut(generating.slot, generating.in_cache)
    backend.drop(7)
    assert answer(backend, request) == (fresh, picture.begin)


def test_agents_with_the_same_picture_compute_it_once(load: Load) -> None:
    backend = load()
    requests = [ask(STORY, RED, question) for question in ("what is this?", "how many?", "why?")]
    alone = [answer(load(), request)[0] for request in requests]
    answers = answer_all(backend, requests)
    assert [text for text, _ in answers] == alone
    assert sorted(cached > PICTURE_TOKENS for _, cached in answers) == [False, True, True]


def test_states_with_pictures_come_back_from_the_disk(load: Load, tmp_path: Path) -> None:
    prefix = PrefixOptions(disk_dir=str(tmp_path), disk_max_bytes=1 << 28)
    request = ask(STORY * 2, RED, "what is this?", BLUE, STORY * 2)
    backend = load(prefix=prefix)
    fresh, _ = answer(backend, request)
    while backend.rest():
        pass
    close(backend)
    again = load(prefix=prefix)
    assert again._cells.store(()).flush(10)
    text, cached = answer(again, request)
    assert text == fresh
    assert cached > 2 * PICTURE_TOKENS
    assert answer(again, ask(STORY * 2, GREEN, "what is this?", BLUE, STORY * 2))[1] < PICTURE_TOKENS + 100


def test_texts_go_on_while_a_picture_is_computed(load: Load) -> None:
    backend = load()
    begin(backend, 1, ask(STORY))
    while not backend.step().tokens:
        pass
    generating = begin(backend, 2, ask(RED, "what is this?"))
    outcomes: list[StepOutcome] = []
    while not generating.answering:
        outcomes.append(backend.step())
    assert all(any(token.sequence == 1 for token in outcome.tokens) for outcome in outcomes if not outcome.begun)
    assert sum(outcome.prefill_tokens for outcome in outcomes) == generating.prompt_tokens


@pytest.mark.parametrize("name", KINDS)
def test_a_request_that_is_cancelled_at_any_step_leaves_the_others_right(load: Load, name: str) -> None:
    backend = load(name)
    fresh = answer(load(name), ask(RED, "what is this?"))[0]
    for steps in range(7):
        begin(backend, 8, ask(RED, BLUE, "what is this?"))
        for _ in range(steps):
            backend.step()
        backend.drop(8)
        assert answer(backend, ask(RED, "what is this?"))[0] == fresh
    assert backend.occupancy().used_tokens == 0


def test_a_cancel_while_a_picture_is_decoded_ends_the_step(load: Load) -> None:
    backend = load()
    generating = begin(backend, 8, ask(RED, "what is this?"))
    while generating.pictures[0].encoded is None:
        backend.step()
    # As the thread that reads frames would: between the start of the step and its first node.
    lower = backend._model.abort.lower
    backend._model.abort.lower = lambda: (lower(), backend._model.abort.raise_())[0]  # type: ignore[method-assign]
    before = generating.in_cache
    backend.step()
    backend._model.abort.lower = lower  # type: ignore[method-assign]
    assert generating.in_cache == before
    fresh = answer(load(), ask(RED, "what is this?"))[0]
    backend.drop(8)
    assert answer(backend, ask(RED, "what is this?"))[0] == fresh


def test_a_picture_that_needs_room_gets_it(load: Load) -> None:
    backend = load(cache_tokens=None, context_length=256, max_sequences=2)
    fresh = answer(load(), ask(RED, "what is this?"))[0]
    for number in range(4):
        assert answer(backend, ask(RED, "what is this?"))[0] == fresh
        answer(backend, ask(f"{number} {STORY}"))
    both = answer_all(backend, [ask(RED, "what is this?"), ask("so ", RED, "what is this?")])
    assert both[0][0] == fresh


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "none of PNG"),
        (b"RIFF\x10\0\0\0WEBPVP8 " + bytes(40), "none of PNG"),
        (RED[:60], "damaged"),
        (RED[:16] + (9000).to_bytes(4, "big") + (9000).to_bytes(4, "big") + RED[24:], "too large"),
    ],
)
def test_what_is_no_picture_is_refused_and_the_model_goes_on(load: Load, data: bytes, says: str) -> None:
    backend = load()
    with pytest.raises(Refusal, match=says) as caught:
        backend.admit(ask(data, "what is this?"))
    assert (caught.value.kind, caught.value.param) == ("invalid", "messages")
    assert len(answer(backend, ask(RED, "what is this?"))[0]) > 0


def test_pictures_count_as_tokens(load: Load) -> None:
    backend = load(context_length=256)
    with pytest.raises(PromptTooLong) as caught:
        backend.admit(ask(*(make_picture(seed) for seed in range(4))))
    assert caught.value.prompt_tokens > 4 * PICTURE_TOKENS


def test_a_model_without_a_projector_takes_none(load: Load) -> None:
    with pytest.raises(Refusal, match="takes text only"):
        load(projector_path=None).admit(ask(RED, "what is this?"))


def test_a_projector_of_another_model_is_told_with_the_first_picture(load: Load, tmp_path: Path) -> None:
    wrong = tiny_projector(tmp_path / "mmproj-wrong.gguf", width=32)
    backend = load(projector_path=str(wrong))
    for _ in range(2):
        with pytest.raises(Refusal, match=r"mmproj-wrong\.gguf.*mismatch") as caught:
            backend.admit(ask(RED, "what is this?"))
        assert caught.value.kind == "failed"
    request = GenerateRequest("m", TextPrompt("the quick brown fox"), GREEDY)
    assert len(answer(backend, request)[0]) > 0
    missing = load(projector_path=str(tmp_path / "gone.gguf"))
    with pytest.raises(Refusal, match=r"gone\.gguf"):
        missing.admit(ask(RED))


def test_what_all_look_at_must_fit_into_one_step(load: Load) -> None:
    with pytest.raises(Refusal, match=r"64 tokens does not fit into a step of 32"):
        load("gemma3", batch_tokens=32).admit(ask(RED))
    fresh = answer(load("gemma3"), ask(RED, "what is this?"))[0]
    assert answer(load("gemma3", batch_tokens=64), ask(RED, "what is this?"))[0] == fresh
    assert answer(load(batch_tokens=32), ask(RED, "what?"))[0] == answer(load(), ask(RED, "what?"))[0]


def test_words_that_look_like_a_picture_are_words(load: Load) -> None:
    backend = load()
    assert backend.admit(ask("<__media__> and <image>", RED)).pictures[0].count == PICTURE_TOKENS  # type: ignore[attr-defined]
