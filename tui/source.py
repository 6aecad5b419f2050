"""What the dashboard needs of the runtime and of the server; both fit without knowing it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from ..hw.profile import CapabilityProfile
from ..hw.sample import Sample
from ..runtime.config import Config, TomlValue
from ..runtime.events import Event
from ..runtime.frames import Stats
from ..runtime.home import Home
from ..runtime.journal import Journal, RequestRecord
from ..runtime.logbook import LogBook
from ..runtime.models.model import ModelStatus
from ..runtime.models.recommended import Task
from ..runtime.request import GenerateRequest
from ..runtime.scheduling.decisions import Decision, GovernorStatus
from ..runtime.tuning.load_plan import Choice
from ..runtime.tuning.recommend import Recommendations

Remover = Callable[[], None]
"""Ends what a `listen` began."""


class History(Protocol):
    """One quantity over the last minutes."""

    def points(self, width: int, *, window_s: float | None = None) -> Sequence[float | None]:
        """Gives at most so many values of the last `window_s` seconds, oldest first."""
        ...


class Readings(Protocol):
    """What the machine monitor tells."""

    @property
    def latest(self) -> Sample | None:
        """The newest reading."""
        ...

    @property
    def series(self) -> Mapping[str, History]:
        """By name: "cpu_percent", "gpu_percent", "memory_used_bytes", "temperature_c", "power_w"."""
        ...

    def listen(self, listener: Callable[[Sample], None]) -> Remover:
        """Adds a listener; it is called in the monitor's thread."""
        ...


class Rates(Protocol):
    """Tokens per second of each model."""

    @property
    def window_s(self) -> int:
        """How far back the rates go."""
        ...

    def rates(self, model: str) -> Sequence[float]:
        """Gives one value a second, oldest first."""
        ...

    def models(self) -> Sequence[str]:
        """All models with rates."""
        ...

    def total(self) -> float:
        """All models in the last complete second."""
        ...


class HubModel(Protocol):
    """One repository a search on the Hub found."""

    @property
    def repo(self) -> str:
        """As "owner/name"."""
        ...

    @property
    def downloads(self) -> int | None:
        """In the last month."""
        ...

    @property
    def likes(self) -> int | None:
        """How many people marked it."""
        ...

    @property
    def quantizations(self) -> Sequence[str]:
        """Which ones it offers, as far as the names of its files tell."""
        ...

    @property
    def formats(self) -> Sequence[str]:
        """Which formats it has models in, the one that is served best here first."""
        ...

    @property
    def gated(self) -> bool:
        """Whether its owner wants something accepted first."""
        ...


class HubFile(Protocol):
    """One model of a repository that can be pulled: a file, a set of shards, or what a folder needs in one format."""

    @property
    def name(self) -> str:
        """Its path in the repository."""
        ...

    @property
    def size_bytes(self) -> int | None:
        """Of all its files together."""
        ...

    @property
    def quantization(self) -> str | None:
        """As "Q4_K_M"."""
        ...

    @property
    def format(self) -> str:
        """As "gguf" or "safetensors"."""
        ...


class Download(Protocol):
    """One download, whatever became of it."""

    @property
    def id(self) -> str:
        """Names it to `cancel_download`."""
        ...

    @property
    def reference(self) -> str:
        """What was asked for."""
        ...

    @property
    def total_bytes(self) -> int | None:
        """None until it is known."""
        ...

    @property
    def done_bytes(self) -> int:
        """Bytes on the disk so far."""
        ...

    @property
    def rate_bytes_per_s(self) -> float | None:
        """Over the last seconds."""
        ...

    @property
    def state(self) -> Literal["queued", "checking", "downloading", "done", "failed", "cancelled"]:
        """Where it stands."""
        ...

    @property
    def error(self) -> str | None:
        """Why it failed."""
        ...


class DecisionLog(Protocol):
    """What governors decided."""

    def newest(self, count: int) -> Sequence[Decision]:
        """Gives so many decisions, the newest first."""
        ...


class Governing(Protocol):
    """What is done about memory and heat."""

    @property
    def decisions(self) -> DecisionLog:
        """What was decided."""
        ...

    def statuses(self) -> Sequence[GovernorStatus]:
        """What each governor does now, and why."""
        ...


class Source(Protocol):
    """The runtime as the dashboard sees it."""

    @property
    def governors(self) -> Governing:
        """What is done about memory and heat."""
        ...

    @property
    def config(self) -> Config:
        """The settings that hold now."""
        ...

    @property
    def config_path(self) -> Path:
        """Where changed settings are written."""
        ...

    @property
    def home(self) -> Home:
        """The folders of this installation."""
        ...

    @property
    def profile(self) -> CapabilityProfile | None:
        """None until the machine has been looked at."""
        ...

    @property
    def monitor(self) -> Readings:
        """How hard the machine works."""
        ...

    @property
    def journal(self) -> Journal:
        """The requests."""
        ...

    @property
    def logbook(self) -> LogBook:
        """The log."""
        ...

    @property
    def throughput(self) -> Rates:
        """The speed of the models."""
        ...

    def statuses(self) -> Sequence[ModelStatus]:
        """All known models, by id."""
        ...

    def plan_of(self, model_id: str) -> Sequence[Choice]:
        """How a model would be held, decision by decision."""
        ...

    def engine_stats(self) -> Mapping[str, Stats]:
        """What loaded engines last said of themselves, by model id."""
        ...

    def listen(self, listener: Callable[[], None]) -> Remover:
        """Adds a listener to models, engines and downloads; it is called in the loop."""
        ...

    async def rescan(self) -> None:
        """Looks for models again."""
        ...

    async def load(self, model_id: str) -> None:
        """Loads a model; raises LoadFailed, UnservableModel, UnknownModel or Overloaded."""
        ...

    async def unload(self, model_id: str) -> None:
        """Unloads a model."""
        ...

    async def switch(self, model_id: str) -> None:
        """Unloads all others and loads this one."""
        ...

    def generate(self, request: GenerateRequest, record: RequestRecord) -> AsyncGenerator[list[Event], None]:
        """Runs one request; closing the generator cancels it."""
        ...

    async def recommend(self, task: Task | None = None, search: str | None = None) -> Recommendations:
        """Says which models suit this machine, which of them are here, and what another Mac would bring.

        Asks the internet only for a search; raises DownloadError.
        """
        ...

    async def search_hub(self, query: str, *, limit: int = 30) -> Sequence[HubModel]:
        """Searches the Hub; raises DownloadError."""
        ...

    async def hub_files(self, repo: str) -> Sequence[HubFile]:
        """Lists what can be pulled from a repository; raises DownloadError."""
        ...

    def pull(self, reference: str) -> Download:
        """Begins a download; raises DownloadError."""
        ...

    def downloads(self) -> Sequence[Download]:
        """All downloads of this run, oldest first."""
        ...

    def cancel_download(self, download_id: str) -> None:
        """Ends a download; what is there stays for another try."""
        ...

    def write_setting(self, section: str, key: str, value: TomlValue) -> None:
        """Changes a setting, also in the file; raises ConfigError."""
        ...


class ExtraPort(Protocol):
    """A further port of the server."""

    @property
    def port(self) -> int:
        """Its number."""
        ...

    @property
    def state(self) -> Literal["listening", "waiting", "off"]:
        """Where it stands; `waiting` is that another program holds it."""
        ...

    @property
    def problem(self) -> str | None:
        """Who holds it."""
        ...

    @property
    def clients(self) -> Sequence[str]:
        """Who came to it, in the order of their first requests."""
        ...


class Endpoint(Protocol):
    """The server as the dashboard sees it."""

    @property
    def url(self) -> str | None:
        """Where it answers; None while it does not."""
        ...

    @property
    def state(self) -> Literal["starting", "serving", "failed", "stopped"]:
        """Where it stands."""
        ...

    @property
    def problem(self) -> str | None:
        """Why it failed."""
        ...

    def listen(self, listener: Callable[[], None]) -> Remover:
        """Adds a listener to its state and its further ports; it is called in the loop."""
        ...

    def extra_ports(self) -> Sequence[ExtraPort]:
        """The further ports that are wanted."""
        ...

    async def also_listen(self, port: int, *, on: bool) -> None:
        """Begins to listen on a further port, or lets go of it; raises InvalidRequest."""
        ...
