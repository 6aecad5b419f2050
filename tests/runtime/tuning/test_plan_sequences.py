"""How models of the other formats are loaded: precision of weights, context, and what they are thought to take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from impetus.hw.profile import CapabilityProfile, Reading
from impetus.runtime.config import Config
from impetus.runtime.formats.header import Header
from impetus.runtime.home import Home, find_home
from impetus.runtime.models.model import Model
from impetus.runtime.tuning.guessing import DraftModel
from impetus.runtime.tuning.load_plan import LoadPlan
from impetus.runtime.tuning.memory_budget import MODELS_SHARE
from impetus.runtime.tuning.plan import plan_load
from impetus.runtime.tuning.sequence_footprint import sequence_footprint, vector_footprint

GIB = 1024**3
EIGHT_B = Header(
    format="safetensors",
    size_bytes=16 * 10**9,
    architecture="llama",
    quantization="BF16",
    parameters=8 * 10**9,
    layers=32,
    embedding_length=4096,
    heads=32,
    kv_heads=8,
    head_dim=128,
    context_length=131_072,
    vocabulary_size=128_256,
    kv_bytes_per_token=131_072,
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return find_home(str(tmp_path / "not" / "there" / "yet"))


def plan(
    header: Header,
    memory_gib: float,
    home: Home,
    engine_name: str = "mlx",
    *,
    draft: DraftModel | None = None,
    **engine: object,
) -> LoadPlan:
    machine = CapabilityProfile(
        host="h",
        system="Darwin 25",
        architecture="arm64",
        usable_cpus=Reading(8, "test"),
        memory_bytes=Reading(int(memory_gib * GIB), "test"),
        gpu_cores=Reading(10, "test"),
    )
    model = Model(id="m", path=Path("/models/m"), store="impetus", header=header)
    config = msgspec.convert({"engine": engine}, Config)
    return plan_load(model, machine, config, home=home, engine_name=engine_name, draft=draft)


@pytest.mark.parametrize(("memory_gib", "bits"), [(64, None), (36, None), (20, 8), (12, 4)])
def test_weights_are_quantized_only_where_they_would_not_fit(home: Home, memory_gib: float, bits: int | None) -> None:
    made = plan(EIGHT_B, memory_gib, home)
    assert made.options.weight_bits == bits
    assert made.needed_bytes <= MODELS_SHARE * memory_gib * GIB
    assert any("would not fit otherwise" in reason for reason in made.reasons) == (bits is not None)


def test_the_settings_decide_on_weights(home: Home) -> None:
    assert plan(EIGHT_B, 64, home, quantize="4bit").options.weight_bits == 4
    assert plan(EIGHT_B, 16, home, quantize="off").options.weight_bits is None
    assert plan(EIGHT_B, 16, home, "torch").options.weight_bits is None
    assert plan(replace(EIGHT_B, format="mlx", quantization="4-bit"), 16, home).options.weight_bits is None


def test_the_context_is_as_long_as_fits(home: Home) -> None:
    roomy, tight = plan(EIGHT_B, 128, home), plan(EIGHT_B, 16, home)
    assert roomy.options.context_length == 65_536
    assert tight.options.context_length is not None
    assert 2048 <= tight.options.context_length < 65_536
    assert any("more would not fit" in reason for reason in tight.reasons)
    assert plan(EIGHT_B, 16, home, context_length=8192).options.context_length == 8192


def test_what_it_takes_grows_with_context_precision_and_weights(home: Home) -> None:
    options = plan(EIGHT_B, 64, home, context_length=8192).options
    whole = sequence_footprint(EIGHT_B, options, "mlx")
    assert whole.weights_bytes == EIGHT_B.size_bytes
    more = sequence_footprint(EIGHT_B, msgspec.structs.replace(options, cache_tokens=(options.cache_tokens or 0) * 2), "mlx")
    assert more.kv_bytes == 2 * whole.kv_bytes
    less = sequence_footprint(EIGHT_B, msgspec.structs.replace(options, cache_type="q8_0"), "mlx")
    assert less.kv_bytes < 0.6 * whole.kv_bytes
    four = sequence_footprint(EIGHT_B, msgspec.structs.replace(options, weight_bits=4), "mlx")
    assert four.weights_bytes == pytest.approx(4.5e9, rel=0.01)
    # ONNX Runtime keeps keys and values in single precision.
    in_place = sequence_footprint(replace(EIGHT_B, kv_in_place=True), options, "onnx").kv_bytes
    assert in_place == 2 * whole.kv_bytes
    handed_on = sequence_footprint(EIGHT_B, options, "onnx").kv_bytes
    assert handed_on - in_place == 2 * 131_072 * (options.context_length or 0)


@pytest.mark.parametrize(
    ("system", "quantization", "times"), [("linux", "BF16", 2), ("darwin", "BF16", 1), ("linux", "4-bit", 1)]
)
def test_vectors_by_mlx_take_weights_in_single_precision_on_a_cpu_alone(
    home: Home, monkeypatch: pytest.MonkeyPatch, system: str, quantization: str, times: int
) -> None:
    header = replace(EIGHT_B, format="mlx", ability="embedding", size_bytes=GIB, quantization=quantization)
    monkeypatch.setattr("sys.platform", system)
    made = plan(header, 64, home, "mlx-embedding")
    assert vector_footprint(header, made.options, "mlx-embedding").weights_bytes == times * GIB
    assert made.needed_bytes == vector_footprint(header, made.options, "mlx-embedding").total_bytes
    assert made.options.freed_bytes == GIB // 16
    assert made.options.converted_dir is not None
    assert plan(header, 64, home, "torch-embedding").options.freed_bytes is None


@pytest.mark.parametrize(("system", "times"), [("linux", 2), ("darwin", 1)])
def test_a_cpu_keeps_keys_of_quantized_mlx_models_in_single_precision(
    home: Home, monkeypatch: pytest.MonkeyPatch, system: str, times: int
) -> None:
    header = replace(EIGHT_B, format="mlx", quantization="4-bit")
    options = plan(header, 64, home).options
    monkeypatch.setattr("sys.platform", system)
    assert sequence_footprint(header, options, "mlx").kv_bytes == times * 131_072 * (options.cache_tokens or 0)


SMALL = replace(EIGHT_B, size_bytes=10**9, layers=16, kv_bytes_per_token=32_768, vocabulary_size=128_256 - 128)


def drafted(header: Header) -> DraftModel:
    return DraftModel(Model(id="d", path=Path("/models/d"), store="impetus", header=header))


@pytest.mark.parametrize(("engine_name", "kind"), [("mlx", "mlx"), ("mlx", "safetensors"), ("torch", "safetensors")])
def test_a_small_model_of_the_same_engine_guesses(home: Home, engine_name: str, kind: Any) -> None:
    alone = plan(EIGHT_B, 64, home, engine_name, speculative="lookup")
    assert (alone.options.draft, alone.options.draft_path) == ("lookup", None)
    made = plan(EIGHT_B, 64, home, engine_name, draft=drafted(replace(SMALL, format=kind)), speculative="model", draft_tokens=9)
    assert (made.options.draft, made.options.draft_path, made.options.draft_tokens) == ("model", "/models/d", 9)
    assert made.needed_bytes > alone.needed_bytes + SMALL.size_bytes
    assert plan(EIGHT_B, 64, home, engine_name, speculative="off").options.draft == "off"


@pytest.mark.parametrize(
    ("engine_name", "draft", "kind", "why"),
    [
        ("mlx", replace(SMALL, format="gguf"), "lookup", "'d' is gguf, which the engine of 'm' does not compute"),
        ("torch", replace(SMALL, format="mlx"), "lookup", "'d' is mlx, which"),
        ("onnx", SMALL, "lookup", "'d' is safetensors, which"),
        ("mlx", replace(SMALL, vocabulary_size=128_127), "lookup", "'d' has another vocabulary"),
        ("coreml", replace(SMALL, format="coreml"), "off", "one token at a time"),
    ],
)
def test_a_model_that_cannot_guess_is_told(home: Home, engine_name: str, draft: Header, kind: str, why: str) -> None:
    made = plan(EIGHT_B, 64, home, engine_name, draft=drafted(draft), speculative="model")
    assert (made.options.draft, made.options.draft_path) == (kind, None)
    assert any(why in reason for reason in made.reasons)
