"""Measures ONNX decoding beside a bare onnxruntime-genai loop on the same folder, in turns of one run.

    .venv/bin/python tests/benchmarks/onnx_beside_genai.py [--folder FOLDER] [--rounds 5] [--tokens 128]

Ours goes through prompts, samplers and the prefix cache, as the worker's loop would drive it. Bounds: ours decodes at least
0.95 times as fast, and four answers at once are written at least 1.5 times as fast as one. Without `--folder` it takes the
int4 folder that tests/conformance/build_models.py makes.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime_genai

from impetus.runtime.frames import LoadOptions
from impetus.runtime.request import GenerateRequest, Sampling, TokenPrompt
from impetus.runtime.worker.backends.choose import find_backend

LEAST_RATIO, LEAST_GAIN = 0.95, 1.5
THREADS = 2


def main() -> int:
    """Runs the rounds in turn and prints medians; the exit code says whether the bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    options = parser.parse_args()
    folder = options.folder or default_folder()
    prompt = [int(token) for token in np.random.default_rng(1).integers(1000, 40000, 64)]
    theirs = open_genai(folder, prompt, options.tokens)
    ours = open_ours(folder, prompt, options.tokens)
    speeds: dict[str, list[float]] = {"genai": [], "ours": [], "ours, 4 at once": []}
    for _ in range(options.rounds + 1):
        speeds["genai"].append(theirs())
        speeds["ours"].append(ours(1))
        speeds["ours, 4 at once"].append(ours(4))
    medians = {name: statistics.median(found[1:]) for name, found in speeds.items()}
    for name, found in speeds.items():
        print(f"{name:16} {medians[name]:7.1f} tok/s ({min(found[1:]):.1f} to {max(found[1:]):.1f})")
    ratio, gain = medians["ours"] / medians["genai"], medians["ours, 4 at once"] / medians["ours"]
    print(f"ours to genai {ratio:.2f} (at least {LEAST_RATIO}); four to one {gain:.2f} (at least {LEAST_GAIN})")
    return 0 if ratio >= LEAST_RATIO and gain >= LEAST_GAIN else 1


def default_folder() -> Path:
    """Gives the int4 folder, made now if it is missing."""
    program = Path(__file__).parents[1] / "conformance" / "build_models.py"
    subprocess.run([sys.executable, str(program), "--only", "genai-int4"], check=True)
    sys.path.insert(0, str(program.parent))
    from build_models import cache_folder

    return cache_folder() / "genai-int4"


def open_genai(folder: Path, prompt: list[int], tokens: int) -> Callable[[], float]:
    """Gives what decodes once by the bare library, in tokens per second after the first one."""
    config: Any = onnxruntime_genai.Config(str(folder))
    config.overlay(f'{{"model":{{"decoder":{{"session_options":{{"intra_op_num_threads":{THREADS}}}}}}}}}')
    model: Any = onnxruntime_genai.Model(config)

    def run() -> float:
        params: Any = onnxruntime_genai.GeneratorParams(model)
        params.set_search_options(max_length=len(prompt) + tokens, min_length=len(prompt) + tokens, do_sample=False)
        generator: Any = onnxruntime_genai.Generator(model, params)
        generator.append_tokens(np.array(prompt, np.int32))
        generator.generate_next_token()
        began_s = time.perf_counter()
        for _ in range(tokens - 1):
            generator.generate_next_token()
            generator.get_next_tokens()
        return (tokens - 1) / (time.perf_counter() - began_s)

    return run


def open_ours(folder: Path, prompt: list[int], tokens: int) -> Callable[[int], float]:
    """Gives what decodes several answers at once by our engine, in tokens per second after their first ones."""
    backend: Any = find_backend("onnx")()
    backend.load(str(folder), LoadOptions(threads=THREADS), lambda _: None)
    numbers = iter(range(10**9))

    def run(count: int) -> float:
        requests = [
            GenerateRequest("m", TokenPrompt((*prompt[:-1], 1000 + at)), sampling=Sampling(temperature=0), cache_prompt=False)
            for at in range(count)
        ]
        live = {next(numbers): 0 for _ in requests}
        for number, request in zip(live, requests, strict=True):
            backend.start(number, backend.admit(request), request)
        while any(written == 0 for written in live.values()):
            for token in backend.step().tokens:
                live[token.sequence] += 1
        began_s, before = time.perf_counter(), sum(live.values())
        while any(written < tokens for written in live.values()):
            for token in backend.step().tokens:
                live[token.sequence] += 1
        speed = (sum(live.values()) - before) / (time.perf_counter() - began_s)
        for number in live:
            backend.drop(number)
        return speed

    return run


if __name__ == "__main__":
    sys.exit(main())
