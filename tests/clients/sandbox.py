"""Runs one client by itself: a home and a work folder of its own, no way out to the internet, and a time limit."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer

NOBODY = 65534
"""As root, agents run as this user: what a model tells them to do is done unasked."""


@dataclass
class Client:
    """One run of a client: where it is, whom it asks, and what it is told."""

    home: Path
    work: Path
    root: str
    """The server's address without a path."""
    model: str
    task: str
    env: dict[str, str] = field(default_factory=dict)

    @property
    def v1(self) -> str:
        """The base URL of OpenAI's clients."""
        return f"{self.root}/v1"

    def write(self, name: str, text: str) -> Path:
        """Writes a file into the client's home."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    code: int | None
    """None where it was ended at the time limit."""
    took_s: float
    output: str
    made: str | None
    """What `hello.txt` holds; None where there is none."""


class _Refuser(BaseRequestHandler):
    """Answers every request to the proxy with a refusal."""

    def handle(self) -> None:
        self.request.settimeout(5)
        try:
            self.request.recv(4096)
            self.request.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        except OSError:
            pass


@contextmanager
def refusing_proxy() -> Iterator[int]:
    """Opens a proxy that lets nothing through; gives its port."""
    server = ThreadingTCPServer(("127.0.0.1", 0), _Refuser)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def run_client(
    folder: Path, prepare: Callable[[Client], list[str]], *, root: str, model: str, task: str, proxy: int, limit_s: float
) -> Outcome:
    """Runs a client to its end in a new folder."""
    shutil.rmtree(folder, ignore_errors=True)
    client = Client(folder / "home", folder / "work", root, model, task)
    for path in (client.home, client.work, folder / "tmp"):
        path.mkdir(parents=True)
    command = prepare(client)
    outside = f"http://127.0.0.1:{proxy}"
    local = "127.0.0.1,localhost,::1"
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), outside)
    environment = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": str(client.home),
        "TMPDIR": str(folder / "tmp"),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "CI": "1",
        "NO_COLOR": "1",
        "DO_NOT_TRACK": "1",
        **proxies,
        "NO_PROXY": local,
        "no_proxy": local,
        **client.env,
    }
    if os.getuid() == 0 and shutil.which("setpriv"):
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *command]
    return _wait(command, folder, client.work, environment, limit_s)


def free_port() -> int:
    """Finds a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(command: list[str], folder: Path, work: Path, environment: dict[str, str], limit_s: float) -> Outcome:
    began_s = time.monotonic()
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        code: int | None = None
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            pass
        finally:
            _end_group(process)
    made = work / "hello.txt"
    return Outcome(
        code,
        time.monotonic() - began_s,
        (folder / "output").read_text(errors="replace"),
        made.read_text(errors="replace").strip() if made.exists() else None,
    )


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends what a client left in its own process group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        time.sleep(0.3)
    process.wait(5)
