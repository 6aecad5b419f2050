"""A draft model in this process; tiny models guess for themselves and for each other."""

from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from engine_tools import find_starter

from impetus.runtime.frames import LoadOptions
from impetus.runtime.worker.backends.backend import LoadError
from impetus.runtime.worker.backends.llama_draft import DraftModel
from impetus.runtime.worker.backends.llama_model import LlamaModel
from impetus.runtime.worker.draft.drafter import DraftWant

pytestmark = pytest.mark.engine

OPTIONS = LoadOptions(context_length=1024, threads=1, threads_batch=1, max_sequences=4, batch_tokens=256)
PROMPT = [(7 * place * place + 3) % 400 + 20 for place in range(60)]
OTHER = [(5 * place * place + 11) % 400 + 20 for place in range(45)]

Open = Callable[..., DraftModel]


@pytest.fixture
def open_draft(tiny_models: dict[str, Path]) -> Generator[Open]:
    opened: list[DraftModel] = []

    def open_one(name: str = "llama", options: LoadOptions = OPTIONS, least_probability: float = 0.0) -> DraftModel:
        draft = DraftModel(str(tiny_models[name]), options, lambda _: None, least_probability=least_probability)
        opened.append(draft)
        return draft

    yield open_one
    for draft in opened:
        draft.close()


def alone(open_draft: Open, tokens: list[int], most: int, name: str = "llama") -> list[int]:
    """What a model that never saw anything else guesses."""
    draft = open_draft(name)
    guesses = [draft.draft(1, tokens, most) for _ in range(1 + len(tokens) // 256)]
    return guesses[-1]


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma3", "deepseek2"])
def test_a_guess_is_what_the_model_itself_would_say_token_by_token(open_draft: Open, name: str) -> None:
    draft = open_draft(name)
    tokens = list(PROMPT)
    for _ in range(8):
        tokens += draft.draft(1, tokens, 1)
    assert tokens[len(PROMPT) :] == alone(open_draft, PROMPT, 8, name)


def test_wrong_guesses_leave_no_trace(open_draft: Open) -> None:
    draft = open_draft()
    tokens = list(PROMPT)
    for wrong in (33, 44, 55):
        guess = draft.draft(1, tokens, 6)
        assert len(guess) == 6
        tokens += [*guess[:2], wrong]
        assert draft.draft(1, tokens, 6) == alone(open_draft, tokens, 6)


def test_several_sequences_are_guessed_for_at_once_as_each_alone(open_draft: Open) -> None:
    draft = open_draft()
    wants = [DraftWant(1, PROMPT, 5), DraftWant(2, OTHER, 2), DraftWant(3, [*PROMPT, 99], 7), DraftWant(4, OTHER, 0)]
    assert draft.draft_many(wants) == [alone(open_draft, list(want.tokens), want.most) for want in wants]
    assert draft.draft_many([]) == []


def test_it_stops_before_a_token_it_is_not_sure_of(open_draft: Open) -> None:
    unsure = open_draft(least_probability=0.999_999)
    bold = open_draft(least_probability=0.0)
    middle = open_draft(least_probability=0.3)
    lengths = [sum(len(draft.draft(1, PROMPT[:end], 6)) for end in range(20, 60, 4)) for draft in (unsure, middle, bold)]
    assert lengths[0] < lengths[1] < lengths[2] == 60


def test_a_long_prompt_is_computed_in_parts_and_guessed_for_after(open_draft: Open) -> None:
    draft = open_draft()
    tokens = PROMPT * 10
    wants = [DraftWant(1, tokens, 4), DraftWant(2, OTHER, 4)]
    guesses = [draft.draft_many(wants, catch_up=250) for _ in range(3)]
    assert [[len(guess) for guess in both] for both in guesses] == [[0, 4], [0, 4], [4, 4]]
    assert guesses[2] == [alone(open_draft, tokens, 4), alone(open_draft, OTHER, 4)]


def test_what_an_ended_or_a_running_sequence_computed_serves_the_next_one(open_draft: Open) -> None:
    draft = open_draft()
    tokens = PROMPT * 10
    while not draft.draft(1, tokens, 4):
        pass
    longer = [*tokens, 77, 78]
    expected = alone(open_draft, longer, 4)
    assert draft.draft_many([DraftWant(2, longer, 4)], catch_up=8) == [expected]
    draft.drop(1)
    draft.drop(2)
    assert draft.draft_many([DraftWant(3, longer, 4)], catch_up=8) == [expected]
    draft.drop(99)


def test_a_full_cache_makes_room_and_goes_on(open_draft: Open) -> None:
    draft = open_draft(options=LoadOptions(context_length=256, threads=1, threads_batch=1, max_sequences=4, batch_tokens=256))
    prompts = [[20 + number, *PROMPT, *PROMPT, *PROMPT][:170] for number in range(5)]
    expected = [alone(open_draft, prompt, 3) for prompt in prompts]
    for _ in range(2):
        assert [draft.draft(number, prompt, 3) for number, prompt in enumerate(prompts)] == expected
    both = draft.draft_many([DraftWant(10, prompts[0], 3), DraftWant(11, prompts[1], 3)])
    assert both[0] == expected[0][: len(both[0])]
    assert both[1] == expected[1][: len(both[1])]
    assert both != expected[:2]
    assert draft.draft(12, prompts[2], 3) == expected[2]


def test_more_sequences_than_slots_take_turns(open_draft: Open) -> None:
    draft = open_draft(options=LoadOptions(context_length=1024, threads=1, threads_batch=1, max_sequences=1, batch_tokens=64))
    expected = {number: alone(open_draft, [20 + number, 30, 40], 2) for number in range(3)}
    for number in range(120):
        assert draft.draft(number, [20 + number % 3, 30, 40], 2) == expected[number % 3]


def test_beyond_its_own_context_it_guesses_nothing(open_draft: Open) -> None:
    draft = open_draft(options=LoadOptions(context_length=64, threads=1, threads_batch=1, max_sequences=2, batch_tokens=64))
    assert draft.draft(1, PROMPT[:50], 4) != []
    assert draft.draft(1, PROMPT[:60], 4) == []
    assert draft.draft(2, [], 4) == []


def test_it_knows_how_long_a_guess_takes(open_draft: Open) -> None:
    draft = open_draft()
    assert 0 < draft.token_s < 1
    draft.draft(1, PROMPT, 8)
    assert 0 < draft.token_s < 1
    assert "llama" in draft.description


def test_a_model_whose_memory_cannot_go_back_is_refused(tiny_models: dict[str, Path]) -> None:
    for name in ("mamba2", "lfm2"):
        with pytest.raises(LoadError, match=rf"tiny-{name}\.gguf cannot guess .* cannot go back"):
            DraftModel(str(tiny_models[name]), OPTIONS, lambda _: None)


def test_models_of_one_vocabulary_fit_each_other(open_draft: Open, tiny_models: dict[str, Path]) -> None:
    draft = open_draft("qwen3")
    target = LlamaModel(str(tiny_models["llama"]), OPTIONS, lambda _: None)
    draft.check_vocabulary(target.vocab, str(tiny_models["llama"]))
    target.close()


def test_another_vocabulary_is_refused_with_both_names(open_draft: Open) -> None:
    draft = open_draft()
    target = LlamaModel(str(find_starter()), OPTIONS, lambda _: None)
    with pytest.raises(LoadError, match=r"tiny-llama\.gguf cannot guess for .*SmolLM2.*: .* have 49152 and 512 tokens"):
        draft.check_vocabulary(target.vocab, str(find_starter()))
    target.close()


@pytest.mark.parametrize(("old", "fits"), [(b"<|fim_prefix|>", True), (b"<|fim_middle|>", False)])
def test_a_token_that_reads_otherwise_is_refused_but_for_the_first_few(
    open_draft: Open, tiny_models: dict[str, Path], tmp_path: Path, old: bytes, fits: bool
) -> None:
    renamed = tmp_path / "renamed.gguf"
    renamed.write_bytes(tiny_models["llama"].read_bytes().replace(old, old.replace(b"fim", b"gap")))
    draft = open_draft()
    target = LlamaModel(str(renamed), OPTIONS, lambda _: None)
    if fits:
        draft.check_vocabulary(target.vocab, str(renamed))
    else:
        with pytest.raises(LoadError, match=r"token 5 is '<\|gap_middle\|>' in one and '<\|fim_middle\|>' in the other"):
            draft.check_vocabulary(target.vocab, str(renamed))
    target.close()
