"""How many tokens a second go through HTTP: the echo engine in 64 streams, beside a bare aiohttp loop.

    .venv/bin/python tests/benchmarks/api_throughput.py [--streams 64] [--tokens 2000] [--rounds 3] [--paced 1000]

The server, its engine's process and this client share the machine. At full speed the engine gives many tokens of a stream in
one step; the paced run has them come one by one, so that nearly each is a write of its own, which is the server's harder
case. It fails below 40,000 tokens a second at full speed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

EVENT = b"data: "
LEAST_TPS = 40_000
DEADLINE_S = 120.0
START_S = 30.0
WORDS = "the quick brown fox jumps over the lazy dog and runs away from it all day long"


@dataclass(frozen=True)
class Result:
    """What one run gave."""

    tokens: int
    megabytes: float
    elapsed_s: float
    first_s: float
    """Until the first byte of the last stream to begin."""

    @property
    def tps(self) -> float:
        """Tokens per second of all streams together."""
        return self.tokens / self.elapsed_s


def read_streams(port: int, request: bytes, *, streams: int, overhead: int) -> Result:
    """Sends the same request on many connections and counts events until all are closed.

    `overhead` is how many events of a stream are no token.
    """
    with selectors.DefaultSelector() as selector:
        started_s = time.perf_counter()
        for _ in range(streams):
            client = socket.create_connection(("127.0.0.1", port))
            client.sendall(request)
            client.setblocking(False)
            selector.register(client, selectors.EVENT_READ, b"")
        events = size = 0
        begun_s = ended_s = started_s
        waiting = streams
        while selector.get_map():
            if time.perf_counter() - started_s > DEADLINE_S:
                raise SystemExit("the streams did not end in time")
            for key, _ in selector.select(1.0):
                client: socket.socket = key.fileobj  # type: ignore[assignment]
                data = client.recv(262_144)
                if not data:
                    selector.unregister(client)
                    client.close()
                    ended_s = time.perf_counter()
                    continue
                if not key.data:
                    waiting -= 1
                    if not waiting:
                        begun_s = time.perf_counter()
                size += len(data)
                seen = key.data + data
                events += seen.count(EVENT)
                selector.modify(client, selectors.EVENT_READ, data[-len(EVENT) + 1 :])
    return Result(events - streams * overhead, size / 1e6, ended_s - started_s, begun_s - started_s)


def post(path: str, body: dict[str, object]) -> bytes:
    """A request as bytes; the server closes the connection after it."""
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    return head.encode() + data


@contextmanager
def serving(command: list[str]) -> Iterator[int]:
    """Starts a server that prints its address in its first line; gives the port."""
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"IMPETUS_HOME": home}
        # Nothing else is to be in memory, and the log is of no interest.
        Path(home, "impetus.toml").write_text('[models]\nload_at_start = false\n[log]\nlevel = "error"\n')
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=home)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if "http://" not in line:
                raise SystemExit(f"{command[-1]} did not start: {line!r}")
            yield int(line.rsplit(":", 1)[1])
        finally:
            process.terminate()
            process.wait(START_S)


def measure_impetus(*, streams: int, tokens: int, rounds: int, tps: float) -> list[Result]:
    """Streams chats from the echo engine at so many tokens per second and stream; 0 is as fast as it can."""
    body: dict[str, object] = {
        "model": "echo",
        "messages": [{"role": "user", "content": WORDS}],
        "max_tokens": tokens,
        "stream": True,
        "echo_tps": tps,
    }
    with serving([sys.executable, "-m", "impetus", "serve", "--echo", "--port", "0"]) as port:
        warm = post("/v1/chat/completions", body | {"max_tokens": 10})
        read_streams(port, warm, streams=2, overhead=3)
        request = post("/v1/chat/completions", body)
        # The role, the finish reason and [DONE] are no tokens.
        return [read_streams(port, request, streams=streams, overhead=3) for _ in range(rounds)]


def measure_bare(*, streams: int, tokens: int, rounds: int) -> list[Result]:
    """Streams the same amount from a handler that writes one ready-made event after the other."""
    with serving([sys.executable, str(Path(__file__).absolute()), "--bare-server"]) as port:
        request = post(f"/{tokens}", {})
        return [read_streams(port, request, streams=streams, overhead=0) for _ in range(rounds)]


async def serve_bare() -> None:
    """The plainest stream aiohttp can serve."""
    chunk = {"id": "chatcmpl-" + "0" * 24, "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "echo"}
    choice = {"index": 0, "delta": {"content": " quick"}, "finish_reason": None}
    event = EVENT + json.dumps(chunk | {"system_fingerprint": "x", "choices": [choice]}).encode() + b"\n\n"

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number in range(int(request.match_info["tokens"])):
            await response.write(event)
            if number % 50 == 0:
                await asyncio.sleep(0)
        await response.write_eof()
        return response

    app = web.Application()
    app.router.add_post("/{tokens}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


def show(name: str, results: list[Result]) -> float:
    """Prints each run; gives the best, as other work on the machine only ever takes away."""
    for result in results:
        print(
            f"{name:8} {result.tokens:8d} tokens {result.megabytes:6.1f} MB in {result.elapsed_s:5.2f} s: "
            f"{result.tps:9,.0f} tokens/s, all begun after {result.first_s * 1000:4.0f} ms"
        )
    return max(result.tps for result in results)


def main() -> int:
    """Measures both and compares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--paced", type=float, default=1000.0, help="a stream's speed where tokens come one by one")
    parser.add_argument("--bare-server", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare_server:
        asyncio.run(serve_bare())
        return 0
    amount = {"streams": options.streams, "tokens": options.tokens, "rounds": options.rounds}
    impetus = show("impetus", measure_impetus(**amount, tps=0))
    show("paced", measure_impetus(**amount | {"rounds": 1}, tps=options.paced))
    bare = show("bare", measure_bare(**amount))
    print(f"impetus gives {impetus:,.0f} tokens/s, {impetus / bare:.2f} of the bare loop's {bare:,.0f} events/s")
    return 0 if impetus >= LEAST_TPS else 1


if __name__ == "__main__":
    sys.exit(main())
