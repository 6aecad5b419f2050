"""Lets real clients do a task against a server of this checkout, each once, and says how it went.

    .venv/bin/python tests/clients/run.py [--only cline,codex] [--server http://127.0.0.1:8080 --model ID] [--limit 300]

Without `--server` it starts one with the scripted model. Agents are to create a file; libraries only ask. A client whose
packages cannot be fetched is left out, and said. The exit code is 1 where one failed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from installs import NotInstalled, clients_home
from sandbox import Outcome, free_port, refusing_proxy, run_client
from setups import AGENTS, LIBRARIES

TASK = "Create a file named hello.txt with content hi-impetus"
CONTENT = "hi-impetus"
START_LIMIT_S = 60
_ERROR = re.compile(r".*(?:error|failed|assert).*", re.IGNORECASE)


def main() -> int:
    """Runs the clients that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names of clients, with commas between")
    parser.add_argument("--server", help="a server that runs already")
    parser.add_argument("--model", default="scripted")
    parser.add_argument("--limit", type=float, default=300, help="seconds that a client may take")
    parser.add_argument("--list", action="store_true", help="only name the clients")
    options = parser.parse_args()
    known = AGENTS | LIBRARIES
    if options.list:
        print("\n".join(known))
        return 0
    names = options.only.split(",") if options.only else list(known)
    if unknown := [name for name in names if name not in known]:
        parser.error(f"there is no client {', '.join(unknown)}; there are {', '.join(known)}")
    clients_home().mkdir(parents=True, exist_ok=True)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="impetus-clients-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        with _server(options.server, Path(folder)) as root, refusing_proxy() as proxy:
            for name in names:
                try:
                    outcome = run_client(
                        Path(folder) / name,
                        known[name],
                        root=root,
                        model=options.model,
                        task=TASK,
                        proxy=proxy,
                        limit_s=options.limit,
                    )
                except NotInstalled as error:
                    print(f"left out  {name:24} {error}", flush=True)
                    continue
                problem = _problem(name, outcome)
                failed += problem is not None
                print(
                    f"{'passed' if problem is None else 'FAILED':9} {name:24} {outcome.took_s:5.1f} s  {problem or ''}",
                    flush=True,
                )
                shutil.rmtree(Path(folder) / name, ignore_errors=True)
    print(f"{failed} of {len(names)} clients failed")
    return 1 if failed else 0


def _problem(name: str, outcome: Outcome) -> str | None:
    """Says what went wrong in a run; None where nothing did."""
    if outcome.code is None:
        return "it came to no end"
    if outcome.code != 0:
        lines = [line for line in outcome.output.splitlines() if line.strip()]
        told = [line for line in lines if _ERROR.match(line)] or lines or ["it said nothing"]
        return f"exit code {outcome.code}: {told[-1][-300:]}"
    if name in AGENTS and outcome.made != CONTENT:
        return f"hello.txt holds {outcome.made!r}"
    return None


@contextmanager
def _server(given: str | None, folder: Path) -> Iterator[str]:
    """Gives the address of a server: the one that was named, or a new one with the scripted model."""
    if given is not None:
        yield given.rstrip("/").removesuffix("/v1")
        return
    port = free_port()
    root = f"http://127.0.0.1:{port}"
    settings = folder / "impetus.toml"
    settings.write_text("[models]\nstarter = false\nhuggingface_cache = false\nload_at_start = false\n")
    command = [sys.executable, "-m", "impetus", "serve", "--config", str(settings), "--port", str(port), "--scripted"]
    environment = {**os.environ, "IMPETUS_HOME": str(folder / "impetus")}
    with (folder / "server.log").open("wb") as log:
        # Not in this folder, whose modules would hide the package's.
        server = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _wait_for(root, server)
        yield root
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(5)


def _wait_for(root: str, server: subprocess.Popen[bytes]) -> None:
    opener = build_opener(ProxyHandler({}))
    until_s = time.monotonic() + START_LIMIT_S
    while time.monotonic() < until_s and server.poll() is None:
        try:
            with opener.open(f"{root}/health", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise SystemExit("the server did not start")


if __name__ == "__main__":
    sys.exit(main())
