from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from published_rows import read_row

from impetus.runtime.tuning.predict_speed import Machine, Work, decode_ms, prefill_ms

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "predict_published.py"
SHARED_ROWS = Path(__file__).parents[3].parent / "shared" / "data" / "tokps.json"
M2_MAX = Machine(2, 38, 400)
LLAMA_7B = Work(
    active_bytes=3.75e9,
    active_parameters=6.74e9,
    layers=32,
    attending_layers=32,
    kv_bytes_per_token=524288,
    attention_width=4096,
)


def run_program(path: Path | None = None) -> dict:
    command = [sys.executable, str(PROGRAM), "--json", *([str(path)] if path else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    return json.loads(done.stdout)


def test_published_rows_that_took_no_part_in_the_fit_are_met():
    report = run_program()
    assert report["decode"]["rows"] == report["prefill"]["rows"] == 12
    assert report["decode"]["median"] <= 4
    assert report["decode"]["p90"] <= 10
    assert report["prefill"]["median"] <= 4
    assert {"chip", "model", "quant", "tg", "decode", "prefill"} <= set(report["rows"][0])


@pytest.mark.skipif(not SHARED_ROWS.is_file(), reason="the published speeds are not beside the repository")
def test_published_rows_are_met():
    report = run_program(SHARED_ROWS)
    assert report["decode"]["rows"] > 100
    assert report["decode"]["median"] <= 6
    assert report["decode"]["p90"] <= 22
    assert report["prefill"]["median"] <= 8


def test_rows_that_say_too_little_are_null(tmp_path):
    rows = [
        {"chip": "M4", "tg": 20},
        {"chip": "Snapdragon X", "active_b": 8, "quant": "Q4_0"},
        {},
        {"chip": None, "gpu": "many", "active_b": 8, "read_bytes": 4e9},
        [],
        {"chip": "M4 Pro", "active_b": 8.03, "quant": "Q4_K_M", "engine": "llama.cpp", "tg": "fast"},
        {"chip": "M9 Max", "gpu": 40, "active_b": 8.03, "quant": "4bit", "engine": "a new one"},
        {"chip": "Apple M4 Max 40-core", "active_b": 8.03, "quant": "UD-Q4_K_XL"},
        {"chip": "m2 ultra", "active_b": 8.03, "quant": "int4", "gpu": 10**400},
        {"chip": "M1 Max", "active_b": 8.03, "quant": "a name that says nothing"},
    ]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    report = run_program(path)
    assert [row["decode"] is None for row in report["rows"]] == [True] * 5 + [False] * 4 + [True]
    assert report["decode"] == {"rows": 0, "median": None, "p90": None, "max": None}
    # An 8B model of 4 bits on 273 GB/s cannot be faster than its weights are read.
    assert 30 < report["rows"][5]["decode"] < 273 / 4.8


@given(
    st.dictionaries(
        st.sampled_from(["chip", "gpu", "bw", "active_b", "layers", "read_bytes", "kv_per_tok", "ctx", "quant", "pp_n", "moe"]),
        st.one_of(
            st.none(), st.sampled_from(["M1", "M5 Max", "A18 Pro", "Apple M3 Ultra", "Q4_0", ""]), st.floats(), st.integers()
        ),
    )
)
def test_no_row_raises(row):
    published = read_row(row)
    if published is not None:
        assert decode_ms(published.machine, published.work, published.context) > 0
        assert prefill_ms(published.machine, published.work, published.prompt_tokens) > 0


@pytest.mark.parametrize(
    ("machine", "work", "context"),
    [
        (replace(M2_MAX, bandwidth_gbs=300), LLAMA_7B, 1000),
        (replace(M2_MAX, gpu_cores=30), LLAMA_7B, 1000),
        (replace(M2_MAX, generation=1), LLAMA_7B, 1000),
        (M2_MAX, replace(LLAMA_7B, active_bytes=7e9), 1000),
        (M2_MAX, LLAMA_7B, 8000),
        (M2_MAX, replace(LLAMA_7B, flash_attention=False), 1000),
    ],
)
def test_less_machine_and_more_work_are_slower(machine, work, context):
    assert decode_ms(machine, work, context) > decode_ms(M2_MAX, LLAMA_7B, 1000)


def test_a_window_bounds_what_a_long_context_costs():
    windowed = replace(LLAMA_7B, kv_bytes_per_token=0, window_kv_bytes_per_token=524288, window=1024)
    assert decode_ms(M2_MAX, windowed, 1024) == decode_ms(M2_MAX, windowed, 30_000) < decode_ms(M2_MAX, LLAMA_7B, 30_000)


def test_weights_are_never_read_faster_than_the_memory_allows():
    for generation in range(1, 9):
        machine = Machine(generation, 80, 800, ultra=True)
        assert 1000 / decode_ms(machine, LLAMA_7B, 0) < 800e9 / LLAMA_7B.active_bytes
