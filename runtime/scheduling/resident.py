"""One model's place in memory."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from ..engines.process import EngineProcess
from ..engines.supervisor import RestartBackoff
from ..frames import Ready
from ..models.model import Model, ModelState, ModelStatus
from ..tuning.wishes import NO_WISHES
from .memory_grant import Holding


class Resident:
    """One model's place in memory, from its first load on."""

    def __init__(self, model: Model, keep_alive_s: float) -> None:
        self.model = model
        self.keep_alive_s = keep_alive_s
        self.wishes = NO_WISHES
        self.expiry: asyncio.TimerHandle | None = None
        self.memory_bytes: int | None = None
        self.growth_bytes = 0
        """What one more token of context takes, beyond what was written at the load."""
        self.most_running: int | None = None
        """So many requests at once, while fewer than usual are wanted."""
        self.state: ModelState = "unloaded"
        self.engine: EngineProcess | None = None
        self.ready: Ready | None = None
        self.running = 0
        self.used_s = time.monotonic()
        self.load_s: float | None = None
        self.progress: float | None = None
        self.failure: str | None = None
        self.idle = asyncio.Event()
        self.idle.set()
        self.loading: asyncio.Task[EngineProcess] | None = None
        self.leaving: asyncio.Task[None] | None = None
        self.restart: asyncio.Task[None] | None = None
        self.backoff = RestartBackoff()

    @property
    def unload_at_s(self) -> float | None:
        """When it leaves memory if nobody uses it from now on; None where it stays, or is not there."""
        if self.state != "ready" or math.isinf(self.keep_alive_s):
            return None
        return (time.monotonic() if self.running else self.used_s) + self.keep_alive_s

    def note_use(self, on_expiry: Callable[[], None] | None) -> None:
        """Notes that the model is used, and begins to wait for the end of its time where nothing runs in it.

        Args:
            on_expiry: called when it was unused for that long; None waits no more.
        """
        self.used_s = time.monotonic()
        if self.expiry is not None:
            self.expiry.cancel()
            self.expiry = None
        if on_expiry is not None and not self.running and self.state == "ready" and not math.isinf(self.keep_alive_s):
            self.expiry = asyncio.get_running_loop().call_later(self.keep_alive_s, on_expiry)

    @property
    def status(self) -> ModelStatus:
        """A frozen picture of now."""
        return ModelStatus(
            model=self.model,
            state=self.state,
            pid=self.engine.pid if self.engine is not None else None,
            context_length=self.ready.context_length if self.ready is not None else None,
            engine=self.ready.engine if self.ready is not None else None,
            tools=self.ready.tools if self.ready is not None else None,
            thinks=self.ready is not None and self.ready.thinks,
            load_s=self.load_s,
            progress=self.progress,
            running=self.running,
            memory_bytes=self.memory_bytes if self.ready is not None else None,
            unload_at_s=self.unload_at_s,
            failure=self.failure,
        )

    def holding(self, *, pinned: bool) -> Holding:
        """How it stands in the account of the memory."""
        leaving = self.leaving is not None
        return Holding(self.model.id, self.memory_bytes or 0, not self.running, pinned, leaving, self.used_s)
