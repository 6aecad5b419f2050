from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from impetus.runtime.tuning.measured import SETTLED_TOKENS, Run, SpeedBook, SpeedKey

KEY = SpeedKey("tiny", "Q4_0", "llama.cpp 1", "Apple M4")


@pytest.fixture
def book(tmp_path: Path) -> SpeedBook:
    return SpeedBook(tmp_path / "state" / "speeds.sqlite")


def test_a_first_run_is_taken_as_it_is_and_settles_with_its_tokens(book):
    assert book.read() == []
    short = book.note(KEY, Run(40.0, SETTLED_TOKENS - 1))
    assert (short.decode_tps, short.is_settled) == (40.0, False)
    assert book.note(KEY, Run(40.0, 1)).is_settled


def test_newer_runs_weigh_by_their_tokens(book):
    book.note(KEY, Run(40.0, 100))
    assert book.note(KEY, Run(20.0, 1024)).decode_tps == pytest.approx(30.0)
    for _ in range(20):
        last = book.note(KEY, Run(10.0, 1024))
    assert last.decode_tps == pytest.approx(10.0, abs=0.1)
    assert last.runs == 22


def test_no_run_is_lost_where_two_write_at_the_same_time(book):
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: book.note(KEY, Run(40.0, 10)), range(40)))
    (kept,) = book.read()
    assert (kept.runs, kept.decode_tokens) == (40, 400)


def test_a_run_may_tell_of_one_half_alone(book):
    book.note(KEY, Run(prefill_tps=500.0, prefill_tokens=600))
    both = book.note(KEY, Run(40.0, 100))
    assert (both.prefill_tps, both.decode_tps, both.prefill_tokens, both.decode_tokens) == (500.0, 40.0, 600, 100)


@pytest.mark.parametrize("field", ["model", "quantization", "engine", "chip"])
def test_each_part_of_the_key_counts(book, field):
    book.note(KEY, Run(40.0, 100))
    book.note(replace(KEY, **{field: "another"}), Run(10.0, 100))
    assert {speed.decode_tps for speed in book.read()} == {40.0, 10.0}


def test_another_process_finds_what_was_kept(book, tmp_path):
    book.note(KEY, Run(40.0, 100))
    (again,) = SpeedBook(tmp_path / "state" / "speeds.sqlite").read()
    assert (again.key, again.decode_tps) == (KEY, 40.0)


def test_a_damaged_file_counts_as_none(tmp_path):
    path = tmp_path / "speeds.sqlite"
    path.write_bytes(b"no database at all" * 100)
    assert SpeedBook(path).read() == []
