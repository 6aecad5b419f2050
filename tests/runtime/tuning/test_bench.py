from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

import msgspec
import pytest
from tiny_models import tiny_llama

from impetus.runtime.errors import InvalidRequest
from impetus.runtime.tuning.bench import Bench, BenchPlan
from impetus.runtime.tuning.bench_book import BenchBook
from impetus.runtime.tuning.bench_plot import to_plot
from impetus.runtime.tuning.bench_report import to_card, to_comparison, to_footer, to_rows
from impetus.runtime.tuning.bench_result import BenchPoint, BenchResult, BenchStreams, MachineState, find_flags, find_load

PLAN = BenchPlan(depths=(32, 96, 1_000_000), streams=(1, 3), tokens=12, sustain_s=0.5, force=True)


@pytest.mark.engine
async def test_a_real_model_is_measured_kept_and_compared(opened, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    tiny_llama(models / "tiny.gguf")
    steps: list[str] = []
    async with asyncio.timeout(100), opened(engine={"threads": 1}) as runtime:
        result = await Bench(runtime, "tiny", PLAN, on_step=steps.append).run()
    assert steps[:4] == ["loading", "first tokens", "32 tokens of prompt", "96 tokens of prompt"]
    assert steps[4:] == ["1 at once", "3 at once", "a sustained run, after a pause"]
    # The longest depth is beyond the context.
    short, long = result.points
    assert 0 < short.prompt_tokens < long.prompt_tokens
    assert short.completion_tokens == 12
    assert all(point.prefill_tps > 0 and point.decode_tps > 0 and point.ttft_s > 0 for point in result.points)
    assert [(each.streams, each.tokens) for each in result.streams] == [(1, 12), (3, 36)]
    assert result.sustained.answers >= 1
    assert result.sustained.burst_tps > 0
    assert result.sustained.sustained_tps > 0
    assert result.load_s > 0
    assert result.cold_ttft_s > 0
    assert result.engine.startswith("llama.cpp")
    assert result.joules_per_token is None or result.joules_per_token > 0
    book = BenchBook(tmp_path / "kept" / "benchmarks.sqlite")
    assert book.all() == []
    kept = [book.add(result), book.add(msgspec.structs.replace(result, load_s=2 * result.load_s))]
    assert [each.id for each in kept] == [1, 2]
    assert book.get(2) == kept[1]
    with pytest.raises(InvalidRequest, match="no benchmark 3"):
        book.get(3)
    with closing(sqlite3.connect(tmp_path / "kept" / "benchmarks.sqlite")) as file, file:
        file.execute("insert into benchmarks (model, body) values ('old', ?)", (b'{"of": "another version"}',))
    assert book.all() == kept
    rows = {row[0]: row for row in to_comparison(*kept)}
    assert rows["load, s"][3] == "2.00"
    assert rows["3 at once, tok/s"][3] == "1.00"
    card = to_card(kept[0])
    assert "| 3 at once, in all |" in card
    assert str(tmp_path) not in card


async def test_echo_is_measured_without_a_prefill(opened):
    async with asyncio.timeout(60), opened() as runtime:
        result = await Bench(runtime, "echo", BenchPlan(depths=(16,), streams=(2,), tokens=4, force=True)).run()
    assert result.streams[0].tokens == 8
    assert dict(to_rows(result))["2 at once, in all"].endswith("tok/s")


async def test_a_hot_machine_is_refused_unless_it_is_insisted_on(opened, monkeypatch):
    async with asyncio.timeout(60), opened() as runtime:
        monkeypatch.setattr(
            "impetus.runtime.tuning.bench.to_state", lambda _: MachineState(thermal_level="heavy", low_power_mode=True)
        )
        with pytest.raises(InvalidRequest, match=r"hot.*saves power"):
            await Bench(runtime, "echo", BenchPlan(depths=(16,), streams=(1,), tokens=2)).run()
        forced = await Bench(runtime, "echo", BenchPlan(depths=(16,), streams=(1,), tokens=2, force=True)).run()
    assert len(forced.flags) == 2


@pytest.mark.parametrize(
    ("state", "flags"),
    [
        (MachineState(), 0),
        (MachineState(thermal_level="nominal", memory_pressure="normal", low_power_mode=False), 0),
        (MachineState(thermal_level="moderate"), 1),
        (MachineState(memory_pressure="warn", low_power_mode=True), 2),
        (MachineState(swap_used_bytes=3_000_000_000), 1),
    ],
)
def test_flags_tell_what_speaks_against_measuring(state, flags):
    assert len(find_flags(state, MachineState(swap_used_bytes=1_000_000_000))) == flags


def test_a_busy_processor_is_told():
    assert find_load(MachineState(cpu_percent=80)) == ["other programs kept 80 % of the processor busy"]
    assert find_load(MachineState(cpu_percent=3)) == find_load(MachineState()) == []


def test_the_plot_gives_each_group_a_scale_of_its_own_and_leaves_out_what_is_unknown():
    state = MachineState()
    result = BenchResult(
        at_epoch_s=0,
        model="m",
        quantization=None,
        size_bytes=1,
        engine="e",
        machine=None,
        chip=None,
        system=None,
        context_length=None,
        load_s=1,
        cold_ttft_s=1,
        warm_ttft_s=1,
        points=[BenchPoint(64, 1, 400.0, None, 1), BenchPoint(1024, 8, 200.0, 50.0, 1)],
        streams=[BenchStreams(1, 8, 25.0, 1, 1), BenchStreams(4, 8, 0.0, 1, 1)],
        memory_bytes=None,
        joules_per_token=None,
        before=state,
        after=state,
        flags=[],
    )
    groups = [group.splitlines() for group in to_plot(result).split("\n\n")]
    assert [group[0].partition(",")[0] for group in groups] == ["prefill", "decode", "all answers"]
    assert groups[0][1] == f"   64 {'█' * 40} 400.0"
    assert groups[0][2] == f"1,024 {'█' * 20}{' ' * 20} 200.0"
    assert groups[1][1:] == [f"1,024 {'█' * 40} 50.0"]
    assert groups[2][2] == f"4 {' ' * 40} 0.0"
    assert to_plot(result) in to_card(result)
    assert to_plot(result) in to_footer(result)
