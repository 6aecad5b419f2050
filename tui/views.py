"""Pure functions from the runtime's values to what widgets show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ..hw.chips import CHIPS, parse_brand
from ..hw.profile import CapabilityProfile
from ..hw.sample import Sample
from ..runtime.frames import Stats
from ..runtime.journal import RequestRecord
from ..runtime.models.model import ModelStatus
from .format import NOTHING, bar, clock, context, count, duration, parameters, percent, rate, size, speeds
from .prefix_views import cached_share
from .source import Download, ExtraPort, History
from .widgets.engines import EngineCard
from .widgets.gauge import Level
from .widgets.table import Cell, Row
from .words import DOWNLOADS, PORTS, PRESSURE, STAGES, STORES, THERMAL, UNKNOWN, load_tone, model_word

UNTOLD = "not told here"
HISTORY_POINTS = 240
"""As many seconds as the widest gauge shows, two in a cell."""

USUAL_PORTS = {11434: "Ollama's", 1234: "LM Studio's"}
"""Where clients look by themselves."""
LOADING_BAR = 24
DOWNLOAD_BAR = 12
MEMORY_WIDTH = 9
"""Of the column that shows how far a load has come, until it shows what the model holds."""

_THERMAL_SHARE = {"nominal": 0.1, "moderate": 0.4, "heavy": 0.7, "trapping": 0.9, "sleeping": 1.0}
_PRESSURE_SHARE = {"normal": 0.2, "warn": 0.6, "critical": 1.0}


def machine_facts(profile: CapabilityProfile | None) -> tuple[str, ...]:
    """Gives what the title says of the machine, the most telling first."""
    if profile is None:
        return ("looking at the machine…",)
    facts = [profile.host, _chip_words(profile)]
    if profile.rosetta is not None and profile.rosetta.value:
        facts.append("under Rosetta")
    if profile.memory_bytes is not None:
        facts.append(size(profile.memory_bytes.value))
    facts.append(profile.system)
    return tuple(facts)


def machine_notices(profile: CapabilityProfile | None) -> tuple[tuple[str, str], ...]:
    """Says, with its tone, what a person should change about the machine; empty where all is well."""
    if profile is None:
        return ()
    if profile.rosetta is not None and profile.rosetta.value:
        return (("▲ This Python runs under Rosetta, which is slow: use an arm64 Python", "warn"),)
    if _is_foreign(profile):
        return (("▲ Macs with Intel processors are not supported: nothing computes on their GPU", "warn"),)
    return ()


def _is_foreign(profile: CapabilityProfile) -> bool:
    return profile.system.startswith("macOS") and profile.architecture == "x86_64"


def _chip_words(profile: CapabilityProfile) -> str:
    """Names the chip; of one that nobody knows yet it says that its figures are guesses."""
    if profile.chip is None:
        return profile.tier_name
    name = parse_brand(profile.chip.value)
    if name is None:
        # As "Intel(R) Core(TM) i7-9750H CPU @ 2.60GHz"; what is registered, and how fast it once was, tells nothing here.
        short = re.sub(r"\((?:R|TM)\)| CPU\b| @ .*", "", profile.chip.value)
        return f"{short} (not supported)" if _is_foreign(profile) else short
    return profile.tier_name if name.name in CHIPS else f"{profile.tier_name} (estimated)"


def _history(series: Mapping[str, History], name: str) -> Sequence[float | None]:
    found = series.get(name)
    return () if found is None else found.points(HISTORY_POINTS, window_s=float(HISTORY_POINTS))


def cpu_level(sample: Sample | None, series: Mapping[str, History], profile: CapabilityProfile | None) -> Level:
    """Gives the processor's gauge."""
    value = sample.cpu_percent if sample else None
    if value is None:
        return Level(*UNKNOWN, note=UNTOLD)
    note = ""
    if profile is not None and len(profile.cpu_levels) > 1:
        note = " + ".join(f"{level.cores} {level.name[0]}" for level in profile.cpu_levels) + " cores"
    elif profile is not None and profile.usable_cpus is not None:
        note = f"{profile.usable_cpus.value} cores"
    return Level(percent(value), load_tone(value, "cpu"), note, value / 100, _history(series, "cpu_percent"))


def gpu_level(sample: Sample | None, series: Mapping[str, History], profile: CapabilityProfile | None) -> Level:
    """Gives the graphics processor's gauge."""
    value = sample.gpu_percent if sample else None
    if sample is None or value is None:
        return Level(*UNKNOWN, note=UNTOLD)
    notes = [f"{profile.gpu_cores.value} cores"] if profile is not None and profile.gpu_cores is not None else []
    if sample.gpu_mhz is not None:
        notes.append(f"{sample.gpu_mhz:.0f} MHz")
    return Level(percent(value), "gpu", " · ".join(notes), value / 100, _history(series, "gpu_percent"))


def thermal_level(sample: Sample | None, series: Mapping[str, History]) -> Level:
    """Gives the gauge of heat: the system's own level first, the sensor beside it."""
    if sample is None:
        return Level(*UNKNOWN)
    notes: list[str] = []
    if sample.power_w is not None:
        notes.append(f"{sample.power_w:.0f} W")
    if sample.fan_rpm is not None:
        notes.append(f"{sample.fan_rpm:.0f} rpm")
    history = _history(series, "temperature_c")
    if sample.thermal_level is not None:
        word, tone = THERMAL[sample.thermal_level]
        if sample.temperature_c is not None:
            notes.insert(0, f"{sample.temperature_c:.0f} °C")
        return Level(word, tone, " · ".join(notes), _THERMAL_SHARE[sample.thermal_level], history)
    if sample.temperature_c is not None:
        return Level(f"{sample.temperature_c:.0f} °C", "", " · ".join(notes), None, history)
    return Level(*UNKNOWN, note=" · ".join(notes) or UNTOLD)


def pressure_level(sample: Sample | None, series: Mapping[str, History]) -> Level:
    """Gives the gauge of memory pressure."""
    if sample is None:
        return Level(*UNKNOWN)
    swap = sample.swap_used_bytes
    note = "" if swap is None else "no swap" if swap == 0 else f"swap {size(swap)}"
    total = sample.memory_total_bytes
    history = _history(series, "memory_used_bytes") if total else ()
    if sample.memory_pressure is None:
        return Level(*UNKNOWN, note=note, history=history, history_top=float(total or 1))
    word, tone = PRESSURE[sample.memory_pressure]
    return Level(word, tone, note, _PRESSURE_SHARE[sample.memory_pressure], history, float(total or 1))


def request_rows(records: Iterable[RequestRecord]) -> tuple[Row, ...]:
    """Gives the table of requests, newest first."""
    rows: list[Row] = []
    for record in records:
        word, tone = STAGES[record.stage]
        rows.append(
            Row(
                record.id,
                (
                    Cell(clock(record.at_epoch_s), "dim"),
                    Cell(record.client, "dim"),
                    Cell(record.model),
                    Cell(word, tone),
                    Cell(count(record.prompt_tokens)),
                    Cell(cached_share(record), "dim"),
                    Cell(count(record.completion_tokens)),
                    Cell(rate(record.decode_tps), "strong"),
                    Cell(duration(record.ttft_s)),
                ),
            )
        )
    return tuple(rows)


def engine_cards(
    statuses: Iterable[ModelStatus], stats: Mapping[str, Stats], process_bytes: Mapping[int, int]
) -> tuple[EngineCard, ...]:
    """Gives a card for each model that is not simply on the disk; the troubled and the busy first."""
    order = {"failed": 0, "loading": 1, "ready": 2, "unloading": 3}
    present = sorted((status for status in statuses if status.state in order), key=lambda status: order[status.state])
    return tuple(_card(status, stats.get(status.model.id), process_bytes) for status in present)


def _card(status: ModelStatus, stats: Stats | None, process_bytes: Mapping[int, int]) -> EngineCard:
    name, word = status.model.id, model_word(status)
    if status.state == "failed":
        return EngineCard(name, word, trouble=status.failure or "no reason was given")
    if status.state == "loading":
        fill = status.progress
        return EngineCard(
            name, word, (f"{size(status.model.header.size_bytes)} to read",), fill, "" if fill is None else "loaded"
        )
    held = process_bytes.get(status.pid) if status.pid is not None else None
    lines = [f"context {context(status.context_length)} · memory {size(held)}"]
    if stats is None:
        return EngineCard(name, word, (*lines, f"running {status.running}"))
    lines.append(f"running {stats.running} · waiting {stats.waiting}")
    lines.append(f"decode {rate(stats.decode_tps)} · prefill {rate(stats.prefill_tps)} tok/s")
    fill = stats.kv_used_tokens / stats.kv_size_tokens if stats.kv_size_tokens else None
    return EngineCard(name, word, tuple(lines), fill, "" if fill is None else f"cache {percent(fill * 100)}")


def model_rows(statuses: Iterable[ModelStatus], process_bytes: Mapping[int, int]) -> tuple[Row, ...]:
    """Gives the table of models."""
    rows: list[Row] = []
    for status in statuses:
        header = status.model.header
        held = process_bytes.get(status.pid) if status.pid is not None else None
        memory = Cell(NOTHING if status.state in {"unloaded", "failed"} else size(held))
        if status.state == "loading":
            memory = Cell(bar(status.progress, MEMORY_WIDTH), "accent")
        trained = context(header.context_length)
        rows.append(
            Row(
                status.model.id,
                (
                    Cell(
                        f"{'└ ' if status.model.variant_of else ''}{status.model.id}",
                        "strong" if status.state == "ready" else "",
                    ),
                    Cell(header.format, "dim"),
                    Cell(header.quantization or NOTHING, "dim"),
                    Cell(size(header.size_bytes)),
                    Cell(context(status.context_length) if status.context_length is not None else trained),
                    Cell(*model_word(status)),
                    memory,
                    Cell(status.engine or NOTHING, "dim"),
                ),
            )
        )
    return tuple(rows)


def model_facts(status: ModelStatus) -> tuple[tuple[str, str, str], ...]:
    """Gives all that is known of a model: label, text, tone."""
    header, word = status.model.header, model_word(status)
    state = word[0]
    if status.state == "ready":
        state += f" · loaded in {duration(status.load_s)} · {status.running} running"
    if status.state == "loading" and status.progress is not None:
        state += f" {bar(status.progress, LOADING_BAR)} of {size(header.size_bytes)}"
    shape = [
        header.architecture or "architecture unknown",
        f"{parameters(header.parameters)} parameters",
        f"{header.layers} layers" if header.layers is not None else "",
        f"trained for {context(header.context_length)} tokens" if header.context_length is not None else "",
    ]
    facts = [
        ("state", state, word[1]),
        ("model", " · ".join(part for part in shape if part), ""),
        ("file", f"{status.model.path} ({size(header.size_bytes)}, from {STORES[status.model.store]})", "dim"),
    ]
    if status.decode is not None:
        facts.append(("speed", speeds(status.decode, status.prefill), "dim"))
    if status.model.variant_of is not None:
        facts.append(("copy", f"of {status.model.variant_of}, which is served better here", "dim"))
    if header.format == "echo":
        facts[1:] = [("model", "repeats what it is told; for tests and for measuring", "")]
    if status.engine is not None:
        facts.append(("engine", f"{status.engine}, process {status.pid if status.pid is not None else NOTHING}", "dim"))
    if status.failure is not None:
        facts.insert(1, ("why", status.failure, "bad"))
    if status.model.problem is not None:
        facts.insert(1, ("why", status.model.problem, "warn"))
    return tuple(facts)


def port_rows(ports: Iterable[ExtraPort]) -> tuple[Row, ...]:
    """Gives the table of further ports: where clients look by themselves first, wanted or not."""
    wanted = {extra.port: extra for extra in ports}
    rows: list[Row] = []
    for port in dict.fromkeys((*USUAL_PORTS, *wanted)):
        extra = wanted.get(port)
        word, tone = PORTS[extra.state if extra is not None else "off"]
        rows.append(
            Row(str(port), (Cell(word, tone), Cell(str(port), "" if extra else "dim"), Cell(USUAL_PORTS.get(port, ""), "dim")))
        )
    return tuple(rows)


def port_facts(ports: Iterable[ExtraPort]) -> tuple[tuple[str, str, str], ...]:
    """Gives what is to be said of further ports: who holds one, and which clients found one."""
    facts: list[tuple[str, str, str]] = []
    for extra in ports:
        if extra.problem is not None:
            facts.append((f"port {extra.port}", extra.problem, "warn"))
        if extra.clients:
            facts.append((f"port {extra.port}", f"found by {', '.join(extra.clients)}", "good"))
    return tuple(facts)


def download_rows(downloads: Iterable[Download]) -> tuple[Row, ...]:
    """Gives the table of downloads, the newest first."""
    rows: list[Row] = []
    for download in reversed(tuple(downloads)):
        word, tone = DOWNLOADS[download.state]
        share = download.done_bytes / download.total_bytes if download.total_bytes else None
        speed = download.rate_bytes_per_s if download.state == "downloading" else None
        left = None
        if speed and download.total_bytes:
            left = (download.total_bytes - download.done_bytes) / speed
        rows.append(
            Row(
                download.id,
                (
                    Cell(download.reference),
                    Cell(word, tone),
                    Cell(bar(share, DOWNLOAD_BAR), "accent"),
                    Cell(percent(share * 100) if share is not None else NOTHING),
                    Cell(size(download.total_bytes) if download.total_bytes else NOTHING),
                    Cell(f"{size(round(speed))}/s" if speed is not None else NOTHING),
                    Cell(
                        download.error or (f"{duration(left)} left" if left is not None else ""),
                        "bad" if download.error else "dim",
                    ),
                ),
            )
        )
    return tuple(rows)


def download_facts(download: Download) -> tuple[tuple[str, str, str], ...]:
    """Gives all that is known of a download: label, text, tone."""
    word, tone = DOWNLOADS[download.state]
    facts = [
        ("download", download.reference, "strong"),
        ("state", word, tone),
        ("on the disk", f"{size(download.done_bytes)} of {size(download.total_bytes)}", ""),
    ]
    if download.error is not None:
        facts.append(("error", download.error, "bad"))
    return tuple(facts)


def request_facts(record: RequestRecord) -> tuple[tuple[str, str, str], ...]:
    """Gives all that is known of a request: label, text, tone."""
    word, tone = STAGES[record.stage]
    facts = [
        ("request", record.id, "strong"),
        ("stage", word, tone),
        ("model", record.model, ""),
        ("client", f"{record.client} at {clock(record.at_epoch_s)}, by {record.route}", ""),
        ("prompt", _prompt_words(record), ""),
        ("output", f"{count(record.completion_tokens)} tokens", ""),
        ("speed", f"{rate(record.decode_tps)} tok/s", ""),
        ("first token", f"after {duration(record.ttft_s)}" if record.ttft_s is not None else NOTHING, ""),
        ("took", duration(record.ended_s - record.started_s) if record.ended_s is not None else "still running", ""),
    ]
    if record.finish_reason is not None:
        ends = {"stop": "the model came to its end", "length": "max_tokens or the context was used up"}
        facts.append(("ended", ends[record.finish_reason], ""))
    if record.error is not None:
        facts.append(("error", record.error, "bad"))
    return tuple(facts)


def _prompt_words(record: RequestRecord) -> str:
    if record.prompt_tokens is None:
        return NOTHING
    cached = f", {count(record.cached_tokens)} of them from the cache" if record.cached_tokens else ""
    return f"{count(record.prompt_tokens)} tokens{cached}"
