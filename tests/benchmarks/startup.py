"""Measures how soon the dashboard is painted and its model ready, in a pseudo-terminal at 120×40.

    .venv/bin/python tests/benchmarks/startup.py [--rounds 5] [--model ID]

The bounds: the first paint within 1.0 s of the command, the starter model ready within 3 s.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import select
import signal
import statistics
import struct
import sys
import tempfile
import termios
import time
from pathlib import Path

IMPETUS = Path(sys.executable).with_name("impetus")
PAINTED, READY = b"Overview", "● ready".encode()
PAINT_BOUND_S, READY_BOUND_S = 1.0, 3.0


def main() -> int:
    """Runs the rounds and prints medians; the exit code says whether the bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="SmolLM2-135M-Instruct-Q4_1")
    options = parser.parse_args()
    start_once(options.model)
    rows = [start_once(options.model) for _ in range(options.rounds)]
    paint_s, ready_s = (statistics.median(row[column] for row in rows) for column in (0, 1))
    for row in rows:
        print(f"first paint {row[0]:.2f} s  model ready {row[1]:.2f} s")
    print(f"median: first paint {paint_s:.2f} s (bound {PAINT_BOUND_S}), model ready {ready_s:.2f} s (bound {READY_BOUND_S})")
    return 0 if paint_s <= PAINT_BOUND_S and ready_s <= READY_BOUND_S else 1


def start_once(model: str) -> tuple[float, float]:
    """Starts the dashboard and quits it; gives the seconds until it was painted and until its model was ready."""
    with tempfile.TemporaryDirectory() as home:
        begun_s = time.perf_counter()
        pid, descriptor = pty.fork()
        if pid == 0:
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
            os.environ.update(IMPETUS_HOME=home, TERM="xterm-256color", COLORTERM="truecolor")
            os.execv(str(IMPETUS), [str(IMPETUS), "--port", "0", "--model", model])
        try:
            seen = b""
            painted_s = None
            while time.perf_counter() - begun_s < 60:
                if select.select([descriptor], [], [], 0.5)[0]:
                    seen += os.read(descriptor, 65536)
                if painted_s is None and PAINTED in seen:
                    painted_s = time.perf_counter() - begun_s
                if painted_s is not None and READY in seen:
                    return painted_s, time.perf_counter() - begun_s
            raise TimeoutError(f"no ready model on the screen after 60 s; the end of it: {seen[-2000:]!r}")
        finally:
            os.kill(pid, signal.SIGTERM)
            while select.select([descriptor], [], [], 5)[0]:
                try:
                    os.read(descriptor, 65536)
                except OSError:
                    break
            os.waitpid(pid, 0)
            os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
