"""How models are loaded on machines of several sizes."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from impetus.hw.profile import CapabilityProfile, Reading
from impetus.runtime.config import Config
from impetus.runtime.formats.header import Header, KvLayout
from impetus.runtime.home import Home, find_home
from impetus.runtime.models.model import Model, Projector
from impetus.runtime.tuning.context import LEAST_CONTEXT, MOST_CONTEXT_BY_ITSELF, stretched_length
from impetus.runtime.tuning.footprint import PROCESS_BYTES, footprint
from impetus.runtime.tuning.guessing import DraftModel
from impetus.runtime.tuning.memory_budget import MODELS_SHARE
from impetus.runtime.tuning.plan import LoadPlan, plan_load

GIB = 1024**3
MIB = 1024**2
EIGHT_B = Header(
    format="gguf",
    size_bytes=4_900_000_000,
    architecture="llama",
    embedding_length=4096,
    feed_forward_length=14_336,
    heads=32,
    context_length=131_072,
    rope_plain=True,
    vocabulary_size=128_256,
    kv_layout=KvLayout(width=32 * 2 * 8 * 128, head_lengths=(128,)),
)
SMALL = replace(
    EIGHT_B,
    size_bytes=100_000_000,
    embedding_length=576,
    feed_forward_length=1536,
    context_length=8192,
    kv_layout=KvLayout(width=30 * 2 * 3 * 64, head_lengths=(64,)),
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return find_home(str(tmp_path / "not" / "there" / "yet"))


def machine(memory_gib: float | None, *, gpu: bool = False) -> CapabilityProfile:
    return CapabilityProfile(
        host="h",
        system="Linux 6.1",
        architecture="x86_64",
        usable_cpus=Reading(4, "test"),
        memory_bytes=None if memory_gib is None else Reading(int(memory_gib * GIB), "test"),
        gpu_cores=Reading(10, "test") if gpu else None,
    )


def model(header: Header, id_: str = "m") -> Model:
    return Model(id=id_, path=Path(f"/models/{id_}.gguf"), store="impetus", header=header)


def plan(header: Header, memory_gib: float | None, home: Home, *, gpu: bool = False, **engine: object) -> LoadPlan:
    config = msgspec.convert({"engine": engine}, Config)
    return plan_load(model(header), machine(memory_gib, gpu=gpu), config, home=home)


@pytest.mark.parametrize(
    ("memory_gib", "cache_type", "whole"),
    [(32, "f16", True), (18, "q8_0", True), (14, "q4_0", True), (11, "q4_0", False)],
)
def test_precision_goes_down_only_where_the_context_would_not_fit(
    home: Home, memory_gib: float, cache_type: str, whole: bool
) -> None:
    made = plan(EIGHT_B, memory_gib, home)
    assert made.options.cache_type == cache_type
    assert (made.options.context_length == MOST_CONTEXT_BY_ITSELF) is whole
    assert made.needed_bytes <= memory_gib * GIB * MODELS_SHARE
    assert any("at 16 bits the context would not fit" in reason for reason in made.reasons) is (cache_type != "f16")


def test_the_context_is_the_longest_that_fits(home: Home) -> None:
    made = plan(EIGHT_B, 11, home)
    length = made.options.context_length
    assert length is not None
    assert LEAST_CONTEXT < length < MOST_CONTEXT_BY_ITSELF
    longer = msgspec.structs.replace(made.options, context_length=length + 256, cache_tokens=None)
    assert footprint(EIGHT_B, longer).total_bytes > 11 * GIB * MODELS_SHARE
    assert f"context {length} of 131072, which fits" in " ".join(made.reasons)


def test_a_model_that_does_not_fit_at_all_is_planned_with_the_least_context(home: Home) -> None:
    assert plan(EIGHT_B, 4, home).options.context_length == LEAST_CONTEXT


def test_the_settings_name_context_and_precision(home: Home) -> None:
    made = plan(EIGHT_B, 64, home, context_length=100_000, kv_type="q8_0")
    assert (made.options.context_length, made.options.cache_type) == (100_000, "q8_0")
    assert plan(SMALL, 64, home, context_length=100_000).options.context_length == 8192


@pytest.mark.parametrize("kv_type", ["auto", "q8_0"])
def test_heads_of_no_whole_blocks_stay_at_16_bits(home: Home, kv_type: str) -> None:
    odd = replace(EIGHT_B, kv_layout=KvLayout(width=32 * 2 * 8 * 80, head_lengths=(80,)))
    made = plan(odd, 12, home, kv_type=kv_type)
    assert made.options.cache_type == "f16"
    assert any("this model's heads cannot be kept so" in reason for reason in made.reasons) is (kv_type != "auto")


@pytest.mark.parametrize(("memory_gib", "cells"), [(64, 18_944), (8, 18_944), (3, 17_408), (1, 8192), (None, 8192)])
def test_there_are_cells_for_several_contexts_where_memory_allows(home: Home, memory_gib: float | None, cells: int) -> None:
    options = plan(SMALL, memory_gib, home).options
    assert options.context_length == 8192
    assert options.cache_tokens == cells
    if memory_gib is not None:
        assert footprint(SMALL, options).kv_bytes <= min(436 * MIB, max(memory_gib * GIB / 8, 180 * MIB))


def test_a_large_model_may_have_as_much_memory_for_further_contexts_as_for_its_weights(home: Home) -> None:
    options = plan(EIGHT_B, 64, home, context_length=16_384).options
    assert options.cache_tokens is not None
    assert 3 * 16_384 < options.cache_tokens < 4 * 16_384
    assert footprint(EIGHT_B, options).kv_bytes <= 2 * GIB + EIGHT_B.size_bytes


def test_long_rope_gets_no_more_cells_than_context(home: Home) -> None:
    assert plan(replace(SMALL, rope_by_context=True), 64, home).options.cache_tokens == 8192


def test_states_bound_how_many_answers_run_at_once(home: Home) -> None:
    state = replace(EIGHT_B, architecture="mamba2", kv_layout=KvLayout(width=0, state_bytes=100 * MIB))
    options = plan(state, 16, home).options
    assert options.slots == options.max_sequences + 5
    assert 4 <= options.max_sequences < 16
    assert options.slots * 100 * MIB <= 2 * GIB
    assert options.cache_tokens == MOST_CONTEXT_BY_ITSELF * options.max_sequences
    assert plan(state, 64, home).options.max_sequences == 16
    assert plan(SMALL, 16, home).options.slots == 16 + 32 + 1


@pytest.mark.parametrize(("gpu", "ms", "target_s"), [(False, 0.0, 0.12), (True, 0.0, 0.06), (True, 90.0, 0.09)])
def test_steps_are_as_long_as_the_machine_lets_them(home: Home, gpu: bool, ms: float, target_s: float) -> None:
    assert plan(SMALL, 16, home, gpu=gpu, step_target_ms=ms).options.step_target_s == target_s
    assert plan(SMALL, 16, home, gpu=gpu, gpu_layers=0).options.step_target_s == 0.12


def test_computed_prompts_get_a_tenth_of_memory_and_disk(home: Home) -> None:
    prefix = plan(SMALL, 16, home).options.prefix
    assert prefix.ram_bytes == int(1.6 * GIB)
    assert prefix.disk_dir == str(home.cache_dir / "prefix")
    assert 0 < prefix.disk_max_bytes <= 20 * 1000**3
    assert prefix.disk_ttl_s == 30 * 86_400
    assert prefix.key_path is None
    assert plan(SMALL, 128, home).options.prefix.ram_bytes == 4096 * MIB


def test_the_settings_bound_computed_prompts(home: Home) -> None:
    config = msgspec.convert(
        {"cache": {"ram_mb": 7, "disk_max_gb": 1.5, "disk_ttl_days": 0, "encrypt": True, "normalise": False}}, Config
    )
    options = plan_load(model(SMALL), machine(16), config, home=home).options
    assert (options.prefix.ram_bytes, options.prefix.disk_max_bytes, options.prefix.disk_ttl_s) == (7 * MIB, 1_500_000_000, 0)
    assert options.prefix.key_path == str(home.state_dir / "prefix.key")
    assert not options.normalise
    without = plan_load(model(SMALL), machine(16), msgspec.convert({"cache": {"disk": False}}, Config), home=home)
    assert without.options.prefix.disk_dir is None
    assert "no computed prompts on the disk, as the settings say" in without.reasons


def test_a_projector_is_handed_on_and_counted(home: Home) -> None:
    plain = plan_load(model(SMALL), machine(32), Config(), home=home)
    seeing = replace(model(SMALL), projector=Projector(Path("/models/mmproj.gguf"), 300 * MIB))
    made = plan_load(seeing, machine(32), Config(), home=home)
    assert (plain.options.projector_path, made.options.projector_path) == (None, "/models/mmproj.gguf")
    assert made.needed_bytes - plain.needed_bytes >= 300 * MIB
    assert made.options.memory_limit_bytes is not None
    assert plain.options.memory_limit_bytes is not None
    assert made.options.memory_limit_bytes - plain.options.memory_limit_bytes >= 300 * MIB
    assert any("mmproj.gguf" in reason for reason in made.reasons)


def drafted(home: Home, draft: DraftModel | None, speculative: str = "model") -> LoadPlan:
    config = msgspec.convert({"engine": {"speculative": speculative, "draft_model": "d"}}, Config)
    return plan_load(model(EIGHT_B), machine(32), config, home=home, draft=draft)


def test_a_small_model_of_the_same_vocabulary_guesses(home: Home) -> None:
    alone = drafted(home, None, "off")
    made = drafted(home, DraftModel(model(SMALL, "d")))
    assert (made.options.draft, made.options.draft_path) == ("model", "/models/d.gguf")
    assert made.needed_bytes > alone.needed_bytes + SMALL.size_bytes
    # Both are in one process, so that its own memory is counted once.
    by_texts = drafted(home, None, "lookup")
    second = footprint(SMALL, msgspec.structs.replace(by_texts.options, draft="off")).total_bytes
    assert made.needed_bytes - by_texts.needed_bytes == second - PROCESS_BYTES
    assert (alone.options.draft, alone.options.draft_path) == ("off", None)


@pytest.mark.parametrize(
    ("draft", "why"),
    [
        (None, "the settings name no draft model"),
        (DraftModel(None, "There is no model 'd'."), "There is no model 'd'."),
        (DraftModel(model(replace(SMALL, vocabulary_size=7), "d")), "'d' has another vocabulary"),
        (DraftModel(model(EIGHT_B)), "it would guess for itself"),
        (DraftModel(replace(model(SMALL, "d"), problem="it is damaged.")), "it is damaged."),
    ],
)
def test_where_no_model_can_guess_the_texts_do(home: Home, draft: DraftModel | None, why: str) -> None:
    made = drafted(home, draft)
    assert (made.options.draft, made.options.draft_path) == ("lookup", None)
    assert any(reason.endswith(why) for reason in made.reasons)


def test_a_worker_may_not_take_much_more_than_it_needs(home: Home) -> None:
    made = plan(SMALL, 16, home)
    limit = made.options.memory_limit_bytes
    assert limit is not None
    assert made.needed_bytes < limit - made.options.prefix.ram_bytes < 2 * made.needed_bytes + 2 * GIB
    assert plan(SMALL, 16, home, gpu=True).options.memory_limit_bytes is None
    assert plan(replace(SMALL, kv_layout=None), None, home).options.memory_limit_bytes is None


def test_each_decision_has_its_reason(home: Home) -> None:
    assert len(plan(EIGHT_B, 14, home).reasons) >= 7
    assert all(plan(EIGHT_B, 14, home).reasons)


def test_a_context_is_stretched_only_where_the_settings_allow_it(home: Home) -> None:
    usual = plan(SMALL, 32, home, context_length=32_768)
    assert (usual.options.context_length, usual.options.stretch) == (8192, 1.0)
    stretched = plan(SMALL, 32, home, context_length=32_768, stretch="yarn")
    assert (stretched.options.context_length, stretched.options.stretch) == (32_768, 4.0)
    assert any("stretched 4 times" in reason for reason in stretched.reasons)
    assert plan(SMALL, 32, home, context_length=10**6, stretch="yarn").options.context_length == 65_536
    assert plan(SMALL, 32, home, context_length=4096, stretch="yarn").options.stretch == 1.0
    scaled = plan(replace(SMALL, rope_plain=False), 32, home, context_length=32_768, stretch="yarn")
    assert (scaled.options.context_length, scaled.options.stretch) == (8192, 1.0)


@pytest.mark.parametrize(
    ("prompt_tokens", "most", "length"),
    [
        (8192, 0, 16_384),
        (9000, 0, 16_384),
        (12_400, 0, 32_768),
        (18_400, 0, 32_768),
        (40_000, 0, 65_536),
        (60_000, 0, None),
        (9000, 14_000, 14_000),
        (9000, 11_000, None),
    ],
)
def test_a_context_is_doubled_until_a_prompt_leaves_room(prompt_tokens: int, most: int, length: int | None) -> None:
    assert stretched_length(SMALL, prompt_tokens, most) == length
    assert stretched_length(replace(SMALL, rope_plain=False), prompt_tokens, most) is None
    assert stretched_length(replace(SMALL, context_length=None), prompt_tokens, most) is None
