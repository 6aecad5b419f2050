"""Benchmarks as tables, and as a card in Markdown to share."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from .bench_plot import to_plot
from .bench_result import BenchResult, MachineState

Row = tuple[str, ...]
HEADS: Final[Row] = ("WHAT", "MEASURED")
COMPARED: Final = 2
"""So many benchmarks are set side by side."""


def to_rows(result: BenchResult) -> list[Row]:
    """Gives the figures of one benchmark, one a row."""
    rows: list[Row] = [
        ("load", f"{result.load_s:.2f} s"),
        ("first token, cold", f"{result.cold_ttft_s * 1000:.0f} ms"),
        ("first token, the same prompt again", f"{result.warm_ttft_s * 1000:.0f} ms"),
    ]
    for point in result.points:
        rows.append((f"prefill, {point.prompt_tokens} tokens", _tps(point.prefill_tps)))
        rows.append((f"decode after {point.prompt_tokens} tokens", _tps(point.decode_tps)))
    rows += [(f"{each.streams} at once, in all", _tps(each.total_tps)) for each in result.streams]
    if (long := result.sustained) is not None:
        label = f"decode for {long.seconds:.0f} s without a pause"
        rows.append((label, f"{long.burst_tps:.1f}, then {long.sustained_tps:.1f} tok/s ({long.ratio:.0%})"))
    rows += [
        ("memory", "?" if result.memory_bytes is None else f"{result.memory_bytes / 1e9:.2f} GB"),
        ("energy", "?" if result.joules_per_token is None else f"{result.joules_per_token:.2f} J a token"),
        ("before", _state(result.before)),
        ("after", _state(result.after)),
    ]
    return rows + [("flag", flag) for flag in result.flags]


def to_card(result: BenchResult) -> str:
    """Gives a card in Markdown; it holds nothing of the machine but its kind."""
    day = time.strftime("%Y-%m-%d", time.localtime(result.at_epoch_s))
    title = f"### {result.model} on {result.machine or 'an unknown machine'}"
    about = (
        f"{result.engine} · {result.quantization or '?'} · {result.size_bytes / 1e9:.2f} GB · {result.system or '?'} · {day}"
    )
    table = [f"| {label} | {value} |" for label, value in to_rows(result)]
    return "\n".join(
        [title, "", about, "", "| what | measured |", "| --- | --- |", *table, "", "```", to_plot(result), "```", ""]
    )


def to_footer(result: BenchResult) -> str:
    """Gives what stands below the table: the bars, and how to compare it with another benchmark."""
    return f"\n{to_plot(result)}\n\nBenchmark {result.id}; `impetus bench compare {result.id} NUMBER` sets it beside another.\n"


def to_comparison(first: BenchResult, second: BenchResult) -> list[Row]:
    """Sets two benchmarks side by side; the last column is the second over the first."""
    rows: list[Row] = [("model", first.model, second.model, ""), ("engine", first.engine, second.engine, "")]
    rows += [
        _ratio("load, s", first.load_s, second.load_s),
        _ratio("first token cold, s", first.cold_ttft_s, second.cold_ttft_s),
        _ratio("first token warm, s", first.warm_ttft_s, second.warm_ttft_s),
    ]
    for at, (one, other) in enumerate(zip(first.points, second.points, strict=False), start=1):
        depth = f"{one.prompt_tokens}/{other.prompt_tokens} tokens"
        rows.append(_ratio(f"prefill {at} ({depth}), tok/s", one.prefill_tps, other.prefill_tps))
        rows.append(_ratio(f"decode {at} ({depth}), tok/s", one.decode_tps, other.decode_tps))
    others = {each.streams: each for each in second.streams}
    for each in first.streams:
        if (same := others.get(each.streams)) is not None:
            rows.append(_ratio(f"{each.streams} at once, tok/s", each.total_tps, same.total_tps))
    memory = [None if each.memory_bytes is None else each.memory_bytes / 1e9 for each in (first, second)]
    rows.append(_ratio("memory, GB", memory[0], memory[1]))
    return rows + _flags((first, second))


def _flags(results: Sequence[BenchResult]) -> list[Row]:
    return [("flag", *(", ".join(each.flags) or "-" for each in results), "")] if any(each.flags for each in results) else []


def _ratio(label: str, one: float | None, other: float | None) -> Row:
    shown = ["?" if value is None else f"{value:.2f}" for value in (one, other)]
    ratio = f"{other / one:.2f}" if one and other is not None else "?"
    return (label, *shown, ratio)


def _tps(value: float | None) -> str:
    return "?" if value is None else f"{value:.1f} tok/s"


def _state(state: MachineState) -> str:
    parts = [
        f"CPU {state.cpu_percent:.0f} % busy" if state.cpu_percent is not None else "",
        f"thermal {state.thermal_level}" if state.thermal_level else "",
        f"{state.temperature_c:.0f} °C" if state.temperature_c is not None else "",
        f"{state.power_w:.1f} W" if state.power_w is not None else "",
        "battery" if state.on_battery else "",
        f"swap {state.swap_used_bytes / 1e9:.1f} GB" if state.swap_used_bytes else "",
    ]
    return ", ".join(part for part in parts if part) or "?"
