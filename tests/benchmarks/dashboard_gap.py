"""Compares the gap between tokens that clients see with and without the dashboard.

Sixteen streams at 50 tokens/s each from the echo engine, in turn from `impetus serve` and from the dashboard drawing in tmux at
120×40 (or, where there is no tmux, in a pseudo-terminal that a thread keeps reading).

    .venv/bin/python tests/benchmarks/dashboard_gap.py [--rounds 3] [--seconds 20]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import pty
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp

from impetus.runtime.presence import find_servers

IMPETUS = Path(sys.executable).with_name("impetus")
STREAMS = 16
TOKENS_PER_S = 50
P99_BOUND_MS, MAX_BOUND_MS = 15, 60


def main() -> int:
    """Runs the rounds and prints each figure's median."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    rows: dict[str, list[dict[str, float]]] = {"headless": [], "dashboard": []}
    for _ in range(options.rounds):
        for kind, start in (("headless", headless), ("dashboard", dashboard)):
            with tempfile.TemporaryDirectory() as folder, start(Path(folder)) as url:
                rows[kind].append(asyncio.run(measure(url, options.seconds)))
                print(f"{kind:10}", format_row(rows[kind][-1]), flush=True)
    medians = {kind: {name: statistics.median(row[name] for row in found) for name in found[0]} for kind, found in rows.items()}
    for kind, row in medians.items():
        print(f"median {kind:10}", format_row(row))
    p99 = medians["dashboard"]["p99 ms"] - medians["headless"]["p99 ms"]
    most = medians["dashboard"]["max ms"] - medians["headless"]["max ms"]
    holds = p99 <= P99_BOUND_MS and most <= MAX_BOUND_MS
    print(f"dashboard − headless: p99 {p99:+.1f} ms (bound +{P99_BOUND_MS}), max {most:+.1f} ms (bound +{MAX_BOUND_MS})")
    return 0 if holds else 1


def format_row(row: dict[str, float]) -> str:
    """Gives one line of figures."""
    return "  ".join(f"{name} {value:.1f}" for name, value in row.items())


async def measure(url: str, seconds: float) -> dict[str, float]:
    """Reads all streams at once; gives what their gaps were, in milliseconds."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=seconds + 60)) as session:
        await read(session, url, 20)
        found = await asyncio.gather(*(read(session, url, int(seconds * TOKENS_PER_S)) for _ in range(STREAMS)))
    gaps = sorted(1000 * gap for stream in found for gap in stream)
    return {
        "p50 ms": gaps[len(gaps) // 2],
        "p99 ms": gaps[int(len(gaps) * 0.99)],
        "max ms": gaps[-1],
        "tokens": float(len(gaps) + STREAMS),
    }


async def read(session: aiohttp.ClientSession, url: str, tokens: int) -> list[float]:
    """Reads one stream; gives the time between its tokens, in seconds."""
    body = {
        "model": "echo",
        "messages": [{"role": "user", "content": "a sea of words that goes on and on"}],
        "max_tokens": tokens,
        "stream": True,
        "echo_tps": TOKENS_PER_S,
    }
    stamps: list[float] = []
    async with session.post(f"{url}/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.content:
            if line.startswith(b"data: {") and b'"content":"' in line and b'"content":""' not in line:
                stamps.append(time.perf_counter())
    if len(stamps) < tokens * 0.98:
        raise RuntimeError(f"only {len(stamps)} of {tokens} tokens came")
    return [after - before for before, after in itertools.pairwise(stamps)]


def arguments(folder: Path) -> list[str]:
    """The options that both kinds take."""
    (folder / "models").mkdir()
    return ["--port", "0", "--echo", "--model", "echo", "--models-dir", str(folder / "models")]


@contextlib.contextmanager
def headless(folder: Path) -> Iterator[str]:
    """Runs `impetus serve`; gives its address."""
    environment = {**os.environ, "IMPETUS_HOME": str(folder)}
    with subprocess.Popen(
        [IMPETUS, "serve", *arguments(folder)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().rsplit(" ", 1)[-1].strip()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=20)


@contextlib.contextmanager
def dashboard(folder: Path) -> Iterator[str]:
    """Runs the dashboard in a terminal; gives its server's address."""
    run = in_tmux if shutil.which("tmux") else in_pty
    with run([str(IMPETUS), *arguments(folder)], folder):
        yield wait_for_url(folder / "state")


@contextlib.contextmanager
def in_tmux(command: list[str], folder: Path) -> Iterator[None]:
    """Runs a command in a tmux server of its own, at 120×40."""
    tmux = ["tmux", "-L", f"impetus-bench-{os.getpid()}", "-f", "/dev/null"]
    shell = f"exec env IMPETUS_HOME={folder} {' '.join(command)}"
    subprocess.run([*tmux, "new-session", "-d", "-x", "120", "-y", "40", shell], check=True)
    try:
        yield
        print(subprocess.run([*tmux, "capture-pane", "-p"], capture_output=True, text=True, check=True).stdout, file=sys.stderr)
        subprocess.run([*tmux, "send-keys", "C-q"], check=True)
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline and find_servers(folder / "state"):
            time.sleep(0.1)
    finally:
        subprocess.run([*tmux, "kill-server"], check=False, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def in_pty(command: list[str], folder: Path) -> Iterator[None]:
    """Runs a command in a pseudo-terminal whose output is read and dropped."""
    pid, descriptor = pty.fork()
    if pid == 0:
        os.environ.update({"IMPETUS_HOME": str(folder), "COLUMNS": "120", "LINES": "40", "TERM": "xterm-256color"})
        os.execv(command[0], command)

    def drain() -> None:
        with contextlib.suppress(OSError):
            while os.read(descriptor, 65536):
                pass

    threading.Thread(target=drain, daemon=True).start()
    try:
        yield
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        os.close(descriptor)


def wait_for_url(state: Path) -> str:
    """Waits until a server tells its address and answers."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for server in find_servers(state) if state.is_dir() else []:
            return server.url
        time.sleep(0.05)
    raise TimeoutError("no server came up")


if __name__ == "__main__":
    sys.exit(main())
