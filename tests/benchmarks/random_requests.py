"""Plays random requests on the llama engine and compares every token with a model that has no cache.

    .venv/bin/python tests/benchmarks/random_requests.py [--requests 10000] [--seed 1] [--starter 60]

Most are for tiny models of each kind of memory, some for the starter model. Prompts begin alike, cancels, holds and interrupts
come at random steps, the context and the memory for states are always short. It ends at the first answer that is off by
more than the engine's own batches explain, and at the first cell or slot that is left over. One line for each model tells
what happened.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))

from cold_reference import Reference
from engine_tools import find_starter
from random_play import Mix, RandomRequests
from tiny_models import write_tiny_models

from impetus.runtime.frames import LoadOptions, PrefixOptions
from impetus.runtime.worker.backends import llama_annex
from impetus.runtime.worker.backends.llama import LlamaBackend

MARGIN = 3
SHARES = {"llama": 0.4, "qwen3": 0.1, "deepseek2": 0.1, "gemma3": 0.1, "lfm2": 0.1, "mamba2": 0.1, "granite_hybrid": 0.1}
"""Which models the requests are for."""
PLAIN = ("llama", "qwen3", "deepseek2")
LONG = Mix(prompt_tokens=(40, 300), answer_tokens=(1, 12), limit=700, holds=0.1)
LONG_SHARE = 0.1
"""How many of a model's requests have long prompts."""
ASIDE_SHARE = 0.1
"""How many of a plain model's requests are played with prompts computed beside running answers."""


def main() -> int:
    """Plays all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--starter", type=int, default=60, help="how many of them are for the starter model")
    options = parser.parse_args()
    # What the engine complains about where there is no room, or where it was told to end, is meant to happen here.
    logging.disable(logging.ERROR)
    began_s = time.monotonic()
    played = 0
    with tempfile.TemporaryDirectory() as folder:
        models = write_tiny_models(Path(folder))
        for name, share in SHARES.items():
            requests = round((options.requests - options.starter) * share)
            long = round(requests * LONG_SHARE)
            short_mix = Mix() if name in PLAIN else Mix(prompt_tokens=(30, 90), limit=200)
            disk = Path(folder, name)
            if name in PLAIN:
                aside = round(requests * ASIDE_SHARE)
                requests -= aside
                played += play_aside(models[name], aside, options.seed, name=f"{name}, prompts beside answers")
            played += play(models[name], requests - long, short_mix, options.seed, name=name)
            played += play(models[name], long, LONG, options.seed, name=f"{name}, long prompts", context_length=1024, disk=disk)
    if options.starter:
        mix = Mix(limit=90, chance=False)
        played += play(find_starter(), options.starter, mix, options.seed, name="starter", context_length=256, threads=2)
    print(f"{played} requests in {time.monotonic() - began_s:.0f} s, and nothing is left")
    return 0


def play_aside(path: Path, requests: int, seed: int, *, name: str) -> int:
    """Plays requests whose prompts count as long from a few tokens on, on an engine that has a second core for them."""
    usual = llama_annex.LEAST_TOKENS, llama_annex.PIECE_TOKENS
    llama_annex.LEAST_TOKENS, llama_annex.PIECE_TOKENS = 30, 32
    try:
        return play(path, requests, LONG, seed, name=name, context_length=1024, threads=2, ram_bytes=1 << 26)
    finally:
        llama_annex.LEAST_TOKENS, llama_annex.PIECE_TOKENS = usual


def play(
    path: Path,
    requests: int,
    mix: Mix,
    seed: int,
    *,
    name: str,
    context_length: int = 512,
    threads: int = 1,
    disk: Path | None = None,
    ram_bytes: int = 1 << 18,
) -> int:
    """Plays requests on one model; an AssertionError tells what was wrong."""
    prefix = PrefixOptions(ram_bytes=ram_bytes, disk_dir=str(disk) if disk else None, disk_max_bytes=1 << 24)
    reference = Reference(path, context_length=context_length, threads=threads)
    backend = LlamaBackend()
    backend.load(
        str(path),
        LoadOptions(context_length=context_length, threads=threads, max_sequences=8, batch_tokens=128, prefix=prefix),
        lambda _: None,
    )
    try:
        draw = random.Random(seed)
        words = range(6, reference.vocabulary.size)
        most, count = (500, 8) if mix is LONG else (120, 4 if threads > 1 else 24)
        samples = [draw.choices(words, k=draw.randint(20, most)) for _ in range(count)]
        noise = reference.noise(samples, draw, singly=threads == 1)
        strays = 0.05 if "deepseek2" in path.name else 0.0
        run = RandomRequests(backend, reference, seed=seed, tolerance=MARGIN * noise, mix=mix, strays=strays)
        began_s = time.monotonic()
        tally = run.play(requests)
        took_s = time.monotonic() - began_s
        run.check_nothing_is_left()
    finally:
        backend.close()
        reference.close()
    print(f"{name}: noise {noise:.2g}, {1000 * took_s / max(1, requests):.1f} ms each; {tally}", flush=True)
    return requests


if __name__ == "__main__":
    sys.exit(main())
