"""Measures one model: load, first tokens, prefill and decode at several depths, and several streams at once."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Protocol

from ...hw.monitor import Monitor
from ...hw.profile import CapabilityProfile
from ...hw.sample import Sample
from ..errors import InvalidRequest
from ..events import Event, Finished
from ..journal import Journal, RequestRecord
from ..models.model import ModelStatus
from ..request import GenerateRequest, Sampling, TextPrompt
from .bench_result import BenchPoint, BenchResult, BenchStreams, MachineState, find_flags, find_load, to_state
from .calibrate import Sustained, calibrate

LOAD_S: Final = 600.0
REQUEST_S: Final = 900.0
_TEXT: Final = "the river carries small boats past old mills where people trade grain salt cloth and news from far towns"
_ROOM: Final = 16
"""Tokens of a context that a prompt's estimate may be off by."""


class BenchRuntime(Protocol):
    """What a benchmark needs of a runtime."""

    journal: Journal
    monitor: Monitor
    profile: CapabilityProfile | None

    def statuses(self) -> Sequence[ModelStatus]:
        """Gives all models."""
        ...

    async def load(self, model_id: str) -> None:
        """Brings a model into memory."""
        ...

    async def unload(self, model_id: str) -> None:
        """Takes it out."""
        ...

    def generate(self, request: GenerateRequest, record: RequestRecord) -> AsyncGenerator[list[Event], None]:
        """Runs a request."""
        ...


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """What is measured."""

    depths: tuple[int, ...] = (128, 512, 2048)
    """Tokens of prompt; those that the context does not hold are left out."""
    streams: tuple[int, ...] = (1, 4)
    """How many answers at once."""
    tokens: int = 64
    """Of each answer."""
    sustain_s: float = 0.0
    """How long the model writes without a pause at the end; 0 leaves that out."""
    force: bool = False
    """Whether a hot, throttled or swapping machine is measured all the same."""

    @property
    def steps(self) -> int:
        """How many steps there are to be told of."""
        return 2 + len(self.depths) + len(self.streams) + (self.sustain_s > 0)


@dataclass(frozen=True, slots=True)
class _Run:
    finished: Finished
    ttft_s: float
    """From asking to the first text."""
    wall_s: float


class Bench:
    """One benchmark of one model, which it leaves in memory."""

    def __init__(
        self, runtime: BenchRuntime, model_id: str, plan: BenchPlan, *, on_step: Callable[[str], None] = lambda _: None
    ) -> None:
        """Puts it together.

        Args:
            runtime: what serves the model; nothing else should use it meanwhile.
            model_id: the model's id.
            plan: what is measured.
            on_step: is told in words what begins.
        """
        self._runtime = runtime
        self._model_id = model_id
        self._plan = plan
        self._on_step = on_step
        self._random = random.Random(1)  # noqa: S311 - prompts that differ, the same in each benchmark
        self._seen: Sample | None = None
        self._peak_bytes: int | None = None
        self._power: list[float] = []

    async def run(self) -> BenchResult:
        """Measures everything.

        Raises:
            InvalidRequest: the machine is too busy or too hot to be measured, and the plan does not insist; or the model writes
                too little.
            UnknownModel, UnservableModel, LoadFailed, EngineError: as the runtime raises them.
        """
        before = await self._state()
        if (flags := find_flags(before)) and not self._plan.force:
            raise InvalidRequest(f"This machine cannot be measured fairly now: {', '.join(flags)}. `--force` measures anyway.")
        self._on_step("loading")
        await self._runtime.unload(self._model_id)
        began_s = time.monotonic()
        async with asyncio.timeout(LOAD_S):
            await self._runtime.load(self._model_id)
        load_s = time.monotonic() - began_s
        status = self._status()
        self._on_step("first tokens")
        first = self._prompt(min(256, self._depths()[-1]))
        cold, warm = [await self._one(first, keep=True) for _ in range(2)]
        points = [await self._measure_depth(depth) for depth in self._depths()]
        self._seen = None
        self._power.clear()
        streams = [await self._measure_streams(count) for count in self._plan.streams]
        joules = self._joules(streams)
        sustained = await self._sustain() if self._plan.sustain_s else None
        after = await self._state()
        profile = self._runtime.profile
        return BenchResult(
            at_epoch_s=time.time(),
            model=self._model_id,
            quantization=status.model.header.quantization,
            size_bytes=status.model.header.size_bytes,
            engine=status.engine or "?",
            machine=None if profile is None else profile.tier_name,
            chip=None if profile is None or profile.chip is None else profile.chip.value,
            system=None if profile is None else profile.system,
            context_length=status.context_length,
            load_s=load_s,
            cold_ttft_s=cold.ttft_s,
            warm_ttft_s=warm.ttft_s,
            points=points,
            streams=streams,
            sustained=sustained,
            memory_bytes=self._peak_bytes,
            joules_per_token=joules,
            before=before,
            after=after,
            flags=list(dict.fromkeys((*flags, *find_load(before), *find_flags(after, before)))),
        )

    def _depths(self) -> list[int]:
        context = self._status().served_context_length
        taken = self._plan.tokens + _ROOM
        return [depth for depth in self._plan.depths if context is None or depth + taken <= context] or [32]

    async def _measure_depth(self, depth: int) -> BenchPoint:
        self._on_step(f"{depth} tokens of prompt")
        run = await self._one(self._prompt(depth), keep=False)
        done = run.finished
        return BenchPoint(
            prompt_tokens=done.prompt_tokens,
            completion_tokens=done.completion_tokens,
            prefill_tps=done.prompt_tokens / done.prefill_s if done.prefill_s > 0 else None,
            decode_tps=_decode_tps(done),
            ttft_s=run.ttft_s,
        )

    async def _measure_streams(self, count: int) -> BenchStreams:
        self._on_step(f"{count} at once")
        began_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._one(self._prompt(64), keep=False)) for _ in range(count)]
        wall_s = time.monotonic() - began_s
        runs = [task.result() for task in tasks]
        tokens = sum(run.finished.completion_tokens for run in runs)
        return BenchStreams(
            streams=count,
            tokens=tokens,
            total_tps=tokens / wall_s,
            slowest_ttft_s=max(run.ttft_s for run in runs),
            wall_s=wall_s,
        )

    async def _sustain(self) -> Sustained | None:
        self._on_step("a sustained run, after a pause")

        async def run() -> float | None:
            return _decode_tps((await self._one(self._prompt(32), keep=False)).finished)

        return await calibrate(run, self._runtime.monitor, seconds=self._plan.sustain_s)

    async def _one(self, prompt: str, *, keep: bool) -> _Run:
        """Runs one request; its tokens are not guessed ahead, so that the machine is measured and not the text."""
        request = GenerateRequest(
            self._model_id,
            TextPrompt(prompt),
            Sampling(temperature=0.0),
            max_tokens=self._plan.tokens,
            draft_tokens=0,
            cache_prompt=keep,
            split=False,
        )
        record = self._runtime.journal.open(model=self._model_id, client="bench", route="bench")
        began_s, finished = time.monotonic(), None
        async with asyncio.timeout(REQUEST_S), aclosing(self._runtime.generate(request, record)) as batches:
            async for batch in batches:
                for event in batch:
                    if isinstance(event, Finished):
                        finished = event
                self._look()
        if finished is None or finished.completion_tokens < 1:
            raise InvalidRequest(f"'{self._model_id}' wrote nothing; it cannot be measured so.")
        ended_s = time.monotonic()
        return _Run(finished, (record.first_token_s or ended_s) - began_s, ended_s - began_s)

    def _prompt(self, tokens: int) -> str:
        """Text of about so many tokens, one a word, that no other prompt begins with."""
        words = _TEXT.split()
        return " ".join(self._random.choice(words) for _ in range(tokens))

    def _status(self) -> ModelStatus:
        return next(status for status in self._runtime.statuses() if status.model.id == self._model_id)

    def _look(self) -> None:
        """Notes once for each sample what the engine holds and the machine draws, as far as that can be read."""
        sample = self._runtime.monitor.latest
        if sample is None or sample is self._seen:
            return
        self._seen = sample
        if sample.power_w is not None:
            self._power.append(sample.power_w)
        held = sample.process_bytes.get(self._status().pid or -1)
        if held is not None:
            self._peak_bytes = max(held, self._peak_bytes or 0)

    def _joules(self, streams: Sequence[BenchStreams]) -> float | None:
        """The machine's energy for one token while one stream or more ran."""
        tokens = sum(each.tokens for each in streams)
        if not self._power or not tokens:
            return None
        return sum(self._power) / len(self._power) * sum(each.wall_s for each in streams) / tokens

    async def _state(self) -> MachineState:
        """Waits for a fresh reading of the machine."""
        fresh, loop = asyncio.Event(), asyncio.get_running_loop()

        def wake(_: Sample) -> None:
            loop.call_soon_threadsafe(fresh.set)

        stop = self._runtime.monitor.listen(wake)
        try:
            async with asyncio.timeout(5):
                await fresh.wait()
        except TimeoutError:
            pass
        finally:
            stop()
        return to_state(self._runtime.monitor.latest)


def _decode_tps(done: Finished) -> float | None:
    """Tokens per second after the first one; None where there is no other."""
    decoded = done.completion_tokens - 1
    return decoded / done.decode_s if decoded > 0 and done.decode_s > 0 else None
