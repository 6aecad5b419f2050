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
from impetus.runtime.frames import CacheType, LoadOptions
from impetus.runtime.home import Home, find_home
from impetus.runtime.models.model import Model
from impetus.runtime.tuning.guessing import DraftModel
from impetus.runtime.tuning.load_plan import LoadPlan
from impetus.runtime.tuning.memory_budget import MODELS_SHARE
from impetus.runtime.tuning.plan import plan_load
from impetus.runtime.tuning.sequence_footprint import (
    LEAST_PIECE_TOKENS,
    MOST_ATTENTION_BYTES,
    MOST_LOGITS_BYTES,
    PROCESS_BYTES,
    onnx_piece_tokens,
    sequence_footprint,
    vector_footprint,
)

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
    # All of them are there twice while a token is computed.
    assert handed_on == 2 * in_place


@pytest.mark.parametrize(
    ("system", "quantization", "times"), [("linux", "BF16", 2), ("darwin", "BF16", 1), ("linux", "4-bit", 1)]
)
def test_vectors_by_mlx_take_weights_in_single_precision_on_a_cpu_alone(
    home: Home, monkeypatch: pytest.MonkeyPatch, system: str, quantization: str, times: int
) -> None:
    header = replace(EIGHT_B, format="mlx", ability="embedding", size_bytes=GIB, quantization=quantization, parameters=None)
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


@pytest.mark.parametrize(("system", "more"), [("linux", 8 * 10**9 // 16), ("darwin", 0)])
def test_a_cpu_holds_scales_of_quantized_mlx_models_in_single_precision(
    home: Home, monkeypatch: pytest.MonkeyPatch, system: str, more: int
) -> None:
    header = replace(EIGHT_B, format="mlx", quantization="4-bit")
    options = plan(header, 64, home).options
    monkeypatch.setattr("sys.platform", system)
    assert sequence_footprint(header, options, "mlx").weights_bytes == header.size_bytes + more


@pytest.mark.parametrize(("system", "tokens"), [("linux", 64), ("darwin", 512)])
def test_mlx_computes_prompts_in_small_steps_on_a_cpu(
    home: Home, monkeypatch: pytest.MonkeyPatch, system: str, tokens: int
) -> None:
    monkeypatch.setattr("sys.platform", system)
    made = plan(EIGHT_B, 64, home)
    assert (made.options.batch_tokens, made.options.micro_batch_tokens) == (tokens, tokens)
    assert any(f"{tokens} tokens of prompts in a step" in reason for reason in made.reasons)
    assert plan(EIGHT_B, 64, home, batch_tokens=256).options.batch_tokens == 256
    assert plan(EIGHT_B, 64, home, "torch").options.batch_tokens == 512


@pytest.mark.parametrize(("system", "kv_type", "scores"), [("linux", "f16", 2), ("darwin", "f16", 0), ("darwin", "q8_0", 4)])
def test_attention_without_a_kernel_of_its_own_needs_room_for_its_scores(
    monkeypatch: pytest.MonkeyPatch, system: str, kv_type: CacheType, scores: int
) -> None:
    monkeypatch.setattr("sys.platform", system)
    first, second = (scratch_of("mlx", context, kv_type) for context in (8192, 16_384))
    assert second - first == 2 * 512 * 8192 * 32 * scores


def test_torch_lays_out_who_may_look_at_whom() -> None:
    first, second = (scratch_of("torch", context) for context in (8192, 16_384))
    assert second - first == 8192 * (512 * 5 + 2 * 4096 * 2)


def scratch_of(engine_name: str, context: int, kv_type: CacheType = "f16") -> int:
    options = LoadOptions(context_length=context, cache_tokens=context, cache_type=kv_type)
    return sequence_footprint(EIGHT_B, options, engine_name).scratch_bytes


def test_onnx_prompts_are_computed_in_pieces_that_bound_what_they_take() -> None:
    """At the end of a long context, a graph of plain operators lays out what each token of a piece looks at."""
    options = LoadOptions(context_length=8192)
    header = replace(EIGHT_B, format="onnx")
    assert onnx_piece_tokens(header, options, 1024) == 64 * 2**20 // (128_256 * 4)
    assert onnx_piece_tokens(header, options, 4096) == 32 * 2**20 // (32 * 4096 * 4)
    assert onnx_piece_tokens(header, options, 65_536) == 32
    assert onnx_piece_tokens(replace(header, kv_in_place=True), options, 65_536) == onnx_piece_tokens(header, options, 1024)


TABLE = 128_256 * 4096
"""Numbers that stand for the vocabulary."""


@pytest.mark.parametrize(
    ("quantization", "in_place", "size_bytes", "more"),
    [
        (None, False, 32 * 10**9, 0),
        (None, True, 32 * 10**9, 4 * TABLE),
        ("INT8", False, 10 * 10**9, 10 * 10**9 - 4 * TABLE),
        ("Q4", False, 7 * 10**9, (7 * 10**9 - 4 * TABLE) * 8 // 20),
        (None, True, 5 * 10**9, 5 * 10**9 * 8 // 20 + TABLE * 20 // 32),
    ],
)
def test_onnx_runtime_lays_matrices_out_anew(quantization: str | None, in_place: bool, size_bytes: int, more: int) -> None:
    """Graphs of onnxruntime-genai do not say how many bits their numbers have: their size does."""
    header = replace(EIGHT_B, format="onnx", quantization=quantization, kv_in_place=in_place, size_bytes=size_bytes)
    needs = sequence_footprint(header, LoadOptions(context_length=4096), "onnx")
    assert needs.weights_bytes == pytest.approx(size_bytes + more, abs=1)
    assert sequence_footprint(header, LoadOptions(context_length=4096), "torch").weights_bytes == size_bytes


def test_onnx_runtime_is_given_the_pieces_that_the_plan_counts() -> None:
    runner = pytest.importorskip("impetus.runtime.worker.backends.onnx")
    known = (MOST_ATTENTION_BYTES, MOST_LOGITS_BYTES, LEAST_PIECE_TOKENS)
    assert known == (runner.MOST_ATTENTION_BYTES, runner.MOST_LOGITS_BYTES, runner.LEAST_TOKENS)


def test_mlx_caches_of_each_sequence_have_room_to_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    one, four = (LoadOptions(context_length=length, cache_tokens=8192) for length in (8192, 2048))
    token_bytes = EIGHT_B.kv_bytes_per_token or 0
    grown = sequence_footprint(EIGHT_B, four, "mlx").scratch_bytes - sequence_footprint(EIGHT_B, one, "mlx").scratch_bytes
    assert grown == 3 * 256 * token_bytes


def test_less_of_a_library_is_used_for_vectors() -> None:
    header = replace(EIGHT_B, format="safetensors", ability="embedding", quantization="F32")
    options = LoadOptions(context_length=512)
    rows = 512 * 4096 * 4 * 12
    assert vector_footprint(header, options, "torch-embedding").scratch_bytes == PROCESS_BYTES["torch-embedding"] + rows
    assert vector_footprint(header, options, "onnx-embedding").scratch_bytes == PROCESS_BYTES["onnx"] + rows
    assert PROCESS_BYTES["torch-embedding"] < PROCESS_BYTES["torch"]


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
