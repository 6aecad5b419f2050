"""Measures MLX through this server beside mlx-lm's own, on the same folder, in turns of one run.

    .venv/bin/python tests/benchmarks/mlx_beside_mlx_lm.py [--rounds 2] [--layout safetensors-bf16]

Bounds: tokens per second in all, at 1, 4 and 8 streams, are at least those of mlx-lm's server; a prompt of a thousand tokens
that was computed before costs at most a tenth of what it cost cold, also after a restart. On a CPU batches gain little; the
ratio is the measure.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))
import test_formats
from test_formats import Server, layouts, name_of, running_server

STREAMS = (1, 4, 8)
TOKENS = 16
START_S = 120
REQUEST_S = 1800
"""A CPU computes a thousand tokens in minutes where others compute too."""
MOST_WARM = 0.1
STORY = "Once there was a small town by the sea, where people fished and told each other long stories at night. " * 43


def main() -> int:
    """Runs the rounds in turn; the exit code says whether the bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--layout", default="safetensors-bf16")
    options = parser.parse_args()
    test_formats.REQUEST_S = REQUEST_S
    folder = layouts()[options.layout]
    speeds: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "home"
        with running_server(home, "mlx") as ours, mlx_lm_server(folder) as theirs:
            sides = {"ours": (ours.root, name_of(options.layout)), "mlx-lm": (theirs, str(folder))}
            for round_ in range(options.rounds):
                for streams in STREAMS:
                    for side, (root, model) in sides.items():
                        speed = asyncio.run(measure(root, model, streams, round_))
                        speeds.setdefault((side, streams), []).append(speed)
                        print(f"round {round_ + 1}, {streams} streams: {side} {speed:.2f} tok/s", flush=True)
        held = report(speeds)
        with running_server(Path(scratch) / "prefix", "mlx") as server:
            cold_s, warm_s = asyncio.run(measure_prefix(server, name_of(options.layout), twice=True))
        with running_server(Path(scratch) / "prefix", "mlx", fresh=False) as server:
            again_s, _ = asyncio.run(measure_prefix(server, name_of(options.layout), twice=False))
    again = f"again {warm_s:.2f} s ({warm_s / cold_s:.1%}), after a restart {again_s:.2f} s ({again_s / cold_s:.1%})"
    print(f"1,000 tokens: cold {cold_s:.2f} s, {again}")
    return 0 if held and warm_s <= MOST_WARM * cold_s and again_s <= MOST_WARM * cold_s else 1


def report(speeds: dict[tuple[str, int], list[float]]) -> bool:
    """Prints medians and ratios; says whether all hold."""
    held = True
    for streams in STREAMS:
        ours, theirs = (statistics.median(speeds[side, streams]) for side in ("ours", "mlx-lm"))
        held &= ours >= theirs
        print(f"{streams} streams: ours {ours:.1f} tok/s, mlx-lm {theirs:.1f} tok/s, ratio {ours / theirs:.2f}")
    return held


async def measure(root: str, model: str, streams: int, round_: int) -> float:
    """Gives tokens per second of some chats at once, their prompts included."""
    timeout = aiohttp.ClientTimeout(total=REQUEST_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def chat(number: int) -> int:
            text = f"Tell me in a few words about the number {number * 37 + round_ * 101}, and why people like it."
            body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}], "temperature": 0}
            async with session.post(f"{root}/v1/chat/completions", json=body | {"max_tokens": TOKENS}) as answer:
                told = await answer.json()
                assert answer.status == 200, told
                return int(told["usage"]["completion_tokens"])

        if round_ == 0 and streams == 1:
            await chat(999)  # loads the model
        began_s = time.perf_counter()
        tokens = sum(await asyncio.gather(*(chat(number) for number in range(streams))))
        return tokens / (time.perf_counter() - began_s)


async def measure_prefix(server: Server, model: str, *, twice: bool) -> tuple[float, float]:
    """Gives the seconds to the first token of a long prompt, the first time and the second."""
    await server.ask("/impetus/v1/models/load", {"model": model})
    found: list[float] = []
    for ending in ("One", "Two")[: 1 + twice]:
        body = {"model": model, "prompt": STORY + ending, "temperature": 0, "max_tokens": 1}
        began_s = time.perf_counter()
        await server.ask("/v1/completions", body)
        found.append(time.perf_counter() - began_s)
        await asyncio.sleep(3.0)  # what was computed is kept while nothing runs
    return found[0], found[-1]


@contextlib.contextmanager
def mlx_lm_server(folder: Path) -> Iterator[str]:
    """Starts mlx-lm's server on a folder; gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlx_lm", "server", "--model", str(folder), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(START_S * 10):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


if __name__ == "__main__":
    sys.exit(main())
