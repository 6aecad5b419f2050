"""Tries a provider of ONNX Runtime on a graph: `python -m impetus.runtime.worker.backends.onnx_trial GRAPH PROVIDER THREADS`.

A provider may end its process, or give other numbers than the CPU, on graphs that it takes only parts of; so it is tried in a
process of its own. Prints what came out as one line of JSON.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import msgspec

CPU = "CPUExecutionProvider"
COREML = "CoreMLExecutionProvider"
TRIAL_TIMEOUT_S = 120.0
"""Core ML compiles a graph when it is opened."""
WORTH_IT = 0.9
"""Of the CPU's time: less is not worth what compiling takes at every load."""
_PROMPT = (1, 2, 3, 4, 5, 6, 7)
_STEPS = 8


class Trial(msgspec.Struct, frozen=True):
    """What a provider did with a graph."""

    tokens: list[int]
    """The most probable ones behind a fixed prompt."""
    step_s: float
    """How long a token took, in the middle of several."""


def try_provider(graph: Path, provider: str, threads: int | None) -> Trial | str:
    """Tries a provider in another process; gives the reason in words where it fails."""
    command = [sys.executable, "-m", "impetus.runtime.worker.backends.onnx_trial", str(graph), provider, str(threads or 0)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TRIAL_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"it took longer than {TRIAL_TIMEOUT_S:.0f} s"
    if done.returncode:
        told = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        return f"its process ended with {done.returncode}{f': {told[:200]}' if told else ''}"
    try:
        return msgspec.json.decode(done.stdout.splitlines()[-1], type=Trial)
    except (IndexError, msgspec.MsgspecError):
        return "it said nothing"


def judge(cpu: Trial | str, other: Trial | str) -> tuple[bool, str]:
    """Decides whether a provider is taken in place of the CPU, and says why."""
    if isinstance(other, str):
        return False, f"the trial failed: {other}"
    if isinstance(cpu, str):
        return False, f"nothing to compare with: {cpu}"
    if other.tokens != cpu.tokens:
        return False, "it gave other tokens than the CPU"
    times = f"{other.step_s * 1e3:.1f} ms a token, the CPU {cpu.step_s * 1e3:.1f} ms"
    return other.step_s <= cpu.step_s * WORTH_IT, times


def choose_providers(graph: Path, wished: str, available: list[str], threads: int | None) -> tuple[list[str], str]:
    """Gives the providers to open a graph with, and why these.

    Args:
        graph: the graph.
        wished: "cpu", or "coreml" where Core ML is taken if a trial speaks for it.
        available: what this ONNX Runtime has.
        threads: for the CPU.
    """
    if wished == "cpu":
        return [CPU], "CPU"
    if COREML not in available:
        return [CPU], "CPU: this ONNX Runtime has no Core ML"
    taken, reason = judge(try_provider(graph, CPU, threads), try_provider(graph, COREML, threads))
    return ([COREML, CPU], f"Core ML: {reason}") if taken else ([CPU], f"CPU, not Core ML: {reason}")


def run_trial(graph: Path, provider: str, threads: int) -> Trial:
    """Computes a fixed prompt and some tokens behind it."""
    # Only the process that tries loads ONNX Runtime here.
    from ...frames import LoadOptions
    from .onnx import OnnxRunner

    runner = OnnxRunner(providers=[provider] if provider == CPU else [provider, CPU])
    runner.open(graph, LoadOptions(threads=threads or None), lambda _: None)
    state = runner.begin()
    tokens: list[int] = []
    times: list[float] = []
    row = runner.extend(state, _PROMPT, "last")
    for _ in range(_STEPS):
        tokens.append(-1 if row is None else int(row.argmax()))
        began_s = time.perf_counter()
        row = runner.extend(state, tokens[-1:], "last")
        times.append(time.perf_counter() - began_s)
    return Trial(tokens, sorted(times)[len(times) // 2])


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(run_trial(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))) + b"\n")
