"""LoRA adapters over MLX: both layouts compute what merged weights do, and nothing computed under one serves another."""

from __future__ import annotations

import json
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_tools import find_starter
from numpy_llama import open_numpy_llama
from safetensors.numpy import load_file, save_file
from sequence_play import Player, ask, kept_in
from tiny_adapters import RANK, SCALE, Matrices, draw_lora, merge_lora, write_lora
from tiny_folder import make_tiny_folder

from impetus.runtime.request import Adapter
from impetus.runtime.worker.backends.backend import Refusal
from impetus.runtime.worker.sequences.lora import plain_name

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(find_spec("mlx_lm") is None, reason="mlx_lm is not installed"),
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"),
]

TEXT = "The capital of France is Paris, and the capital of Germany is Berlin, as everybody knows who went to school there. "
LENGTH = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and adapters for it and for another."""
    folder = tmp_path_factory.mktemp("adapters")
    base = make_tiny_folder(folder / "base", find_starter())
    write_lora(folder / "one", draw_lora(base, seed=1), "mlx")
    write_lora(folder / "two", draw_lora(base, seed=2, rank=2), "peft")
    wide = make_tiny_folder(folder / "wide", find_starter(), hidden_size=96, head_dim=24)
    write_lora(folder / "foreign", draw_lora(wide), "mlx")
    return folder


@pytest.fixture
def player(folder: Path) -> Generator[Player]:
    player = Player("mlx", folder / "base", prefix=kept_in(None))
    yield player
    player.close()


def under(folder: Path, *adapters: tuple[str, float]) -> tuple[Adapter, ...]:
    return tuple(Adapter(str(folder / name), scale) for name, scale in adapters)


def scores(player: Player, prompt: list[int], adapters: tuple[Adapter, ...]) -> np.ndarray[Any, Any]:
    player.backend._overlay.open(adapters)
    runner = player.backend._runner
    runner.use_adapters(adapters)
    state = runner.begin()
    found = runner.extend(state, prompt, "all")
    runner.use_adapters(())
    return found


@pytest.fixture
def prompt(player: Player) -> list[int]:
    return list(player.backend.admit(ask(TEXT)).token_ids)


@pytest.mark.parametrize("layout", ["mlx", "peft"])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_an_adapter_gives_the_scores_of_merged_weights(
    player: Player, folder: Path, tmp_path: Path, prompt: list[int], layout: Any, scale: float
) -> None:
    matrices = draw_lora(folder / "base", seed=3, touched=("_proj", "lm_head"))
    write_lora(tmp_path / "lora", matrices, layout)
    merged = merge_lora(tmp_path / "merged", folder / "base", (matrices, SCALE * scale))
    plain = scores(player, prompt, ())
    changed = scores(player, prompt, under(tmp_path, ("lora", scale)))
    assert changed[-1] == pytest.approx(open_numpy_llama(merged).scores(prompt), abs=2e-3)
    assert np.abs(changed - plain).max() > 0.5
    assert (scores(player, prompt, ()) == plain).all()


def test_several_adapters_add_up(player: Player, folder: Path, tmp_path: Path, prompt: list[int]) -> None:
    one = draw_lora(folder / "base", seed=1)
    two = draw_lora(folder / "base", seed=2, rank=2)
    merged = merge_lora(tmp_path / "merged", folder / "base", (one, SCALE), (two, SCALE * -0.5))
    found = scores(player, prompt, under(folder, ("one", 1.0), ("two", -0.5)))
    assert found[-1] == pytest.approx(open_numpy_llama(merged).scores(prompt), abs=2e-3)


@pytest.mark.parametrize(
    ("changes", "factors"),
    [
        ({"use_rslora": True}, (RANK**0.5, RANK**0.5)),
        ({"alpha_pattern": {r"layers\.0\..*": SCALE * RANK * 3}}, (3.0, 1.0)),
        ({"lora_alpha": RANK}, (1 / SCALE, 1 / SCALE)),
    ],
    ids=["rslora", "alpha_pattern", "alpha"],
)
def test_peft_says_in_several_ways_how_much_an_adapter_counts(
    player: Player, folder: Path, tmp_path: Path, prompt: list[int], changes: dict[str, Any], factors: tuple[float, float]
) -> None:
    matrices = draw_lora(folder / "base", seed=3)
    write_lora(tmp_path / "lora", matrices, "peft", **changes)
    layers: list[Matrices] = [{name: pair for name, pair in matrices.items() if f".{at}." in name} for at in (0, 1)]
    counted = [(layer, SCALE * factor) for layer, factor in zip(layers, factors, strict=True)]
    merged = merge_lora(tmp_path / "merged", folder / "base", *counted)
    found = scores(player, prompt, under(tmp_path, ("lora", 1.0)))
    assert found[-1] == pytest.approx(open_numpy_llama(merged).scores(prompt), abs=2e-3)


def test_quantized_weights_take_adapters_too(folder: Path, tmp_path: Path, prompt: list[int]) -> None:
    import mlx.core as mx
    from tiny_mlx import quantize_folder

    small = quantize_folder(tmp_path / "small", folder / "base", bits=4)
    # The same weights, as numbers again.
    loose = tmp_path / "loose"
    matrices = draw_lora(folder / "base", seed=1)
    packed: dict[str, Any] = mx.load(str(small / "model.safetensors"))
    weights = {}
    for name, value in packed.items():
        module = name.removesuffix(".weight")
        if name.endswith((".scales", ".biases")):
            continue
        if f"{module}.scales" in packed:
            value = mx.dequantize(value, packed[f"{module}.scales"], packed[f"{module}.biases"], group_size=32, bits=4)
        weights[name] = np.array(value.astype(mx.float32))
    merge_lora(loose, folder / "base")
    save_file(weights, loose / "model.safetensors", {"format": "pt"})
    merged = merge_lora(tmp_path / "merged", loose, (matrices, SCALE))
    player = Player("mlx", small)
    try:
        found = scores(player, prompt, under(folder, ("one", 1.0)))
        assert found[-1] == pytest.approx(open_numpy_llama(merged).scores(prompt), abs=1e-2)
    finally:
        player.close()


@pytest.mark.parametrize("kind", ["gemma3_text", "qwen3_moe"])
@pytest.mark.parametrize("bits", [None, 4])
def test_every_kind_of_layer_is_adapted_as_mlx_lm_does(folder: Path, tmp_path: Path, kind: str, bits: int | None) -> None:
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.tuner.utils import linear_to_lora_layers, load_adapters
    from mlx_lm.utils import load_model
    from tiny_mlx import make_mlx_folder, quantize_folder

    base = make_mlx_folder(tmp_path / "base", folder / "base", kind)
    if bits is not None:
        base = quantize_folder(tmp_path / "small", base, bits=bits)
    # What mlx-lm trains: every layer that it can, rows of the vocabulary and experts among them.
    trained, _ = load_model(base)
    trained.set_dtype(mx.float32)
    keys = [name for name, layer in trained.named_modules() if "weight" in layer and "norm" not in name]
    config = {
        "fine_tune_type": "lora",
        "num_layers": 0,
        "lora_parameters": {"rank": 4, "scale": 2.0, "dropout": 0.0, "keys": keys},
    }
    linear_to_lora_layers(trained, 0, config["lora_parameters"])
    mx.random.seed(3)
    drawn = {
        name: mx.random.normal(value.shape) * 0.2
        for name, value in tree_flatten(trained.parameters())
        if name.endswith((".lora_a", ".lora_b"))
    }
    assert any("embed_tokens" in name for name in drawn)
    assert kind != "qwen3_moe" or any("switch_mlp" in name for name in drawn)
    lora = tmp_path / "lora"
    lora.mkdir()
    mx.save_safetensors(str(lora / "adapters.safetensors"), drawn)
    (lora / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    plain, _ = load_model(base)
    plain.set_dtype(mx.float32)
    ids = list(range(100, 140))
    expected = np.array(load_adapters(plain, str(lora))(mx.array([ids]))[0])
    player = Player("mlx", base, prefix=kept_in(None))
    try:
        found = scores(player, ids, under(tmp_path, ("lora", 1.0)))
        assert found == pytest.approx(expected, abs=2e-3)
        assert np.abs(found - scores(player, ids, ())).max() > 0.1
    finally:
        player.close()


def test_modules_are_known_under_what_each_library_puts_around_them() -> None:
    for one, other in {
        "model.language_model.layers.3.self_attn.q_proj": "language_model.model.layers.3.self_attn.q_proj",
        "transformer.h.0.attn.c_attn": "model.h.0.attn.c_attn",
        "lm_head": "language_model.lm_head",
    }.items():
        assert plain_name(one) == plain_name(other)
    assert plain_name("vision_tower.layers.3.self_attn.q_proj") != plain_name("model.layers.3.self_attn.q_proj")


def alone(folder: Path, *adapters: tuple[str, float], text: str = TEXT) -> bytes:
    player = Player("mlx", folder / "base", prefix=kept_in(None))
    try:
        return player.play([ask(text, tokens=LENGTH, adapters=under(folder, *adapters))])[0].text
    finally:
        player.close()


CHOICES: list[list[tuple[str, float]]] = [[], [("one", 1.0)], [("two", 1.0)], [("one", 0.5)], [("one", 1.0), ("two", 0.5)]]


def test_requests_under_different_adapters_run_side_by_side_as_each_would_alone(player: Player, folder: Path) -> None:
    expected = [alone(folder, *choice) for choice in CHOICES]
    assert len(set(expected)) == len(CHOICES)
    for ahead in (False, True):
        player.backend._runner._runs_ahead = ahead
        for late in (0, 2):
            requests = [ask(TEXT, tokens=LENGTH, adapters=under(folder, *choice)) for choice in (*CHOICES, *CHOICES)]
            assert [played.text for played in player.play(requests, late=late)] == [*expected, *expected]


def test_what_was_computed_under_one_adapter_serves_no_other(player: Player, folder: Path) -> None:
    def play(choice: list[tuple[str, float]]) -> tuple[bytes, int]:
        (played,) = player.play([ask(TEXT * 12, tokens=LENGTH, adapters=under(folder, *choice))])
        assert played.begun is not None
        return played.text, played.begun.cached_tokens

    first = [play(choice) for choice in CHOICES]
    assert [cached for _, cached in first] == [0] * len(CHOICES)
    again = [play(choice) for choice in CHOICES]
    assert [text for text, _ in again] == [text for text, _ in first]
    assert all(cached > 200 for _, cached in again)
    player.settle()
    player.backend.forget()
    stored = [play(choice) for choice in CHOICES]
    assert [text for text, _ in stored] == [text for text, _ in first]
    assert all(cached > 200 for _, cached in stored)


def test_kept_states_are_known_by_what_an_adapter_holds_not_by_its_name(folder: Path, tmp_path: Path) -> None:
    def play(name: str) -> tuple[bytes, int]:
        (tmp_path / "mine").mkdir(exist_ok=True)
        for file in (folder / name).iterdir():
            (tmp_path / "mine" / file.name).write_bytes(file.read_bytes())
        player = Player("mlx", folder / "base", prefix=kept_in(tmp_path / "kept"))
        request = ask(TEXT * 12, tokens=LENGTH, adapters=under(tmp_path, ("mine", 1.0)))
        player.backend.admit(request)
        assert player.backend._states._stores.under(request.adapters).flush(10)
        (played,) = player.play([request])
        player.settle()
        player.close()
        for file in (folder / name).iterdir():
            (tmp_path / "mine" / file.name).unlink()
        assert played.begun is not None
        return played.text, played.begun.cached_tokens

    first, cached = play("one")
    assert cached == 0
    second, cached = play("one")
    assert (second, cached > 200) == (first, True)
    third, cached = play("two")
    assert (cached, third) == (0, alone(folder, ("two", 1.0), text=TEXT * 12))


def test_a_wrong_adapter_is_refused_and_the_model_goes_on(player: Player, folder: Path, tmp_path: Path) -> None:
    matrices = draw_lora(folder / "base")

    def write(name: str, layout: Any, **changes: Any) -> Path:
        return write_lora(tmp_path / name, matrices, layout, **changes)

    write("scaleless", "mlx", lora_parameters={"rank": 4})
    tensors = load_file(write("half", "peft") / "adapter_model.safetensors")
    tensors.pop(next(name for name in tensors if ".lora_B." in name))
    save_file(tensors, tmp_path / "half" / "adapter_model.safetensors")
    more = {"base_model.model.lm_head.weight": np.zeros((2, 2), "f4")}
    save_file(
        load_file(write("more", "peft") / "adapter_model.safetensors") | more, tmp_path / "more" / "adapter_model.safetensors"
    )
    write_lora(tmp_path / "elsewhere", {"model.layers.7.mlp.up_proj": next(iter(matrices.values()))}, "peft")
    cut = write("cut", "mlx") / "adapters.safetensors"
    cut.write_bytes(cut.read_bytes()[:-100])
    (write("configless", "mlx") / "adapter_config.json").unlink()
    (write("garbled", "mlx") / "adapter_config.json").write_text("{", encoding="utf-8")
    plain = player.play([ask(TEXT, tokens=LENGTH)])[0].text
    for place, says in {
        folder / "missing": "there is no adapter missing",
        folder / "foreign": "the adapter foreign does not fit this model.*96",
        tmp_path / "scaleless": "does not say how much it counts",
        tmp_path / "half": "only one of the two matrices",
        tmp_path / "more": r"'base_model\.model\.lm_head\.weight' besides",
        tmp_path / "elsewhere": r"has no 'model\.layers\.7\.mlp\.up_proj'",
        tmp_path / "cut": "cut cannot be read.*cut short",
        tmp_path / "configless": "holds no LoRA adapter",
        tmp_path / "garbled": "garbled cannot be read",
    }.items():
        with pytest.raises(Refusal, match=says) as caught:
            player.backend.admit(ask(TEXT, adapters=under(place.parent, (place.name, 1.0))))
        assert (caught.value.kind, caught.value.param) == ("invalid", "lora")
    assert player.play([ask(TEXT, tokens=LENGTH)])[0].text == plain
