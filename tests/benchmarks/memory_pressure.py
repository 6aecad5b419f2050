"""How soon caches shrink when another program takes the memory, and how soon they may grow again.

    .venv/bin/python tests/benchmarks/memory_pressure.py [--mib 900]

The server and the program that takes the memory run in a control group of their own, so that the rest of the machine has its
memory; the right to make one is needed. Prints seconds and sizes as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "fixtures"))

from bounded_server import HOG, MIB, BoundedServer, bounded_server, memory_group, run_in

from impetus.runtime.models.stores import StarterStore

SETTINGS = """
[models]
starter = false
huggingface_cache = false
load_at_start = false
[engine]
context_length = 4096
max_sequences = 2
standby = false
[cache]
disk = false
ram_mb = {ram_mib}
"""
RAM_MIB = 64
WAIT_S = 150.0


def wait_for(server: BoundedServer, *states: str) -> float:
    """Waits until memory is in one of these states; gives the seconds it took."""
    begin_s = time.monotonic()
    while server.state() not in states:
        if time.monotonic() - begin_s > WAIT_S:
            raise SystemExit(f"still {server.state()} after {WAIT_S:.0f} s")
        time.sleep(0.05)
    return time.monotonic() - begin_s


def fill(server: BoundedServer, prompts: int) -> int:
    """Computes prompts that begin differently; gives what is kept of them."""
    for number in range(prompts):
        prompt = " ".join(str(number * 7919 + place) for place in range(200))
        server.post("/v1/completions", {"model": "one", "prompt": prompt, "max_tokens": 1})
    time.sleep(2.5)  # what ended is saved while nothing runs
    server.post("/v1/completions", {"model": "one", "prompt": "1", "max_tokens": 24})
    time.sleep(1.0)
    return server.prefix_bytes()


def measure(group: Path, home: Path) -> dict[str, object]:
    """Runs it all once."""
    found = next(iter(StarterStore().find()))
    with bounded_server(group, home, SETTINGS.format(ram_mib=RAM_MIB), {"one.gguf": found.path}) as server:
        before = fill(server, 2)
        with run_in(group, "-c", HOG, "0.035"):
            pressed_s = wait_for(server, "warn", "critical")
            began_s = time.monotonic()
            while server.prefix_bytes() > RAM_MIB * MIB // 4 and time.monotonic() - began_s < 10:
                time.sleep(0.05)
            shrunk_s = time.monotonic() - began_s
            state, less = server.state(), server.prefix_bytes()
        recovered_s = wait_for(server, "normal")
        again = fill(server, 2)
        decisions = [str(one["text"]) for one in reversed(server.governors()["decisions"])]
    return {
        "kept_before_mib": before // MIB,
        "state": state,
        "noticed_after_s": round(pressed_s, 1),
        "shrunk_after_s": round(shrunk_s, 2),
        "kept_under_pressure_mib": less // MIB,
        "usual_again_after_s": round(recovered_s, 1),
        "kept_again_mib": again // MIB,
        "decisions": decisions,
    }


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=900, help="the group's memory")
    with memory_group(parser.parse_args().mib * MIB) as group, tempfile.TemporaryDirectory() as folder:
        if group is None:
            raise SystemExit("no control group can be made here")
        print(json.dumps(measure(group, Path(folder) / "home"), indent=2))


if __name__ == "__main__":
    main()
