"""Switches among one model in six formats in one server, again and again, while another model answers.

    .venv/bin/python tests/benchmarks/switch_formats.py [--rounds 50]

Each round asks one format after the other for a token, with one model in memory at a time, so that each request loads. Core ML
is left out where it does not run. Bounds: no error; on a warm page cache the first token comes within 5 s (GGUF: 1 s), as a
median; the server's own memory grows by less than 20 MB after the first five rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))
from test_formats import Server, layouts, name_of, running_server

LAYOUTS = ("gguf-f16", "safetensors-f16", "mlx-4bit", "pytorch", "onnx-q4", "genai-int4")
MOST_S = {"gguf-f16": 1.0}
USUAL_MOST_S = 5.0
MOST_GROWTH_BYTES = 20 * 10**6
WARM_ROUNDS = 5


def main() -> int:
    """Runs the rounds; the exit code says whether the bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    names = [layout for layout in LAYOUTS if layout in layouts()]
    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder) / "home", "auto", max_loaded=1) as server:
        return asyncio.run(run(server, names, options.rounds))


async def run(server: Server, names: list[str], rounds: int) -> int:
    """Asks each format in turn."""
    firsts: dict[str, list[float]] = {name: [] for name in names}
    sizes: list[int] = []
    for number in range(rounds):
        for name in names:
            body = {"model": name_of(name), "prompt": "The sky is blue because", "temperature": 0, "max_tokens": 2}
            began_s = time.perf_counter()
            events = await server.stream("/v1/completions", body, until_text=True)
            assert any(choice["text"] for event in events for choice in event["choices"]), f"{name} said nothing"
            firsts[name].append(time.perf_counter() - began_s)
            await server.wait_until_idle(name_of(name))
        sizes.append(psutil.Process(server.pid).memory_info().rss)
        if number == 0:
            continue
        if number % 10 == 9:
            print(f"round {number + 1}: server {sizes[-1] / 1e6:.0f} MB", flush=True)
    held = True
    for name, found in firsts.items():
        median = statistics.median(found[1:] or found)
        most = MOST_S.get(name, USUAL_MOST_S)
        held &= median <= most
        print(f"{name:18} first token after {median:5.2f} s, {min(found):.2f} to {max(found):.2f} (at most {most})")
    growth = sizes[-1] - sizes[min(WARM_ROUNDS, len(sizes)) - 1]
    print(f"the server grew by {growth / 1e6:.1f} MB after round {min(WARM_ROUNDS, len(sizes))}")
    return 0 if held and growth < MOST_GROWTH_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
