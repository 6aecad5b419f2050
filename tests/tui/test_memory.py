from __future__ import annotations

from impetus.hw.sample import Sample
from impetus.tui.memory import split_memory


def sample(total=1000, used=600, **processes):
    held = {int(pid[1:]): amount for pid, amount in processes.items()}
    return Sample(at_s=0, memory_total_bytes=total, memory_used_bytes=used, process_bytes=held)


def test_four_parts_add_up():
    split = split_memory(sample(p1=50, p7=200, p8=100), engine_pids=[7, 8], app_pid=1)
    assert (split.models_bytes, split.app_bytes, split.other_bytes, split.free_bytes) == (300, 50, 250, 400)
    assert split.used_bytes == 600


def test_mapped_pages_may_exceed_what_counts_as_used():
    split = split_memory(sample(p1=50, p7=800), engine_pids=[7], app_pid=1)
    assert (split.models_bytes, split.other_bytes, split.free_bytes) == (800, 0, 150)


def test_an_engine_that_cannot_be_read_is_unknown_and_counted_among_others():
    split = split_memory(sample(p1=50), engine_pids=[7], app_pid=1)
    assert split.models_bytes is None
    assert split.other_bytes == 550


def test_without_engines_models_hold_nothing():
    assert split_memory(sample(), engine_pids=[], app_pid=1).models_bytes == 0


def test_a_machine_that_does_not_tell_has_no_split():
    assert split_memory(Sample(at_s=0, memory_total_bytes=10), engine_pids=[], app_pid=1) is None
    assert split_memory(None, engine_pids=[], app_pid=1) is None
