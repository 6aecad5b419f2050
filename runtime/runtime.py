"""The runtime: opens, owns and closes everything below, and is all that API and dashboard hold."""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from ..hw.detector import HardwareDetector
from ..hw.monitor import Monitor
from ..hw.override import to_override
from ..hw.probes.probe import Probe
from ..hw.profile import CapabilityProfile
from .abilities import ability_for, check_ability
from .config import AliasConfig, Config, TomlValue, write_setting
from .counting import count_batch
from .engines.choice import SLOWEST_FIRST, EngineName, choose_engine, rank_format
from .errors import ImpetusError, UnknownModel
from .events import Event, PrefixReport
from .frames import Stats
from .home import Home
from .journal import Journal, RequestRecord
from .logbook import LogBook
from .made_aliases import FILE_NAME as MADE_ALIASES
from .made_aliases import MadeAlias, MadeAliases
from .meant import find_meant, first_model, takes_common_names
from .models import files
from .models.adapter import AdapterFile
from .models.download import Download, Downloads
from .models.hub import Hub, HubModel
from .models.model import Model, ModelStatus
from .models.offer import HubFile
from .models.registry import Registry
from .naming import Names, is_common
from .planner import Planner
from .questions import AnswerKind, Embedded, Question, Ranked
from .recommending import recommend_models
from .request import GenerateRequest
from .scheduling.choices import generate_choices
from .scheduling.governing import Governing
from .scheduling.governor import Governor
from .scheduling.governors import Governors
from .scheduling.longer_context import LongerContext
from .scheduling.memory_grant import MemoryNow
from .scheduling.prompt_gate import PromptGate
from .scheduling.repeats import repeat_after_crash
from .scheduling.residency import Residency
from .scheduling.scheduler import Scheduler
from .tasks import Tasks
from .throughput import Throughput
from .tuning.load_plan import Choice, computes_on_gpu
from .tuning.measured import FILE_NAME as SPEEDS
from .tuning.measured import SpeedBook
from .tuning.measured_watch import SpeedWatch
from .tuning.memory_budget import MemoryBudget
from .tuning.speeds import KnownSpeeds
from .tuning.wishes import LoadWishes

if TYPE_CHECKING:
    from .models.recommended import Task
    from .tuning.recommend import Recommendations

log = logging.getLogger(__name__)


class Runtime:
    """Serves models: an async context manager whose parts live exactly as long as it does."""

    def __init__(
        self,
        config: Config,
        *,
        home: Home,
        config_path: Path,
        registry: Registry,
        models_dir: Path,
        probe: Probe,
        memory_probe: Probe,
        logbook: LogBook,
        environment: Mapping[str, str],
    ) -> None:
        """Puts the parts together without touching disk, network or machine.

        Args:
            config: the settings that hold.
            home: where things are written.
            config_path: the file that changed settings are written to.
            registry: finds the models.
            models_dir: where downloads go.
            probe: reads the machine once a second.
            memory_probe: reads the memory when a model is loaded; another one, as a probe measures from look to look.
            logbook: keeps the log's newest lines.
            environment: of the engines' processes, whole.
        """
        self.config = config
        self.config_path = config_path
        self.home = home
        self.logbook = logbook
        self.journal = Journal()
        self.throughput = Throughput()
        self.profile: CapabilityProfile | None = None
        """What the machine is; None until it has been read."""
        self.monitor = Monitor(probe)
        self.governors = Governors(config)
        """What is done about memory and heat, and why."""
        self._probe = probe
        self._memory_probe = memory_probe
        self._registry = registry
        self._names = Names(registry, config.aliases, MadeAliases(home.state_dir / MADE_ALIASES))
        self._planner = Planner(config, home, self._names)
        self._models_dir = models_dir
        self._models: tuple[Model, ...] = ()
        self._listeners: list[Callable[[], None]] = []
        self._scheduler = Scheduler(max_inside=config.scheduler.max_queue + config.engine.max_sequences)
        self._residency = Residency(
            plan=self._planner.plan,
            governor=Governor(
                read_memory=self._read_memory,
                decisions=self.governors.decisions,
                budget=lambda: self._planner.budget,
                state=lambda: self.governors.memory.state,
            ),
            environment=environment,
            max_loaded=config.models.max_loaded,
            load_timeout_s=config.engine.load_timeout_s,
            on_change=self._changed,
            next_engines=self._next_engines,
            keep_alive_s=config.models.idle_unload_s or math.inf,
            choose=partial(choose_engine, prefer=config.engine.prefer),
            pinned=lambda: self._names.find_ids(self.config.models.pinned),
        )
        self._longer = LongerContext(self._planner, self._residency)
        self._governing = Governing(self.governors, self._residency, self.monitor)
        self._speeds = KnownSpeeds(
            SpeedBook(home.state_dir / SPEEDS),
            profile=lambda: self.profile,
            choose_engine=self._planner.name_engine,
            sample=lambda: self.monitor.latest,
        )
        endpoint, rank = config.hub.endpoint or None, partial(rank_format, prefer=config.engine.prefer)
        self._hub = Hub(endpoint=endpoint, rank=rank)
        self._downloads = Downloads(models_dir, endpoint=endpoint, on_change=self._download_changed, rank=rank)
        self._finished_downloads: set[str] = set()
        self._stack = AsyncExitStack()
        self._tasks = Tasks()
        self._one_scan = asyncio.Lock()
        self.scanned = asyncio.Event()
        """Set once the models on the disk are known."""

    async def __aenter__(self) -> Self:
        """Starts reading the machine and the disk; both go on in the background."""
        self._stack.push_async_callback(self._residency.close)
        self._stack.push_async_callback(asyncio.to_thread, self.monitor.stop)
        await self._stack.enter_async_context(self._downloads)
        self._stack.callback(self._governing.close)
        self._governing.open()
        await self._stack.enter_async_context(SpeedWatch(self._speeds, self.journal, self._find_status))
        self.monitor.start()
        self._tasks.begin(self._start(), name="start")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Ends every engine, download and thread."""
        await self._tasks.close()
        await self._stack.aclose()

    def statuses(self) -> tuple[ModelStatus, ...]:
        """Every known model, what is done with it and how fast it is, sorted by id."""
        return self._speeds.add_to(self._statuses())

    def _statuses(self) -> tuple[ModelStatus, ...]:
        return tuple(
            replace(
                self._residency.status(model),
                planned_context_length=plan.options.context_length if (plan := self._planner.plans.get(model.id)) else None,
            )
            for model in self._models
        )

    def resolve(self, model: str) -> Model:
        """Finds the model that a name stands for in requests; raises UnknownModel, with those there are.

        Ids and aliases win; then a name that clients use for any model may stand for the one that is meant.
        """
        try:
            return self._names.resolve(model)
        except UnknownModel:
            takes = is_common(model) and takes_common_names(self.config)
            meant = find_meant(self.config, self._statuses(), self._names.resolve) if takes else None
            if meant is None:
                raise
            return meant

    def aliases(self) -> dict[str, Model]:
        """The settings' further names for models, as far as these are on the disk."""
        return self._names.aliases()

    def stands_for(self, name: str) -> AliasConfig | None:
        """Says what an alias is, of the settings or made by a client; None where the name is none."""
        return self._names.stands_for(name)

    async def make_alias(self, name: str, alias: MadeAlias) -> None:
        """Gives a model a further name, for good.

        Raises:
            UnknownModel: there is no such model.
            InvalidRequest: the name is taken by a model, or by the settings.
            ConfigError: it cannot be written down.
        """
        await self.scanned.wait()
        self.resolve(alias.model)
        await self._names.make(name, alias)
        self._changed()

    async def drop(self, name: str) -> None:
        """Takes back a name that a client made, or removes a model from our own folder and from memory.

        Raises:
            UnknownModel: there is no such name.
            InvalidRequest: it is of the settings, or of a store that is not ours.
        """
        await self.scanned.wait()
        if await self._names.take_back(name):
            self._changed()
            return
        model = self.resolve(name)
        files.check_removable(model, self._models_dir)
        await self._residency.unload(model.id)
        await asyncio.to_thread(files.remove, model, self._models_dir)
        await self.rescan()

    def has_gpu(self) -> bool:
        """Whether models are computed on a GPU."""
        return computes_on_gpu(self.profile, self.config.engine)

    def plan_of(self, model_id: str) -> Sequence[Choice]:
        """How a model would be held, decision by decision; empty where it cannot be served."""
        plan = self._planner.plans.get(model_id)
        return () if plan is None else plan.choices

    @property
    def budget(self) -> MemoryBudget | None:
        """How the memory is divided between models, Impetus and the system; None where it is unknown."""
        return self._planner.budget

    def adapters(self) -> tuple[AdapterFile, ...]:
        """The LoRA adapters on the disk, by number."""
        return self._names.adapters

    def engine_stats(self) -> Mapping[str, Stats]:
        """The newest report of each loaded engine, by model id."""
        return self._residency.stats()

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Adds a listener for changes of models, engines and downloads; gives the function that removes it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def rescan(self) -> None:
        """Looks again at what lies on the disk."""
        # One after the other: a scan changes what the registry knows, and the last one is to have the last word.
        async with self._one_scan:
            self._models = await asyncio.to_thread(self._registry.scan)
            await asyncio.to_thread(self._planner.plan_all, self._models)
        self.scanned.set()
        self._residency.review_standby()
        self._changed()

    async def load(self, model_id: str, wishes: LoadWishes | None = None) -> None:
        """Brings a model into memory, as it is wanted; raises UnknownModel, UnservableModel, LoadFailed or Overloaded."""
        await self.scanned.wait()
        await self._residency.load(self._names.resolve(model_id), wishes)

    def keep(self, model_id: str, keep_alive_s: float) -> None:
        """Says how long a loaded model stays in memory unused; infinity is for good. Raises UnknownModel."""
        self._residency.keep(self.resolve(model_id), keep_alive_s)

    async def unload(self, model_id: str) -> None:
        """Takes a model out of memory; raises UnknownModel."""
        await self._residency.unload(self._names.resolve(model_id).id)

    async def switch(self, model_id: str) -> None:
        """Unloads every other model and loads this one; raises as `load` does."""
        await self.scanned.wait()
        await self._residency.switch(self._names.resolve(model_id))

    async def generate(self, request: GenerateRequest, record: RequestRecord) -> AsyncGenerator[list[Event], None]:
        """Runs one request; the model is loaded first if need be. Closing the generator cancels the request.

        Args:
            request: what is asked.
            record: its open journal record; this moves it through all stages to its end.

        Yields:
            What arrived since the reader last looked, in the order `events.py` states.

        Raises:
            InvalidRequest, Overloaded, EngineError: as their docstrings say; at any point.
        """
        with self.journal.ending(record):
            await self.scanned.wait()
            model = self.resolve(request.model)
            record.model = model.id
            check_ability(model, "text", self._models)
            adapters = self._names.choose_adapters(request.model, model, request.lora)
            if adapters or request.lora is not None:
                request = msgspec.structs.replace(request, adapters=adapters, lora=None)
            with self._scheduler.admit():
                begin = partial(repeat_after_crash, partial(self._generate, request, record, model))
                async with aclosing(self._longer.run(begin, request, model)) as batches:
                    async for batch in batches:
                        yield batch

    async def _generate(
        self, request: GenerateRequest, record: RequestRecord, model: Model
    ) -> AsyncGenerator[list[Event], None]:
        """Runs one request in its model."""
        if self._residency.status(model).state != "ready":
            self.journal.move(record, "loading")
        loads, keep_alive_s = self.config.models.load_on_request, request.keep_alive_s
        async with self._residency.use(model, load=loads, keep_alive_s=keep_alive_s) as (engine, context_length):
            self.journal.note_load(record)
            gate = PromptGate(self.governors, model.id, self._residency.growth_bytes(model))

            def note_prefix(report: PrefixReport) -> None:
                self.journal.note_prefix(record, report)
                gate.note_prefix(report)

            choices = generate_choices(engine, request, model=model.id, context_length=context_length, on_prefix=note_prefix)
            counted = [0] * request.n
            async with aclosing(gate.guard(choices)) as batches:
                async for batch in batches:
                    count_batch(self.journal, self.throughput, record, batch, counted)
                    yield batch

    async def ask(
        self,
        model: str,
        question: Question,
        kind: type[AnswerKind],
        record: RequestRecord,
        *,
        keep_alive_s: float | None = None,
    ) -> AnswerKind:
        """Asks a model a question; the model is loaded first if need be. A cancellation ends the work on the answer.

        Args:
            model: its name.
            question: what is asked.
            kind: what the answer is, as `Embedded` for `Embed`.
            record: its open journal record; this moves it through all stages to its end.
            keep_alive_s: how long the model stays in memory unused afterwards; None leaves that as it is.

        Raises:
            InvalidRequest, Overloaded, EngineError: as their docstrings say.
        """
        with self.journal.ending(record):
            await self.scanned.wait()
            resolved = self.resolve(model)
            record.model = resolved.id
            if (ability := ability_for(question)) is not None:
                check_ability(resolved, ability, self._models)
            with self._scheduler.admit():
                if self._residency.status(resolved).state != "ready":
                    self.journal.move(record, "loading")
                loads = self.config.models.load_on_request
                async with self._residency.use(resolved, load=loads, keep_alive_s=keep_alive_s) as (engine, _):
                    self.journal.note_load(record)
                    self.journal.move(record, "prefill")
                    answer = await engine.ask(question, kind)
            if isinstance(answer, (Embedded, Ranked)):
                self.journal.count_prompt(record, answer.prompt_tokens)
            return answer

    async def recommend(self, task: Task | None = None, search: str | None = None) -> Recommendations:
        """Says which models suit this machine: of the shipped list, or found on the Hub for a search (DownloadError)."""
        percent = self.config.memory.models_percent
        return await recommend_models(self._hub, self._models, self.profile, task, search, models_percent=percent)

    async def search_hub(self, query: str, *, limit: int = 30) -> list[HubModel]:
        """Searches the Hub; needs the internet. Raises DownloadError."""
        return await self._hub.search(query, limit=limit)

    async def hub_files(self, repo: str) -> list[HubFile]:
        """Lists what a repository on the Hub holds; needs the internet. Raises DownloadError."""
        return await self._hub.files(repo)

    def pull(self, reference: str) -> Download:
        """Starts to download `owner/repo[:quantization, format or file]`; needs the internet."""
        return self._downloads.pull(reference)

    def downloads(self) -> tuple[Download, ...]:
        """Every download of this session, oldest first."""
        return self._downloads.all()

    def find_download(self, download_id: str) -> Download | None:
        """Gives a download as it stands now; None where there is none by this id."""
        return self._downloads.get(download_id)

    def cancel_download(self, download_id: str) -> None:
        """Ends a download; what came so far is kept for the next try."""
        self._downloads.cancel(download_id)

    def write_setting(self, section: str, key: str, value: TomlValue) -> None:
        """Changes one setting in the settings file and here; blocks. Raises ConfigError."""
        self.config = self._planner.config = write_setting(self.config_path, section, key, value)

    async def _start(self) -> None:
        await asyncio.to_thread(self._names.read_made)
        detector = HardwareDetector(self._probe, to_override(self.config.hardware.stated()))
        self.profile, _ = await asyncio.gather(asyncio.to_thread(detector.detect), self.rescan())
        self._planner.profile = self.profile
        self.governors.heat.gpu_computes = self.has_gpu()
        async with self._one_scan:
            await asyncio.to_thread(self._planner.plan_all, self._models)
        self._changed()
        model_id = first_model(self.config, self._models) if self.config.models.load_at_start else None
        if model_id is not None:
            try:
                await self.load(model_id)
            except ImpetusError as error:
                log.error("%s", error.message)

    def _next_engines(self) -> list[EngineName]:
        """The engines of models that are not in memory; none where nothing is to stand by."""
        if not self.config.engine.standby:
            return []
        idle = [status.model for status in self._statuses() if status.state in {"unloaded", "failed"}]
        engines = {choose_engine(model.header, self.config.engine.prefer).engine for model in idle}
        # What takes longest to import comes first; models that do no work come last.
        return [engine for engine in SLOWEST_FIRST if engine in engines]

    def _read_memory(self) -> MemoryNow:
        sample = self._memory_probe.read_sample((os.getpid(), *self._residency.pids()))
        return MemoryNow(
            sample.memory_total_bytes,
            sample.memory_available_bytes,
            sample.memory_used_bytes,
            sum(sample.process_bytes.values()),
        )

    def _find_status(self, model_id: str) -> ModelStatus | None:
        return next((self._residency.status(model) for model in self._models if model.id == model_id), None)

    def _changed(self) -> None:
        self.monitor.watch((os.getpid(), *self._residency.pids()))
        for listener in tuple(self._listeners):
            listener()

    def _download_changed(self) -> None:
        """Makes a finished download a model."""
        for download in self._downloads.all():
            if download.state == "done" and download.id not in self._finished_downloads:
                self._finished_downloads.add(download.id)
                self._tasks.begin(self.rescan(), name="rescan after a download")
        self._changed()
