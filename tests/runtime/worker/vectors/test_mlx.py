"""Small decoders whose vectors by MLX are those of transformers, for each text alone and in any company."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asked import ONE_THREAD, Asked, Floats, Open, open_models

from impetus.runtime.engines.choice import choose_engine
from impetus.runtime.formats.detect import detect
from impetus.runtime.frames import LoadOptions
from impetus.runtime.worker.backends.backend import LoadError, PromptTooLong, Refusal
from impetus.runtime.worker.backends.choose import find_backend

pytest.importorskip("torch")
if find_spec("mlx_lm") is None:
    pytest.skip("mlx_lm is not installed", allow_module_level=True)

from tiny_decoder import CONTEXT, END, WIDTH, add_card, make_decoder, states_of

pytestmark = [
    pytest.mark.engine,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"),
]

TEXTS = ("the cat sat on the mat", "a small dog ran in the house , fast and slow", "one", "what is red and blue ? " * 6)
WINDOWS = {
    "full_attention": {"rope_type": "default", "rope_theta": 1e6},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}


@pytest.fixture
def open_model() -> Iterator[Open]:
    with open_models() as open_one:
        yield lambda path, engine="mlx-embedding", options=ONE_THREAD: open_one(path, engine, options)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_decoder(tmp_path_factory.mktemp("decoders") / "qwen3")


def expect(folder: Path, model: Asked, pool: Callable[[Floats], Floats] = lambda states: states[-1]) -> Floats:
    return np.array([pool(states_of(folder, model.tokens(text))) for text in TEXTS])


def test_a_vector_is_the_state_of_the_end_in_any_company(qwen: Path, open_model: Open) -> None:
    model = open_model(qwen)
    assert model.context_length == CONTEXT
    assert [model.tokens(text)[-1] for text in TEXTS] == [END] * len(TEXTS)
    expected = expect(qwen, model)
    for count in (1, 2, 4):
        assert model.embed(*TEXTS[:count]) == pytest.approx(expected[:count], abs=2e-5)
    many = model.embed(*TEXTS * 30)
    assert many.reshape(30, 4, WIDTH) == pytest.approx(np.broadcast_to(expected, (30, 4, WIDTH)), abs=2e-5)
    assert open_model(qwen, "torch-embedding").embed(*TEXTS) == pytest.approx(many[:4], abs=2e-5)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("qwen3", {"whole": True}),
        ("qwen3", {"whole": True, "tie_word_embeddings": True}),
        ("mistral", {"sliding_window": None}),
        (
            "gemma3_text",
            {
                "sliding_window": 8,
                "sliding_window_pattern": 2,
                "layer_types": ["sliding_attention", "full_attention"],
                "rope_parameters": WINDOWS,
            },
        ),
    ],
)
def test_other_layouts_and_windows_are_computed_as_by_transformers(
    kind: str, settings: dict[str, Any], tmp_path: Path, open_model: Open
) -> None:
    folder = make_decoder(tmp_path / "m", kind, **settings)
    model = open_model(folder)
    assert model.embed(*TEXTS) == pytest.approx(expect(folder, model), abs=2e-5)


def test_windows_that_mlx_lm_leaves_out_end_what_is_taken(tmp_path: Path, open_model: Open) -> None:
    folder = make_decoder(tmp_path / "m", "mistral", sliding_window=9)
    model = open_model(folder)
    assert model.context_length == 9
    tokens = model.tokens("one two three " * 2 + "cat dog")
    assert len(tokens) == 9
    assert model.embed("one two three " * 2 + "cat dog")[0] == pytest.approx(states_of(folder, tokens)[-1], abs=2e-5)
    with pytest.raises(PromptTooLong):
        model.embed("one two three " * 3)


def test_pooling_and_dense_layers_are_those_of_the_folder(tmp_path: Path, open_model: Open) -> None:
    from tiny_encoder import add_dense

    folder = make_decoder(tmp_path / "mean", way="mean_tokens")
    weight = add_dense(folder, 7, WIDTH)
    model = open_model(folder)
    expected = [np.tanh(weight @ vector) for vector in expect(folder, model, lambda states: states.mean(axis=0))]
    assert model.embed(*TEXTS) == pytest.approx(np.array(expected), abs=5e-5)


@pytest.mark.parametrize("engine", ["mlx-embedding", "torch-embedding"])
def test_what_no_file_says_is_that_the_last_token_counts_and_settings_may_end_texts(
    engine: str, tmp_path: Path, open_model: Open
) -> None:
    folder = make_decoder(tmp_path / "m", way=None, ends=False)
    model = open_model(folder, engine)
    assert END not in model.tokens(TEXTS[0])
    assert model.embed(*TEXTS) == pytest.approx(expect(folder, model), abs=2e-5)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"add_eos_token": True}))
    ended = open_model(folder, engine)
    assert ended.tokens(TEXTS[0]) == (*model.tokens(TEXTS[0]), END)
    assert ended.embed(*TEXTS) == pytest.approx(expect(folder, ended), abs=2e-5)


def test_a_checkpoint_is_converted_once(tmp_path: Path, open_model: Open) -> None:
    import torch
    from safetensors.torch import load_file

    folder = make_decoder(tmp_path / "m")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    expected = open_model(folder).embed(*TEXTS)
    (folder / "model.safetensors").unlink()
    model = open_model(folder, options=LoadOptions(threads=1, converted_dir=str(tmp_path / "converted")))
    assert np.array_equal(model.embed(*TEXTS), expected)
    assert len(list((tmp_path / "converted").iterdir())) == 1


def test_a_folder_as_mlx_lm_quantizes_it_gives_the_same_vectors_in_batches_and_nearly_those_of_the_whole(
    tmp_path: Path, open_model: Open
) -> None:
    from mlx_lm import convert

    whole = make_decoder(tmp_path / "whole", whole=True, dtype="bfloat16")
    folder = tmp_path / "8bit"
    convert(str(whole), str(folder), quantize=True, q_bits=8, q_group_size=32)
    assert not (folder / "modules.json").exists()
    add_card(folder, "mlx", "text-generation")
    plain = detect(folder)
    assert plain is not None
    assert plain.ability == "text"
    add_card(folder, "mlx", "sentence-transformers")
    header = detect(folder)
    assert header is not None
    assert (header.format, header.ability, header.quantization) == ("mlx", "embedding", "8-bit")
    assert choose_engine(header).engine == "mlx-embedding"
    model = open_model(folder)
    expected = expect(whole, model)
    found = model.embed(*TEXTS)
    assert found.dtype == np.float32
    for vector, exact, text in zip(found, expected, TEXTS, strict=True):
        likeness = float(vector @ exact / np.linalg.norm(vector) / np.linalg.norm(exact))
        assert likeness > 0.999
        assert model.embed(text)[0] == pytest.approx(vector, abs=2e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"use_bidirectional_attention": True}, "see those behind them"),
        ({"is_causal": False}, "see those behind them"),
        ({"architectures": ["Qwen3ForSequenceClassification"]}, "scores documents"),
        ({"model_type": "novel"}, "does not know the architecture 'novel'"),
        ({"num_hidden_layers": 3}, "mlx-lm cannot load it"),
    ],
)
def test_what_mlx_lm_cannot_compute_is_refused_in_words(changes: dict[str, object], words: str, tmp_path: Path) -> None:
    folder = make_decoder(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(LoadError, match=words):
        find_backend("mlx-embedding")().load(str(folder), ONE_THREAD, lambda _: None)


def test_inputs_are_held_to_what_the_model_takes(qwen: Path, open_model: Open) -> None:
    model = open_model(qwen)
    with pytest.raises(PromptTooLong):
        model.embed("one", "cat " * CONTEXT)
    with pytest.raises(Refusal, match="does not score documents"):
        model.rank("a", "b")
