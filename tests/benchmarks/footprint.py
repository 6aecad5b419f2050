"""Compares what a load was planned to take with what the engine's process then takes, its context memory being full.

    .venv/bin/python tests/benchmarks/footprint.py [--engine mlx] [--bound 0.05]

Each combination is loaded in a process of its own, as a worker does it. Two prompts are computed and answered beside each
other; then the context memory is filled as if it came from the disk, so that nobody waits for it. Compared is the most that the
process had in memory (Linux; pages of its own, and of files that it maps). The bound: every ratio is within 5 % of 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from impetus.runtime.config import Config
from impetus.runtime.formats.detect import detect
from impetus.runtime.frames import LoadOptions
from impetus.runtime.home import find_home
from impetus.runtime.models.model import Model
from impetus.runtime.request import GenerateRequest, Sampling, TokenPrompt
from impetus.runtime.tuning.plan import plan_load
from impetus.runtime.tuning.sequence_footprint import sequence_footprint

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))

COMBINATIONS = {
    "mlx": [
        ("mlx-f16", 1024), ("mlx-f16", 8192), ("mlx-8bit", 1024), ("mlx-8bit", 8192), ("mlx-4bit", 1024), ("mlx-4bit", 8192),
        ("safetensors-bf16", 4096), ("safetensors-f32", 4096),
    ],
    "torch": [
        ("safetensors-f16", 1024), ("safetensors-f16", 8192), ("safetensors-bf16", 4096), ("safetensors-f32", 1024),
        ("safetensors-f32", 8192), ("pytorch", 1024), ("pytorch-sharded", 4096), ("safetensors-sharded", 4096),
    ],
    "onnx": [
        ("onnx-fp32", 1024), ("onnx-fp32", 8192), ("onnx-q4", 1024), ("onnx-q4", 8192), ("onnx-int8", 1024),
        ("genai-fp32", 4096), ("genai-int4", 1024), ("genai-int4", 8192),
    ],
}  # fmt: skip
"""Engines, and layouts of the tests' model with lengths of context."""
PROMPT_TOKENS = {"mlx": 16}
"""MLX takes minutes for more on a CPU."""
USUAL_PROMPT_TOKENS = 400
FIELDS = ("RssAnon", "RssFile", "RssShmem", "VmRSS", "VmHWM")


def main() -> int:
    """Prints a line for each combination; the exit code says whether the bound holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=tuple(COMBINATIONS))
    parser.add_argument("--bound", type=float, default=0.05)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        return run_child(json.loads(options.child))
    from build_models import build

    held = True
    for engine, combinations in COMBINATIONS.items():
        if options.engine not in (None, engine):
            continue
        folders = build(*{layout for layout, _ in combinations})
        for layout, context in combinations:
            if layout not in folders:
                print(f"{engine:6} {layout:20} what makes it is not installed")
                continue
            told = measure(engine, folders[layout], context)
            ratio = told["planned"] / told["VmHWM"]
            held &= abs(ratio - 1) <= options.bound
            planned, peak, end, own, files = (
                round(told[name] / 1e6) for name in ("planned", "VmHWM", "VmRSS", "RssAnon", "RssFile")
            )
            print(
                f"{engine:6} {layout:20} {context:6} planned {planned:5} MB ({told['parts']}), peak {peak:5} MB, "
                f"at the end {end:5} MB (own {own}, of files {files}), ratio {ratio:.3f}",
                flush=True,
            )
    return 0 if held else 1


def measure(engine: str, folder: Path, context: int) -> dict[str, Any]:
    """Loads in another process; gives what it takes, in bytes."""
    order = json.dumps({"engine": engine, "folder": str(folder), "context": context})
    command = [sys.executable, "-W", "ignore", __file__, "--child", order]
    environment = os.environ | {"TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, timeout=900, check=True, text=True)
    return json.loads(done.stdout)


def run_child(order: dict[str, Any]) -> int:
    """Loads as it is planned here, fills the context memory, and tells what that takes."""
    from impetus.runtime.worker.__main__ import hide_unneeded
    from impetus.runtime.worker.backends.choose import find_backend

    folder = Path(order["folder"])
    header = detect(folder)
    assert header is not None
    model = Model(id=folder.name, path=folder, store="impetus", header=header)
    config = msgspec.convert({"engine": {"context_length": order["context"]}}, Config)
    with tempfile.TemporaryDirectory() as scratch:
        plan = plan_load(model, None, config, home=find_home(scratch), engine_name=order["engine"])
    options = msgspec.structs.replace(plan.options, threads=2, prefix=type(plan.options.prefix)(), converted_dir=None)
    parts = sequence_footprint(header, options, order["engine"])
    hide_unneeded(order["engine"])
    backend: Any = find_backend(order["engine"])()
    backend.load(str(folder), options, lambda _: None)
    answer(backend, PROMPT_TOKENS.get(order["engine"], USUAL_PROMPT_TOKENS))
    fill(backend, options)
    told = {"planned": parts.total_bytes, **read_status()}
    told["parts"] = (
        f"weights {parts.weights_bytes / 1e6:.0f}, kv {parts.kv_bytes / 1e6:.0f}, scratch {parts.scratch_bytes / 1e6:.0f}"
    )
    print(json.dumps(told))
    sys.stdout.flush()
    os._exit(0)


def answer(backend: Any, prompt_tokens: int) -> None:
    """Computes two answers beside each other."""
    live: dict[int, int] = {}
    for number in (1, 2):
        prompt = TokenPrompt(tuple(1000 + 7 * number + at for at in range(prompt_tokens)))
        request = GenerateRequest("m", prompt, sampling=Sampling(temperature=0), cache_prompt=False)
        backend.start(number, backend.admit(request), request)
        live[number] = 0
    while any(count < 3 for count in live.values()):
        for token in backend.step().tokens:
            live[token.sequence] += 1
    for number in live:
        backend.drop(number)


def fill(backend: Any, options: LoadOptions) -> None:
    """Fills the context memory with sequences as long as may be."""
    runner = backend._runner
    first = runner.begin()
    runner.extend(first, [1000 + at for at in range(32)], "none")
    data = runner.read(first, 0, 32)
    left = options.cache_tokens or options.context_length or 0
    kept: list[Any] = [first]
    while left > 0:
        state = runner.begin()
        length = min(left, options.context_length or left)
        for begin in range(0, length - 1, 32):
            runner.write(state, data, begin, min(begin + 32, length - 1))
        runner.extend(state, [1000], "last")
        kept.append(state)
        left -= length
    run_child.__dict__["kept"] = kept


def read_status() -> dict[str, int]:
    """Reads what this process has in memory, in bytes."""
    found: dict[str, int] = {}
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name in FIELDS:
            found[name] = int(value.split()[0]) * 1024
    return found


if __name__ == "__main__":
    sys.exit(main())
