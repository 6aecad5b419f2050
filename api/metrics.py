"""What Prometheus scrapes: the runtime's own counters, read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ..hw.sample import Sample
from ..runtime.journal import RequestRecord
from ..runtime.runtime import Runtime
from ..runtime.scheduling.heat_governor import STATES as HEAT_STATES
from ..runtime.scheduling.memory_governor import STATES as MEMORY_STATES

_TTFT_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_DURATION_BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)


class Metrics:
    """A registry of its own; listens to the journal for what cannot be read afterwards."""

    def __init__(self, runtime: Runtime) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(RuntimeCollector(runtime))
        self._ttft_s = Histogram(
            "impetus_time_to_first_token_seconds",
            "From a request's arrival to its first token.",
            ["model"],
            buckets=_TTFT_BUCKETS_S,
            registry=self._registry,
        )
        self._duration_s = Histogram(
            "impetus_request_duration_seconds",
            "From a request's arrival to its end.",
            ["model", "outcome"],
            buckets=_DURATION_BUCKETS_S,
            registry=self._registry,
        )
        self._stop_listening: Callable[[], None] = runtime.journal.listen(self._note)

    def close(self) -> None:
        """Stops listening."""
        self._stop_listening()

    def read(self) -> bytes:
        """Gives everything in Prometheus' text format."""
        return generate_latest(self._registry)

    def _note(self, record: RequestRecord) -> None:
        if record.stage == "decode" and record.ttft_s is not None:
            self._ttft_s.labels(record.model).observe(record.ttft_s)
        elif record.ended_s is not None and record.stage != "failed":
            # A failed request may carry any name a client made up, and each name would become a series of its own.
            self._duration_s.labels(record.model, record.stage).observe(record.ended_s - record.started_s)


class RuntimeCollector(Collector):
    """Reads the runtime at scrape time; what is unknown is left out."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def collect(self) -> Iterator[Metric]:
        """Gives each family once."""
        yield from self._counters()
        yield from self._models()
        yield from self._engines()
        yield from self._governors()
        if (sample := self._runtime.monitor.latest) is not None:
            pids = {status.pid for status in self._runtime.statuses()}
            yield from _machine(sample, sum(size for pid, size in sample.process_bytes.items() if pid in pids))

    def _counters(self) -> Iterator[Metric]:
        journal = self._runtime.journal
        requests = CounterMetricFamily("impetus_requests", "Requests that ended, by outcome.", labels=["outcome"])
        for outcome in ("done", "failed", "cancelled"):
            requests.add_metric([outcome], journal.ended_by_stage.get(outcome, 0))
        yield requests
        running = sum(1 for record in journal if record.ended_s is None)
        yield GaugeMetricFamily("impetus_requests_running", "Requests that have not ended.", value=running)
        for name, text, counts in (
            ("impetus_completion_tokens", "Tokens handed out.", journal.tokens_by_model),
            ("impetus_prompt_tokens", "Tokens of prompts.", journal.prompt_tokens_by_model),
            ("impetus_draft_tokens", "Tokens guessed ahead.", journal.draft_tokens_by_model),
            ("impetus_draft_tokens_accepted", "Tokens guessed ahead and kept.", journal.accepted_tokens_by_model),
        ):
            tokens = CounterMetricFamily(name, text, labels=["model"])
            for model, count in counts.items():
                tokens.add_metric([model], count)
            yield tokens
        origins = CounterMetricFamily(
            "impetus_prefix_tokens", "Tokens of prompts, by where they came from.", labels=["model", "origin"]
        )
        for (model, origin), count in journal.prompt_tokens_by_origin.items():
            origins.add_metric([model, origin], count)
        yield origins

    def _models(self) -> Iterator[Metric]:
        statuses = self._runtime.statuses()
        yield GaugeMetricFamily("impetus_models", "Models there are.", value=len(statuses))
        loaded = [status for status in statuses if status.state == "ready"]
        yield GaugeMetricFamily("impetus_models_loaded", "Models in memory.", value=len(loaded))
        context = GaugeMetricFamily("impetus_model_context_tokens", "Context served, of loaded models.", labels=["model"])
        for status in loaded:
            if status.context_length is not None:
                context.add_metric([status.model.id], status.context_length)
        yield context

    def _engines(self) -> Iterator[Metric]:
        stats = self._runtime.engine_stats()
        for name, text, field in (
            ("impetus_engine_running", "Sequences in the engine's batch.", "running"),
            ("impetus_engine_waiting", "Sequences that wait for a place in the batch.", "waiting"),
            ("impetus_engine_kv_used_tokens", "Tokens in the KV cache.", "kv_used_tokens"),
            ("impetus_engine_kv_size_tokens", "Tokens the KV cache can hold.", "kv_size_tokens"),
            ("impetus_engine_step_milliseconds", "Mean duration of a step.", "step_ms"),
            ("impetus_engine_overhead_percent", "Share of a step outside the engine's own compute.", "overhead_percent"),
            ("impetus_engine_prefill_tokens_per_second", "Prompt tokens computed per second.", "prefill_tps"),
            ("impetus_engine_decode_tokens_per_second", "Tokens decoded per second.", "decode_tps"),
            ("impetus_engine_prefix_bytes", "Memory of computed prompts beside the KV cache.", "prefix_bytes"),
        ):
            family = GaugeMetricFamily(name, text, labels=["model"])
            for model, stat in stats.items():
                value: float | None = getattr(stat, field)
                if value is not None:
                    family.add_metric([model], value)
            yield family

    def _governors(self) -> Iterator[Metric]:
        governors = self._runtime.governors
        state = GaugeMetricFamily("impetus_governor_state", "1 for the state it is in.", labels=["governor", "state"])
        for governor, states, now in (
            ("memory", MEMORY_STATES, governors.memory.state),
            ("heat", dict.fromkeys(HEAT_STATES), governors.heat.state),
        ):
            for name in states:
                state.add_metric([governor, name], float(name == now))
        yield state
        decisions = CounterMetricFamily("impetus_governor_decisions", "Decisions, by kind.", labels=["governor", "kind"])
        for (governor, kind), count in governors.decisions.counts.items():
            decisions.add_metric([governor, kind], count)
        yield decisions
        headroom, _ = governors.heat.headroom()
        yield GaugeMetricFamily("impetus_speed_headroom", "Share of the best speed that is left, 0 to 1.", value=headroom)
        if (budget := self._runtime.budget) is not None:
            yield GaugeMetricFamily("impetus_models_memory_bytes", "What models may take together.", value=budget.models_bytes)


def _machine(sample: Sample, engine_bytes: int) -> Iterator[Metric]:
    """What the newest reading of the machine says."""
    memory = GaugeMetricFamily(
        "impetus_memory_bytes", "Memory of the machine, and what the engines hold of it.", labels=["kind"]
    )
    for kind, value in (
        ("total", sample.memory_total_bytes),
        ("used", sample.memory_used_bytes),
        ("available", sample.memory_available_bytes),
        ("engines", engine_bytes),
    ):
        if value is not None:
            memory.add_metric([kind], value)
    yield memory
    for name, text, reading in (
        ("impetus_cpu_percent", "Of all usable cores together.", sample.cpu_percent),
        ("impetus_gpu_percent", "Of the GPU.", sample.gpu_percent),
        ("impetus_temperature_celsius", "The hottest sensor of the chip.", sample.temperature_c),
        ("impetus_power_watts", "What the chip takes.", sample.power_w),
    ):
        if reading is not None:
            yield GaugeMetricFamily(name, text, value=reading)
