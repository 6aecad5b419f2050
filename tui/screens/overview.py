"""The first pane: what the machine, the models and the requests do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import ClassVar

from textual import getters
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container

from ..governor_views import active_facts
from ..intents import ExplainIntent, GovernorsIntent, MachineIntent
from ..memory import split_memory
from ..source import Endpoint, Source
from ..views import cpu_level, engine_cards, gpu_level, pressure_level, request_rows, thermal_level
from ..widgets.chart import MAX_CURVES, Chart, Trace
from ..widgets.engines import EngineCards
from ..widgets.facts import Facts
from ..widgets.gauge import Gauge
from ..widgets.memory_bar import MemoryBar
from ..widgets.table import Column, Table
from ..widgets.welcome import Welcome
from .pane import Pane

SHOWN_REQUESTS = 100
DRAW_EVERY = 2
"""The plot is drawn at every so manieth change of the rates, which come once a second."""

COLUMNS = (
    Column("Time", 8),
    Column("Client", 14, from_width=104),
    Column("Model", 0),
    Column("Stage", 11),
    Column("Prompt", 7, right=True),
    Column("Cached", 6, right=True, from_width=92),
    Column("Output", 7, right=True),
    Column("tok/s", 7, right=True),
    Column("1st token", 9, right=True, from_width=84),
)


class OverviewPane(Pane):
    """Memory, gauges, throughput, engines, requests."""

    TITLE = "Overview"
    FOCUS = "#requests"
    HELP: ClassVar[str | None] = """\
Everything at a glance: who holds the memory, how hard the machine works, how many tokens per second each model gives, \
and the newest requests. ↑ and ↓ walk through the requests; Enter shows all of one, its error too. \
"Cached" is how much of a prompt was not computed again; Explain says why it was not more. While memory is short or \
the machine is hot, a line says what is done about it; w tells more. i tells what the machine is."""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "explain", "Explain", id="requests.explain", tooltip="Say where the request's prompt came from"),
        Binding(
            "w",
            "governors",
            "Governors",
            id="overview.governors",
            show=False,
            tooltip="Say what is done about memory and heat, and why",
        ),
        Binding(
            "i",
            "machine",
            "Machine",
            id="overview.machine",
            show=False,
            tooltip="Say what this machine is, and where each fact comes from",
        ),
    ]

    memory = getters.query_one("#memory", MemoryBar)
    chart = getters.query_one("#throughput", Chart)
    engines = getters.query_one("#engines", EngineCards)
    governors = getters.query_one("#governors", Facts)
    requests = getters.query_one("#requests", Table)
    welcome = getters.query_one("#welcome", Welcome)

    def __init__(self, source: Source, endpoint: Endpoint, *, id: str) -> None:  # noqa: A002
        super().__init__(source, endpoint, id=id)
        self._seconds = 0

    def compose(self) -> ComposeResult:
        """Puts the panels in their places; the stylesheet decides on sizes."""
        yield MemoryBar(id="memory")
        with Container(id="gauges"):
            for name in ("cpu", "gpu", "thermal", "pressure"):
                yield Gauge(id=name, classes="panel")
        yield Facts(id="governors")
        yield Welcome(id="welcome")
        with Container(id="activity"):
            yield Chart(id="throughput")
            yield EngineCards(id="engines")
        yield Table(COLUMNS, id="requests", hint="No request yet. Point a client at the address above, or press 4 to chat.")

    def on_mount(self) -> None:
        """Writes the panels' titles."""
        titles = {"cpu": "CPU", "gpu": "GPU", "thermal": "Thermal", "pressure": "Memory pressure"}
        for name, title in titles.items():
            self.query_one(f"#{name}", Gauge).write_title(title)
        self.memory.write_title("Memory")
        self.chart.write_title("Throughput · tokens per second")
        self.engines.write_title("Engines")
        self.governors.write_title("Governors · w tells more")
        self.engines.hint = (
            "No model is in memory. Press 2 for the models, then l to load one. A request for a model loads it too."
        )
        self.requests.write_title("Requests")

    def show_all(self) -> None:
        """Brings everything up to date, the plot too."""
        self._seconds = 0
        super().show_all()

    def sample_changed(self) -> None:
        """Sets the gauges and the memory."""
        source = self.source
        sample, series, profile = source.monitor.latest, source.monitor.series, source.profile
        self.query_one("#cpu", Gauge).level = cpu_level(sample, series, profile)
        self.query_one("#gpu", Gauge).level = gpu_level(sample, series, profile)
        self.query_one("#thermal", Gauge).level = thermal_level(sample, series)
        self.query_one("#pressure", Gauge).level = pressure_level(sample, series)
        pids = [status.pid for status in source.statuses() if status.pid is not None]
        self.memory.split = split_memory(sample, engine_pids=pids, app_pid=os.getpid())
        facts = active_facts(source.governors.statuses())
        self.governors.facts = facts
        self.set_class(bool(facts), "-governed")

    def models_changed(self) -> None:
        """Sets the engines' cards, or greets who has no model yet."""
        statuses = self.source.statuses()
        self.set_class(not statuses, "-empty")
        self.engines.cards = engine_cards(statuses, self.source.engine_stats(), self._process_bytes())
        loaded = any(status.state == "ready" for status in statuses)
        self.chart.hint = "No tokens in the last minutes" if loaded else "No model is loaded"

    def requests_changed(self) -> None:
        """Sets the table."""
        records = self.source.journal.newest(SHOWN_REQUESTS)
        self.requests.rows = request_rows(records)
        running = sum(record.stage in {"prefill", "decode"} for record in records)
        waiting = sum(record.stage in {"queued", "loading"} for record in records)
        self.requests.write_subtitle(f"{running} running · {waiting} waiting · Enter shows one" if records else "")

    def rates_changed(self) -> None:
        """Sets the engines' cards each second, the curves less often, as drawing them costs most."""
        rates = self.source.throughput
        if self._seconds % DRAW_EVERY == 0:
            curves = [Trace(model, tuple(rates.rates(model))) for model in rates.models()]
            alive = sorted((curve for curve in curves if any(curve.rates)), key=lambda curve: -sum(curve.rates[-10:]))
            kept = {curve.name for curve in alive[:MAX_CURVES]}
            self.chart.traces = tuple(curve for curve in curves if curve.name in kept)
        self._seconds += 1
        if self.engines.cards:
            self.engines.cards = engine_cards(self.source.statuses(), self.source.engine_stats(), self._process_bytes())

    def action_explain(self) -> None:
        """Asks the app to say where the prompt under the cursor came from."""
        if self.requests.cursor is not None:
            self.post_message(ExplainIntent(self.requests.cursor))

    def action_governors(self) -> None:
        """Asks the app to say what is done about memory and heat."""
        self.post_message(GovernorsIntent())

    def action_machine(self) -> None:
        """Asks the app to say what this machine is."""
        self.post_message(MachineIntent())

    def _process_bytes(self) -> Mapping[int, int]:
        sample = self.source.monitor.latest
        return {} if sample is None else sample.process_bytes
