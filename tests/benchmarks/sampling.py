"""Says which share of one core a sample per second costs, with this machine's probe.

    .venv/bin/python tests/benchmarks/sampling.py [--samples 200]

Counted is the processor time of this process and of the programs it starts. One sample is read a second, so that milliseconds
are thousandths of a core. Reading must never hold up the event loop either: how late a timer came while the monitor read
beside it is told, too; and what it costs to understand the text of a Mac's programs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from pathlib import Path

from impetus.hw.monitor import Monitor
from impetus.hw.probes import macos_parsing as parsing
from impetus.hw.probes.choose import choose_probe
from impetus.hw.probes.probe import Probe

PRINTED = Path(__file__).parents[1] / "fixtures" / "hw" / "macos" / "m4_max.json"
TICK_S = 0.01
MOST_PERCENT = 1.0


def spent_s() -> float:
    """Processor time of this process and of its ended children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def cost_of_samples(probe: Probe, samples: int) -> float:
    """Milliseconds of processor time that a sample takes, with this process and two others watched."""
    pids = (os.getpid(), os.getppid())
    probe.read_sample(pids)
    begun_s = spent_s()
    for _ in range(samples):
        probe.read_sample(pids)
    return (spent_s() - begun_s) / samples * 1000


def cost_of_parsing(rounds: int) -> float:
    """Milliseconds that it takes to understand what a Mac's programs print for a sample."""
    printed: dict[str, list[str]] = json.loads(PRINTED.read_text())["printed"]
    texts = {name: "\n".join(lines) for name, lines in printed.items()}
    begun_s = time.process_time()
    for _ in range(rounds):
        keys = parsing.parse_sysctl(texts["sysctl"])
        parsing.parse_swap_used(keys.get("vm.swapusage"))
        parsing.parse_memory_used(texts["vm_stat"])
        parsing.parse_gpu(texts["ioreg IOAccelerator"])
    return (time.process_time() - begun_s) / rounds * 1000


async def lateness_ms(probe: Probe, seconds: float) -> float:
    """The worst lateness of a timer in the loop while a monitor reads ten times a second beside it."""
    monitor = Monitor(probe, 0.1)
    worst_s = 0.0
    monitor.start()
    try:
        end_s = time.monotonic() + seconds
        while (now_s := time.monotonic()) < end_s:
            await asyncio.sleep(TICK_S)
            worst_s = max(worst_s, time.monotonic() - now_s - TICK_S)
    finally:
        await asyncio.to_thread(monitor.stop)
    return worst_s * 1000


def main() -> int:
    """Measures and prints; fails where a sample costs a hundredth of a core or more."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=200)
    options = parser.parse_args()
    probe = choose_probe()
    cost_ms = cost_of_samples(probe, options.samples)
    percent = cost_ms / 10
    print(
        f"{type(probe).__name__}: {cost_ms:.2f} ms of processor time for a sample, {percent:.2f} % of one core at one a second"
    )
    print(f"understanding a Mac's text: {cost_of_parsing(2000):.3f} ms for a sample")
    print(f"a timer in the loop came {asyncio.run(lateness_ms(choose_probe(), 3.0)):.1f} ms late at worst")
    if percent >= MOST_PERCENT:
        print(f"too much: the limit is {MOST_PERCENT} %")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
