"""The estimate held against what llama.cpp allocates."""

from dataclasses import replace
from pathlib import Path

import pytest
from engine_tools import find_starter
from llama_sizes import read_sizes
from tiny_models import TINY_MODELS

from impetus.runtime.formats.gguf import read_gguf
from impetus.runtime.formats.header import Header, KvLayout
from impetus.runtime.frames import CacheType, LoadOptions
from impetus.runtime.tuning.footprint import PROCESS_BYTES, can_quantize, footprint

MIB = 1024**2
PLAIN = Header(format="gguf", size_bytes=10**9, architecture="llama", embedding_length=1024, vocabulary_size=32_000)


def header(path: Path) -> Header:
    found = read_gguf(path)
    assert found is not None
    return found


@pytest.mark.engine
@pytest.mark.parametrize("name", [*TINY_MODELS, "starter"])
@pytest.mark.parametrize(
    ("cells", "slots", "batch_tokens", "cache_type"),
    [(4096, 1, 512, "f16"), (4000, 21, 128, "f16"), (16_384, 49, 512, "q8_0"), (8192, 3, 256, "q4_0")],
)
def test_it_is_what_llama_cpp_allocates(
    tiny_models: dict[str, Path], name: str, cells: int, slots: int, batch_tokens: int, cache_type: CacheType
) -> None:
    path = find_starter() if name == "starter" else tiny_models[name]
    real = read_sizes(path, cells=cells, sequences=slots, batch_tokens=batch_tokens, cache_type=cache_type)
    options = LoadOptions(cache_tokens=cells, slots=slots, batch_tokens=batch_tokens, cache_type=cache_type)
    needs = footprint(header(path), options)
    # The log has two digits after the point.
    assert needs.kv_bytes == pytest.approx(real.kv, rel=0.01, abs=0.02 * MIB)
    assert 0.95 * real.compute < needs.scratch_bytes - PROCESS_BYTES < 1.6 * real.compute + 0.1 * MIB


def test_the_parts_add_up_and_the_weights_are_the_file() -> None:
    needs = footprint(header(find_starter()), LoadOptions(context_length=8192))
    assert needs.weights_bytes == 98_362_432
    assert needs.kv_bytes == 180 * MIB
    assert needs.total_bytes == needs.weights_bytes + needs.kv_bytes + needs.scratch_bytes


def test_guesses_need_room_for_their_scores() -> None:
    without = footprint(PLAIN, LoadOptions(context_length=4096)).scratch_bytes
    assert footprint(PLAIN, LoadOptions(context_length=4096, draft="lookup")).scratch_bytes > without + 64 * 32_000 * 4


def test_a_model_that_says_little_is_not_taken_for_free() -> None:
    unknown = Header(format="gguf", size_bytes=10**9)
    assert footprint(unknown, LoadOptions(context_length=8192)).kv_bytes == 2**30
    assert footprint(replace(unknown, kv_bytes_per_token=0), LoadOptions(context_length=8192)).kv_bytes == 0


@pytest.mark.parametrize(
    ("layout", "architecture", "can"),
    [
        (KvLayout(width=512, head_lengths=(64, 128)), "llama", True),
        (KvLayout(width=512, head_lengths=(80,)), "llama", False),
        (KvLayout(width=512, head_lengths=(128,)), "grok", False),
        (KvLayout(width=0, state_bytes=1000), "mamba2", False),
        (None, "llama", False),
    ],
)
def test_less_than_16_bits_needs_flash_attention_and_whole_blocks(layout: KvLayout, architecture: str, can: bool) -> None:
    assert can_quantize(replace(PLAIN, kv_layout=layout, architecture=architecture)) is can
