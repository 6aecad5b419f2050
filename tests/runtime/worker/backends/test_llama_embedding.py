"""Tiny models with random weights, whose vectors are computed a second time without llama.cpp or out of its raw states."""

import ctypes
import math
import threading
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from asked import ONE_THREAD, Asked, Floats, Open, open_models
from gguf import PoolingType
from llama_cpp import llama_cpp as native
from tiny_embedding import CLS, CONTEXT, SEP, UNKNOWN, WIDTH, BertWeights, copy_with, write_bert, write_decoder
from tiny_models import tiny_llama

from impetus.runtime.frames import LoadOptions
from impetus.runtime.questions import (
    Answer,
    ApplyTemplate,
    Detokenize,
    Detokenized,
    Embed,
    Embedded,
    Rank,
    Ranked,
    Tokenize,
    Tokenized,
)
from impetus.runtime.request import GenerateRequest, TextPrompt
from impetus.runtime.worker.backends.backend import PromptTooLong, Refusal

pytestmark = pytest.mark.engine


TEXTS = (
    "the cat sat on the mat",
    "a small dog ran in the house, fast and slow",
    "one two three",
    "what is red and green?",
    "the big blue tree",
)


@pytest.fixture(scope="module")
def load() -> Iterator[Open]:
    with open_models(normalise=True) as open_one:
        yield lambda path, options=ONE_THREAD: open_one(path, "llama-embedding", options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def bert(load: Open, folder: Path) -> Asked:
    return load(write_bert(folder / "bert.gguf"))


@pytest.fixture(scope="module")
def ranker(load: Open, folder: Path) -> Asked:
    return load(write_bert(folder / "rank.gguf", seed=2, pooling=PoolingType.RANK))


@pytest.fixture(scope="module")
def last(load: Open, folder: Path) -> Asked:
    return load(write_decoder(folder / "last.gguf", PoolingType.LAST, name="Tiny Qwen3 Embedding"))


@pytest.fixture(scope="module")
def mean(load: Open, folder: Path) -> Asked:
    return load(write_decoder(folder / "mean.gguf", PoolingType.MEAN))


def unit(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return vector / np.linalg.norm(vector)


def test_an_encoder_gives_the_mean_of_its_states_as_numpy_computes_them(bert: Asked) -> None:
    weights = BertWeights(1)
    for text, vector in zip(TEXTS, bert.embed(*TEXTS), strict=True):
        assert vector == pytest.approx(unit(weights.states(list(bert.tokens(text))).mean(axis=0)), abs=1e-3)


def test_the_first_token_stands_for_the_text_where_the_header_says_so(load: Open, folder: Path) -> None:
    model = load(write_bert(folder / "first.gguf", seed=3, pooling=PoolingType.CLS))
    tokens = list(model.tokens(TEXTS[1]))
    assert model.embed(TEXTS[1])[0] == pytest.approx(unit(BertWeights(3).states(tokens)[0]), abs=1e-3)


def test_an_old_file_that_says_nothing_gives_the_mean(load: Open, folder: Path) -> None:
    model = load(write_bert(folder / "old.gguf", pooling=None))
    expected = unit(BertWeights(1).states(list(model.tokens(TEXTS[0]))).mean(axis=0))
    assert model.embed(TEXTS[0])[0] == pytest.approx(expected, abs=1e-3)


def test_a_reranker_scores_as_numpy_does(ranker: Asked) -> None:
    answer = ranker.ask(Rank("where is the cat?", TEXTS), Ranked)
    weights, query = BertWeights(2), ranker.tokens("where is the cat?")
    expected = [weights.score([*query, *ranker.tokens(text)[1:]]) for text in TEXTS]
    assert answer.scores == pytest.approx(expected, abs=2e-3)
    assert max(expected) - min(expected) > 0.05, "scores that are all alike would prove nothing"
    assert answer.prompt_tokens == sum(len(query) + len(ranker.tokens(text)) - 1 for text in TEXTS)


def test_a_reranker_with_a_template_is_asked_by_it_and_texts_stay_texts(load: Open, folder: Path) -> None:
    plain = write_decoder(folder / "judge-plain.gguf", PoolingType.RANK)
    template = "<|im_start|>{query} or {document}<|im_end|>"
    judge = load(copy_with(plain, folder / "judge.gguf", {"tokenizer.chat_template.rerank": template}, {}))
    asked = judge.ask(Rank("read", ("path", "<|im_end|>")), Ranked)
    assert len(asked.scores) == 2
    counts = [
        sum(len(judge.ask(Tokenize((text,), control=False), Tokenized).token_ids) for text in ("read", " or ", document))
        for document in ("path", "<|im_end|>")
    ]
    assert asked.prompt_tokens == sum(counts) + 2 * 2


@pytest.mark.parametrize("name", ["last", "mean"])
def test_a_decoder_pools_the_states_that_llama_cpp_has(name: str, request: pytest.FixtureRequest, folder: Path) -> None:
    model: Asked = request.getfixturevalue(name)
    tokens = model.tokens(TEXTS[1])
    states = raw_states(tiny_llama(folder / f"{name}-plain.gguf", context_length=2048), tokens)
    expected = states[-1] if name == "last" else states.mean(axis=0)
    assert model.embed(TEXTS[1])[0] == pytest.approx(unit(expected.astype(np.float64)), abs=1e-3)


@pytest.mark.parametrize("name", ["bert", "last", "mean"])
def test_company_and_order_change_nothing(name: str, request: pytest.FixtureRequest) -> None:
    model: Asked = request.getfixturevalue(name)
    alone = np.concatenate([model.embed(text) for text in TEXTS])
    many = [TEXTS[index % len(TEXTS)] for index in range(200)]
    together = model.embed(*many)
    assert model.slices > 1
    for index, vector in enumerate(together):
        assert vector == pytest.approx(alone[index % len(TEXTS)], abs=1e-3)
    assert model.embed(*reversed(TEXTS)) == pytest.approx(alone[::-1], abs=1e-3)
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(200), abs=1e-6)
    assert (together[0] @ model.embed(TEXTS[0])[0]) == pytest.approx(1, abs=1e-5)
    assert together[0] @ together[1] < 0.999


@pytest.mark.parametrize(("name", "slices"), [("last", 3), ("mean", 1)])
def test_a_long_input_is_computed_in_parts_or_in_a_larger_batch(
    name: str, slices: int, load: Open, folder: Path, request: pytest.FixtureRequest
) -> None:
    whole: Asked = request.getfixturevalue(name)
    small = load(folder / f"{name}.gguf", LoadOptions(threads=1, batch_tokens=512))
    large = load(folder / f"{name}.gguf", LoadOptions(threads=1, batch_tokens=2048))
    tokens = tuple(index * 7 % 400 + 50 for index in range(1500))
    vector = small.embed(tokens)[0]
    assert small.slices == slices
    assert vector == pytest.approx(large.embed(tokens)[0], abs=1e-3)
    assert large.slices == 1
    assert small.embed(TEXTS[0])[0] == pytest.approx(whole.embed(TEXTS[0])[0], abs=1e-3)


def test_what_is_too_long_is_refused_with_both_numbers_and_its_place(bert: Asked, ranker: Asked) -> None:
    bert.embed("cat " * (CONTEXT - 2))
    for inputs, param in ((("cat", "cat " * (CONTEXT - 1)), "input[1]"), (("cat " * (CONTEXT - 1),), "input")):
        with pytest.raises(PromptTooLong) as caught:
            bert.embed(*inputs)
        assert (caught.value.prompt_tokens, caught.value.context_length, caught.value.param) == (CONTEXT + 1, CONTEXT, param)
    with pytest.raises(PromptTooLong) as caught:
        bert.embed("cat " * 1_000_000)
    assert caught.value.prompt_tokens > CONTEXT
    with pytest.raises(PromptTooLong) as caught:
        ranker.ask(Rank("cat", ("dog", "dog " * 200)), Ranked)
    assert (caught.value.prompt_tokens, caught.value.param) == (204, "documents[1]")


def test_token_ids_are_taken_as_they_are(bert: Asked) -> None:
    tokens = bert.tokens(TEXTS[0])
    assert tokens[0] == CLS
    assert tokens[-1] == SEP
    assert bert.embed(tokens)[0] == pytest.approx(bert.embed(TEXTS[0])[0], abs=1e-6)
    with pytest.raises(Refusal, match=r"input\[1\].*outside of 0 to 73"):
        bert.embed(tokens, (5, 74))
    with pytest.raises(Refusal, match="no tokens"):
        bert.embed(())


def test_texts_of_control_tokens_stay_texts(bert: Asked) -> None:
    counted = bert.ask(Embed(("[SEP]",)), Embedded).prompt_tokens
    assert counted > len(bert.tokens("[SEP]")) == 3
    assert UNKNOWN in bert.ask(Tokenize(("[SEP]",), control=False), Tokenized).token_ids


def test_vectors_are_cut_only_where_the_model_allows_it(bert: Asked, last: Asked) -> None:
    assert bert.embed(TEXTS[0], dimensions=WIDTH).shape == (1, WIDTH)
    with pytest.raises(Refusal, match="have 32 numbers and cannot be cut") as caught:
        bert.embed(TEXTS[0], dimensions=16)
    assert caught.value.param == "dimensions"
    whole = replace(last, normalise=False).embed(TEXTS[0])[0]
    assert not math.isclose(float(np.linalg.norm(whole)), 1, abs_tol=1e-3)
    assert last.embed(TEXTS[0], dimensions=40)[0] == pytest.approx(unit(whole[:40].astype(np.float64)), abs=1e-5)
    for dimensions in (31, 65):
        with pytest.raises(Refusal, match="takes 32 to 64 dimensions"):
            last.embed(TEXTS[0], dimensions=dimensions)


def test_a_question_for_another_kind_of_model_is_refused(bert: Asked, ranker: Asked) -> None:
    with pytest.raises(Refusal, match="does not score documents"):
        bert.ask(Rank("a", ("b",)), Ranked)
    with pytest.raises(Refusal, match="not embeddings"):
        ranker.embed("a")
    with pytest.raises(Refusal, match="takes no conversations"):
        bert.ask(ApplyTemplate(()), Tokenized)
    with pytest.raises(Refusal, match="gives embeddings; it does not write text"):
        bert.backend.admit(GenerateRequest("m", TextPrompt("a")))


def test_words_are_cut_and_put_together(bert: Asked) -> None:
    answer = bert.ask(Tokenize(("the dogs",)), Tokenized)
    assert answer.pieces == (b" the", b" dog", b"s")
    assert bert.ask(Detokenize(answer.token_ids), Detokenized).text.strip() == "the dogs"
    with pytest.raises(Refusal, match="outside of 0 to 73"):
        bert.ask(Detokenize((99,)), Detokenized)


def test_work_that_nobody_waits_for_is_dropped_and_the_next_goes_on(last: Asked) -> None:
    work: Generator[None, None, Answer] = last.backend.answer(Embed((tuple(range(50, 450)) * 4,) * 3))
    for _ in range(2):
        next(work)
    expected = last.embed(TEXTS[0])
    next(work)
    work.close()
    assert last.embed(TEXTS[0]) == pytest.approx(expected, abs=1e-3)


def test_a_batch_ends_early_and_can_be_computed_again(mean: Asked) -> None:
    tokens = tuple(index * 7 % 400 + 50 for index in range(1500))
    expected = mean.embed(tokens)[0]
    seen = threading.Event()

    def abandon() -> None:
        while not seen.is_set():
            mean.backend.abandon()

    thread = threading.Thread(target=abandon)
    work = mean.backend.answer(Embed((tokens,)))
    thread.start()
    try:
        for _ in range(3):
            next(work)  # an answer would end it
    finally:
        seen.set()
        thread.join()
    answer = mean.finish(work)
    assert isinstance(answer, Embedded)
    assert np.frombuffer(answer.vectors[0], "<f4") == pytest.approx(expected, abs=1e-3)


def raw_states(path: Path, tokens: tuple[int, ...]) -> Floats:
    """The last layer's output for each token, straight from llama.cpp without any pooling."""
    model = native.llama_model_load_from_file(str(path).encode(), native.llama_model_default_params())
    params = native.llama_context_default_params()
    params.n_ctx, params.embeddings, params.n_threads, params.n_threads_batch = 512, True, 1, 1
    context = native.llama_init_from_model(model, params)
    assert model is not None
    assert context is not None
    ids = (native.llama_token * len(tokens))(*tokens)
    assert native.llama_decode(context, native.llama_batch_get_one(ids, len(tokens))) == 0
    width = native.llama_model_n_embd(model)
    rows = [
        np.array(ctypes.cast(native.llama_get_embeddings_ith(context, at), ctypes.POINTER(ctypes.c_float * width)).contents)
        for at in range(len(tokens))
    ]
    native.llama_free(context)
    native.llama_model_free(model)
    return np.array(rows, np.float32)
