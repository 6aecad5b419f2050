"""A model as it lies on the disk, and as it stands in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..formats.header import Header

StoreName = Literal["impetus", "huggingface", "starter", "builtin"]
ModelState = Literal["unloaded", "loading", "ready", "unloading", "failed"]


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens per second, with the range it is expected in."""

    tps: float
    low_tps: float
    high_tps: float
    source: Literal["predicted", "measured"] = "predicted"
    """`measured`: of runs on this machine; the range is empty then."""

    @classmethod
    def measured(cls, tps: float) -> Speed:
        """A speed that runs here had."""
        return cls(tps, tps, tps, "measured")


@dataclass(frozen=True, slots=True)
class Projector:
    """A file beside a model that turns pictures into what the model takes."""

    path: Path
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Model:
    """One model that can be named in a request."""

    id: str
    """Keeps the family's name, as clients guess abilities from it: "SmolLM2-135M-Instruct-Q4_1"."""
    path: Path
    """The file or folder an engine opens; for `echo` it names nothing."""
    store: StoreName
    header: Header
    problem: str | None = None
    """Why it cannot be served here, in words for the user; None where it can."""
    projector: Projector | None = None
    """None where it takes no pictures."""
    repo: str | None = None
    """"owner/repo" on the Hub, where its place on the disk says so."""
    variant_of: str | None = None
    """The id of the same model in a form that is served better here; None for the best one, and the only one."""


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A model and what the runtime does with it now."""

    model: Model
    state: ModelState = "unloaded"
    pid: int | None = None
    """The engine's process."""
    context_length: int | None = None
    """As served; None while it is not loaded."""
    engine: str | None = None
    """Name and version of what runs it."""
    load_s: float | None = None
    progress: float | None = None
    """0..1 while it loads, where the engine tells."""
    running: int = 0
    """Requests in it now."""
    memory_bytes: int | None = None
    """What it was granted when it was loaded; None while it is not."""
    unload_at_s: float | None = None
    """When it leaves memory if nobody uses it, by time.monotonic(); None where it stays, or is not there."""
    failure: str | None = None
    """Why it is `failed`."""
    tools: Literal["native", "generic"] | None = None
    """How tools are described to it, while it is loaded: by its own template, or in the system message."""
    thinks: bool = False
    """Whether it is known to think before it answers, while it is loaded."""
    planned_context_length: int | None = None
    """What it would be loaded with now; None where nobody planned it."""

    decode: Speed | None = None
    """How fast it writes, measured or predicted; None where neither can be told."""
    prefill: Speed | None = None
    """The same of reading a prompt."""

    @property
    def served_context_length(self) -> int | None:
        """The most tokens of prompt and answer together: what is served, else what will be; the one number told to clients."""
        return self.context_length or self.planned_context_length or self.model.header.context_length
