"""LoRA adapters in the llama engine: who gets them, and that nothing computed under one serves another."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from engine_tools import GREEDY
from tiny_companions import tiny_lora
from tiny_models import tiny_llama, tiny_qwen3

from impetus.runtime.frames import LoadOptions, PrefixOptions
from impetus.runtime.request import Adapter, GenerateRequest, TextPrompt
from impetus.runtime.worker.backends.backend import Refusal
from impetus.runtime.worker.backends.llama import LlamaBackend

pytestmark = pytest.mark.engine

TEXT = "the quick brown fox jumps over the lazy dog and then returns to the river " * 8
LENGTH = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    base = tiny_llama(folder / "base.gguf")
    tiny_lora(folder / "one.gguf", base, seed=1)
    tiny_lora(folder / "two.gguf", base, seed=2)
    tiny_lora(folder / "foreign.gguf", tiny_qwen3(folder / "other.gguf"), architecture="qwen3")
    return folder


def load(folder: Path, prefix: PrefixOptions | None = None) -> LlamaBackend:
    backend = LlamaBackend()
    options = LoadOptions(
        context_length=1024, cache_tokens=4096, threads=1, max_sequences=4, prefix=prefix or PrefixOptions(ram_bytes=1 << 26)
    )
    backend.load(str(folder / "base.gguf"), options, lambda _: None)
    return backend


@pytest.fixture
def backend(folder: Path) -> Iterator[LlamaBackend]:
    backend = load(folder)
    yield backend
    backend.close()


def ask(folder: Path, *adapters: tuple[str, float], text: str = TEXT) -> GenerateRequest:
    chosen = tuple(Adapter(str(folder / f"{name}.gguf"), scale) for name, scale in adapters)
    return GenerateRequest("m", TextPrompt(text), GREEDY, adapters=chosen)


def answer_all(backend: LlamaBackend, requests: Sequence[GenerateRequest]) -> list[tuple[bytes, int]]:
    """Answers requests at the same time; gives of each the text and how many tokens were taken over."""
    said: dict[int, list[bytes]] = {}
    cached: dict[int, int] = {}
    for number, request in enumerate(requests):
        said[number] = []
        backend.start(number, backend.admit(request), request)
    for _ in range(20 * LENGTH):
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


def answer_alone(folder: Path, request: GenerateRequest) -> bytes:
    backend = load(folder)
    try:
        return answer_all(backend, [request])[0][0]
    finally:
        backend.close()


def test_an_adapter_changes_the_answer_and_at_scale_zero_it_does_not(folder: Path) -> None:
    plain = answer_alone(folder, ask(folder))
    assert answer_alone(folder, ask(folder, ("one", 0.0))) == plain
    changed = {answer_alone(folder, ask(folder, *choice)) for choice in ([("one", 1.0)], [("one", 0.5)], [("two", 1.0)])}
    assert len(changed | {plain}) == 4


def test_requests_under_different_adapters_run_side_by_side_as_each_would_alone(folder: Path, backend: LlamaBackend) -> None:
    requests = [ask(folder), ask(folder, ("one", 1.0)), ask(folder, ("two", 1.0)), ask(folder, ("one", 1.0), ("two", 0.5))]
    together = [text for text, _ in answer_all(backend, requests)]
    assert together == [answer_alone(folder, request) for request in requests]
    assert len(set(together)) == len(requests)


def test_what_was_computed_under_one_adapter_serves_no_other(folder: Path, backend: LlamaBackend) -> None:
    requests = [ask(folder), ask(folder, ("one", 1.0)), ask(folder, ("one", 0.5)), ask(folder, ("two", 1.0))]
    fresh = [answer_all(backend, [request])[0] for request in requests]
    assert [cached for _, cached in fresh] == [0, 0, 0, 0]
    again = [answer_all(backend, [request])[0] for request in reversed(requests)]
    assert [text for text, _ in again] == [text for text, _ in reversed(fresh)]
    assert all(cached > 50 for _, cached in again)


def test_kept_states_are_known_by_what_an_adapter_holds_not_by_its_name(folder: Path, tmp_path: Path) -> None:
    prefix = PrefixOptions(disk_dir=str(tmp_path / "cache"), disk_max_bytes=1 << 28)
    (tmp_path / "mine.gguf").write_bytes((folder / "one.gguf").read_bytes())

    def ask_mine() -> tuple[bytes, int]:
        backend = load(folder, prefix)
        try:
            request = ask(tmp_path, ("mine", 1.0))
            backend.admit(request)
            assert backend._cells.store(request.adapters).flush(10)
            [answer] = answer_all(backend, [request])
            while backend.rest():
                pass
        finally:
            backend.close()
        return answer

    first, cached = ask_mine()
    assert cached == 0
    second, cached = ask_mine()
    assert (second, cached > 50) == (first, True)
    (tmp_path / "mine.gguf").write_bytes((folder / "two.gguf").read_bytes())
    third, cached = ask_mine()
    assert cached == 0
    assert third == answer_alone(folder, ask(folder, ("two", 1.0))) != first


def test_more_mixtures_than_stores_stay_right(folder: Path, backend: LlamaBackend) -> None:
    scales = [0.1 * number for number in range(1, 13)]
    first = [answer_all(backend, [ask(folder, ("one", scale))])[0][0] for scale in scales]
    again = [answer_all(backend, [ask(folder, ("one", scale))])[0][0] for scale in scales]
    assert again == first


@pytest.mark.parametrize(("name", "says"), [("missing", "there is no adapter missing.gguf"), ("foreign", "foreign.gguf")])
def test_a_wrong_adapter_is_refused_and_the_model_goes_on(folder: Path, backend: LlamaBackend, name: str, says: str) -> None:
    with pytest.raises(Refusal, match=says) as caught:
        backend.admit(ask(folder, (name, 1.0)))
    assert (caught.value.kind, caught.value.param) == ("invalid", "lora")
    assert str(folder) not in caught.value.message
    assert answer_all(backend, [ask(folder)])[0][0] == answer_alone(folder, ask(folder))
