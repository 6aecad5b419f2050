"""Small encoders in three layouts, whose vectors and scores are those of transformers for each text alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from asked import ONE_THREAD, Asked, Open, open_models

from impetus.runtime.engines.choice import choose_engine
from impetus.runtime.formats.detect import detect
from impetus.runtime.questions import Embed, Embedded
from impetus.runtime.request import GenerateRequest, TextPrompt
from impetus.runtime.worker.backends.backend import LoadError, PromptTooLong, Refusal
from impetus.runtime.worker.backends.choose import find_backend

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from tiny_encoder import CONTEXT, WIDTH, add_dense, export_onnx, make_encoder, score_of, states_of

pytestmark = pytest.mark.engine

TEXTS = ("the cat sat on the mat", "a small dog ran in the house , fast and slow", "one", "what is red and blue ?")
LAYOUTS = ("safetensors", "pytorch", "onnx")


@pytest.fixture(scope="module")
def open_model() -> Iterator[Open]:
    with open_models() as open_one:

        def open_chosen(path: Path) -> Asked:
            header = detect(path)
            assert header is not None
            chosen = choose_engine(header)
            assert chosen.engine is not None, chosen.problem
            model = open_one(path, chosen.engine)
            assert model.context_length == CONTEXT
            return model

        yield open_chosen


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("encoders")
    plain = make_encoder(root / "safetensors")
    ranker = make_encoder(root / "rank-safetensors", ranks=True, way=None, seed=1)
    return {
        "safetensors": plain,
        "pytorch": make_encoder(root / "pytorch", pickled=True),
        "onnx": export_onnx(plain, root / "onnx"),
        "rank-safetensors": ranker,
        "rank-pytorch": make_encoder(root / "rank-pytorch", ranks=True, way=None, pickled=True, seed=1),
        "rank-onnx": export_onnx(ranker, root / "rank-onnx", ranks=True),
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_vector_is_the_mean_of_the_states_in_any_company(layout: str, folders: dict[str, Path], open_model: Open) -> None:
    model = open_model(folders[layout])
    expected = [states_of(folders["safetensors"], model.tokens(text)).mean(axis=0) for text in TEXTS]
    for count in (1, 2, 4):
        found = model.embed(*TEXTS[:count])
        assert found.shape == (count, WIDTH)
        for vector, mean in zip(found, expected, strict=False):
            assert vector == pytest.approx(mean, abs=2e-5)
    many = model.embed(*TEXTS * 30)
    assert many.reshape(30, 4, WIDTH) == pytest.approx(np.broadcast_to(expected, (30, 4, WIDTH)), abs=2e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_score_is_that_of_the_pair_with_its_two_kinds_of_tokens(
    layout: str, folders: dict[str, Path], open_model: Open
) -> None:
    model = open_model(folders[f"rank-{layout}"])
    first = model.tokens(TEXTS[3])
    expected = [score_of(folders["rank-safetensors"], first, model.tokens(text)[1:]) for text in TEXTS]
    assert model.rank(TEXTS[3], *TEXTS) == pytest.approx(expected, abs=1e-5)
    assert len({round(score, 3) for score in expected}) > 2
    with pytest.raises(Refusal, match="not embeddings"):
        model.embed("one")


def test_ways_of_pooling_are_those_of_sentence_transformers(tmp_path: Path, open_model: Open) -> None:
    expected = {
        "cls_token": lambda states: states[0],
        "lasttoken": lambda states: states[-1],
        "max_tokens": lambda states: states.max(axis=0),
        "mean_sqrt_len_tokens": lambda states: states.sum(axis=0) / len(states) ** 0.5,
    }
    for way, pool in expected.items():
        folder = make_encoder(tmp_path / way, way=way)
        model = open_model(folder)
        for text, vector in zip(TEXTS, model.embed(*TEXTS), strict=True):
            assert vector == pytest.approx(pool(states_of(folder, model.tokens(text))), abs=2e-5)


def test_a_layer_behind_the_pooling_is_computed(tmp_path: Path, open_model: Open) -> None:
    folder = make_encoder(tmp_path / "m")
    weight = add_dense(folder, 7)
    model = open_model(folder)
    mean = states_of(folder, model.tokens(TEXTS[0])).mean(axis=0)
    assert model.embed(TEXTS[0])[0] == pytest.approx(np.tanh(weight @ mean), abs=2e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_inputs_are_held_to_what_the_model_takes(layout: str, folders: dict[str, Path], open_model: Open) -> None:
    model = open_model(folders[layout])
    # The tokenizer's file says that all is cut at 8 tokens.
    assert len(model.tokens("cat " * (CONTEXT - 2))) == CONTEXT
    model.embed("cat " * (CONTEXT - 2), "one")
    with pytest.raises(PromptTooLong) as caught:
        model.embed("one", "cat " * (CONTEXT - 1))
    assert (caught.value.prompt_tokens, caught.value.context_length, caught.value.param) == (CONTEXT + 1, CONTEXT, "input[1]")
    with pytest.raises(Refusal, match="does not score documents"):
        model.rank("a", "b")
    with pytest.raises(Refusal, match="does not write text"):
        model.backend.admit(GenerateRequest("m", TextPrompt("a")))
    answer = model.ask(Embed(("[SEP]",)), Embedded)
    assert answer.prompt_tokens > len(model.tokens("[SEP]")) == 3


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "1_Pooling" / "config.json").write_text("{}"), "several ways of pooling"),
        (lambda folder: write_modules(folder, [{"path": "1", "type": "x.Whitening"}]), "module 'Whitening'"),
        (lambda folder: write_modules(folder, [{"path": "../..", "type": "x.Dense"}]), "outside of its own"),
        (lambda folder: (folder / "modules.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "modules.json").write_text("{}"), "no list"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\0" * 100), "cannot load it"),
    ],
)
def test_what_is_damaged_or_not_known_is_refused_in_words(damage: Callable[[Path], object], words: str, tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "m")
    damage(folder)
    with pytest.raises(LoadError, match=words):
        find_backend("torch-embedding")().load(str(folder), ONE_THREAD, lambda _: None)


def write_modules(folder: Path, modules: list[dict[str, str]]) -> None:
    (folder / "modules.json").write_text(json.dumps(modules))
