"""Loads one model in every format, beside the naive way: unpickle the checkpoint, then `from_pretrained` in single precision.

    .venv/bin/python tests/benchmarks/load_beside_naive.py [--rounds 5]

Times are from the request (or the program's start) to the model's being ready, the files being in the system's cache; memory is
the peak of what the process holds for itself, without the pages of mapped files, and, in brackets, with them. The naive way and
a format take turns. Bounds, for each format: five times as fast, and 30 % less memory.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))
from test_formats import Server, layouts, name_of, running_server

LAYOUTS = (
    "gguf-f16",
    "safetensors-f16",
    "safetensors-f32",
    "mlx-f16",
    "mlx-4bit",
    "pytorch",
    "onnx-fp32",
    "onnx-q4",
    "genai-int4",
)
LEAST_RATIO = 5.0
LEAST_SAVED = 0.30
POLL_S = 0.005
FIND_EVERY = 40
"""Polls: to list a process's children looks at all processes, and would take computing from what is measured."""
CALM_S = 3.0
"""Longer than the server waits before it starts a process that stands by."""
QUIET_POLL_S, QUIET_POLLS, MOST_POLLS = 0.5, 6, 120
NAIVE = """
import sys, torch, transformers
folder = sys.argv[1]
checkpoint = torch.load(folder + "/pytorch_model.bin", weights_only=True)
model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
print("ready", flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Load:
    """What one load took."""

    took_s: float
    own_bytes: int
    whole_bytes: int


class Watch:
    """Reads how much memory a process holds, until it is told to stop."""

    def __init__(self, find: object) -> None:
        self._find = find
        self._stop = threading.Event()
        self.own_bytes = self.whole_bytes = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends it."""
        self._stop.set()
        self._thread.join(5)

    def _run(self) -> None:
        assert callable(self._find)
        polls = itertools.count()
        while not self._stop.wait(POLL_S):
            whole = own = 0
            if next(polls) % FIND_EVERY == 0:
                processes = self._find()
            for process in processes:
                try:
                    memory = process.memory_info()
                except psutil.Error:
                    continue
                whole = max(whole, memory.rss)
                # On Linux pages of files are told apart; elsewhere all counts.
                own = max(own, memory.rss - getattr(memory, "shared", 0))
            self.own_bytes, self.whole_bytes = max(self.own_bytes, own), max(self.whole_bytes, whole)


def load_naively(folder: Path) -> Load:
    """Loads a checkpoint by the libraries alone, in a process of its own."""
    began_s = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", NAIVE, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        watched = psutil.Process(process.pid)
        watch = Watch(lambda: [watched])
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        took_s = time.perf_counter() - began_s
        watch.stop()
        process.communicate(b"", timeout=30)
    return Load(took_s, watch.own_bytes, watch.whole_bytes)


async def load(server: Server, layout: str) -> Load:
    """Loads a layout through the server, where nothing is loaded; a process stands by for it, as it would."""
    name = name_of(layout)
    parent = psutil.Process(server.pid)
    watch = Watch(parent.children)
    began_s = time.perf_counter()
    await server.ask("/impetus/v1/models/load", {"model": name})
    took_s = time.perf_counter() - began_s
    watch.stop()
    await server.ask("/impetus/v1/models/unload", {"model": name})
    await wait_for_standbys(parent)
    return Load(took_s, watch.own_bytes, watch.whole_bytes)


async def wait_for_standbys(server: psutil.Process) -> None:
    """Waits until processes stand by for the next load, with their engines imported: none has computed for a while."""
    await asyncio.sleep(CALM_S)
    quiet = 0
    spent_s = -1.0
    for _ in range(MOST_POLLS):
        await asyncio.sleep(QUIET_POLL_S)
        before_s, spent_s = spent_s, sum(sum(child.cpu_times()[:2]) for child in server.children())
        quiet = quiet + 1 if spent_s - before_s < QUIET_POLL_S / 20 else 0
        if quiet == QUIET_POLLS:
            return
    raise TimeoutError("the processes that stand by are never ready")


async def run(server: Server, names: list[str], rounds: int) -> int:
    """Loads each layout and the checkpoint in turn, and compares."""
    naive: list[Load] = []
    found: dict[str, list[Load]] = {name: [] for name in names}
    await wait_for_standbys(psutil.Process(server.pid))
    for number in range(rounds + 1):
        naive.append(await asyncio.to_thread(load_naively, layouts()["pytorch"]))
        for name in names:
            found[name].append(await load(server, name))
        if number == 0:
            # The files were not all in the system's cache.
            naive.clear()
            found = {name: [] for name in names}
    base = middle(naive)
    print(f"{'naive':18} {base.took_s:6.2f} s          {base.own_bytes / 1e6:7.0f} MB ({base.whole_bytes / 1e6:.0f})")
    held = True
    for name, loads in found.items():
        each = middle(loads)
        ratio, saved = base.took_s / each.took_s, 1 - each.own_bytes / base.own_bytes
        fits = ratio >= LEAST_RATIO and saved >= LEAST_SAVED
        held &= fits
        print(
            f"{name:18} {each.took_s:6.2f} s  {ratio:5.1f} x  {each.own_bytes / 1e6:7.0f} MB ({each.whole_bytes / 1e6:.0f})"
            f"  {saved:4.0%} less{'' if fits else '  NOT HELD'}"
        )
    return 0 if held else 1


def middle(loads: list[Load]) -> Load:
    """Gives the medians."""
    return Load(
        statistics.median(each.took_s for each in loads),
        int(statistics.median(each.own_bytes for each in loads)),
        int(statistics.median(each.whole_bytes for each in loads)),
    )


def main() -> int:
    """Runs the rounds; the exit code says whether the bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    names = [layout for layout in LAYOUTS if layout in layouts()]
    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder) / "home", "auto", max_loaded=1) as server:
        return asyncio.run(run(server, names, options.rounds))


if __name__ == "__main__":
    sys.exit(main())
