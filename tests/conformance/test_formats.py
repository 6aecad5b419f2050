"""The starter model in every format and layout, through the server: found, loaded, right, streamed, stopped, held to a form.

Run as a program it writes the table in docs/engines.md anew: `python tests/conformance/test_formats.py`.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from build_models import STEPS, build
from reference_answers import PROMPTS

HERE = Path(__file__).parent
DOC = HERE.parent.parent / "docs" / "engines.md"
BEGIN, END = "<!-- conformance: begin -->\n", "<!-- conformance: end -->\n"
START_S, REQUEST_S = 60, 240
EXACT = frozenset(
    {
        "safetensors-f32",
        "safetensors-f16",
        "safetensors-sharded",
        "pytorch",
        "pytorch-sharded",
        "mlx-f16",
        "genai-fp32",
        "onnx-fp32",
        "gguf-f16",
    }
)
"""Layouts whose numbers are precise enough that every greedy token has to be the reference's."""
FORMATS = {"safetensors": "safetensors", "pytorch": "pytorch", "mlx": "mlx", "genai": "onnx", "onnx": "onnx", "gguf": "gguf"}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "people": {"type": "integer"}},
    "required": ["city", "people"],
    "additionalProperties": False,
}
SERVED = [name for name in STEPS if name != "reference" and not name.startswith("coreml")]
"""What an engine computes on every machine."""
LAYOUTS = [(name, "auto") for name in SERVED]
LAYOUTS += [("safetensors-f32", "mlx"), ("safetensors-bf16", "mlx"), ("pytorch", "mlx")]
"""Each with the engine that the settings prefer."""

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]


@cache
def layouts() -> dict[str, Path]:
    return build(*SERVED, "reference")


@cache
def reference() -> dict[str, Any]:
    return json.loads((layouts()["reference"] / "reference.json").read_text())


class Server:
    """A server of its own, with all layouts in its models folder."""

    def __init__(self, root: str, pid: int) -> None:
        self.root = root
        self.pid = pid

    async def ask(self, path: str, body: dict[str, Any] | None = None, *, method: str = "POST") -> Any:
        """Sends a request; gives the JSON of its answer."""
        timeout = aiohttp.ClientTimeout(total=REQUEST_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, self.root + path, json=body) as answer,
        ):
            told = await answer.json()
            assert answer.status == 200, told
            return told

    async def stream(
        self, path: str, body: dict[str, Any], *, most_events: int | None = None, until_text: bool = False
    ) -> list[dict[str, Any]]:
        """Reads a stream of events; leaves after so many of them, or at the first text."""
        found: list[dict[str, Any]] = []
        timeout = aiohttp.ClientTimeout(total=REQUEST_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(self.root + path, json=body | {"stream": True}) as answer,
        ):
            assert answer.status == 200, await answer.text()
            async for line in answer.content:
                if line.startswith(b"data: {"):
                    found.append(json.loads(line[6:]))
                if most_events is not None and len(found) >= most_events:
                    break
                if until_text and found and any(choice["text"] for choice in found[-1]["choices"]):
                    break
        return found

    async def model(self, name: str) -> dict[str, Any]:
        """Gives what the server says of a model."""
        status = await self.ask("/impetus/v1/status", method="GET")
        return next(model for model in status["models"] if model["id"] == name)

    async def wait_until_idle(self, name: str) -> None:
        """Waits until nothing runs in a model."""
        for _ in range(200):
            if not (await self.model(name))["running"]:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"something still runs in {name}")


@contextmanager
def running_server(folder: Path, prefer: str, *, max_loaded: int = 0, fresh: bool = True) -> Iterator[Server]:
    """Starts a server over links to all layouts, named as they are; with `fresh` off over a folder that one ran in before."""
    models = folder / "models"
    models.mkdir(parents=True, exist_ok=not fresh)
    for name, path in layouts().items() if fresh else ():
        if name.startswith("gguf"):
            for file in path.iterdir():
                (models / file.name).symlink_to(file)
        elif name != "reference":
            (models / f"SmolLM2-{name}").symlink_to(path)
    with serve_folder(
        folder, f"max_loaded = {max_loaded or 3}\n", f'[engine]\nprefer = "{prefer}"\ncontext_length = 1024\n'
    ) as server:
        yield server


@contextmanager
def serve_folder(folder: Path, models: str = "", more: str = "") -> Iterator[Server]:
    """Starts a server over the models in a folder's folder `models`, with further settings."""
    settings = folder / "impetus.toml"
    settings.write_text(f"[models]\nstarter = false\nhuggingface_cache = false\nload_at_start = false\n{models}{more}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "impetus", "serve", "--config", str(settings), "--port", str(port)]
    environment = os.environ | {"IMPETUS_HOME": str(folder), "CI": "true"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        for _ in range(START_S * 10):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, (folder / "server.log").read_text()
            time.sleep(0.1)
        yield Server(f"http://127.0.0.1:{port}", process.pid)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def name_of(layout: str) -> str:
    """The id of a layout's model."""
    return {"gguf-f16": "SmolLM2-135M-Instruct-F16", "gguf-split": "SmolLM2-135M-Instruct-Q4_1"}.get(
        layout, f"SmolLM2-{layout}"
    )


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    with (
        running_server(tmp_path_factory.mktemp("auto"), "auto") as auto,
        running_server(tmp_path_factory.mktemp("mlx"), "mlx") as mlx,
    ):
        yield {"auto": auto, "mlx": mlx}


@pytest.fixture(params=LAYOUTS, ids=lambda layout: "-on-".join(layout) if layout[1] != "auto" else layout[0])
def layout(request: pytest.FixtureRequest) -> tuple[str, str]:
    name, prefer = request.param
    if name not in layouts():
        pytest.skip(f"what makes {name} is not installed")
    return name, prefer


async def test_a_layout_is_served_as_the_reference_says(layout: tuple[str, str], servers: dict[str, Server]) -> None:
    name, prefer = layout
    told = await check_layout(servers[prefer], name)
    print(told)


async def check_layout(server: Server, layout: str) -> dict[str, str]:
    """Checks all that is promised of a layout; gives a line of the table."""
    model = name_of(layout)
    entry = await server.model(model)
    assert entry["problem"] is None
    assert entry["format"] == FORMATS[layout.partition("-")[0]]
    began_s = time.monotonic()
    await server.ask("/impetus/v1/models/load", {"model": model})
    loaded_s = time.monotonic() - began_s
    entry = await server.model(model)
    assert entry["state"] == "ready"
    assert entry["context_length"] == 1024
    try:
        row = {"layout": layout, "engine": entry["engine"], "load": f"{loaded_s:.1f} s"}
        row["tokens"] = await check_tokens(server, layout, model)
        await check_streams_and_stops(server, model)
        await check_form(server, model)
        await check_cancel(server, model)
        return row
    finally:
        await server.ask("/impetus/v1/models/unload", {"model": model})
        entry = await server.model(model)
        assert entry["state"] == "unloaded"
        assert entry["pid"] is None


async def check_tokens(server: Server, layout: str, model: str) -> str:
    """All prompts at once, then one alone: the reference's text, or where a rounded model first differs."""

    async def answer(text: str) -> dict[str, Any]:
        body = {"model": model, "messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 32}
        return await server.ask("/v1/chat/completions", body)

    answers = await asyncio.gather(*(answer(text) for text in PROMPTS))
    alike: list[int] = []
    for told, wanted in zip(answers, reference()["prompts"], strict=True):
        assert told["usage"]["prompt_tokens"] == len(wanted["ids"])  # the template wrote what transformers' does
        text = told["choices"][0]["message"]["content"]
        assert text.strip()
        pairs = zip(text, wanted["answer"], strict=False)
        alike.append(next((at for at, (ours, theirs) in enumerate(pairs) if ours != theirs), len(text)))
        if layout in EXACT:
            assert text == wanted["answer"]
    again = await answer(PROMPTS[2])
    if layout in EXACT:
        assert again["choices"][0]["message"]["content"] == reference()["prompts"][2]["answer"]
        return "all as the reference"
    return "first difference after " + ", ".join(map(str, alike)) + " characters"


async def check_streams_and_stops(server: Server, model: str) -> None:
    """A stream has the same text as a whole answer; a stop string ends it before."""
    body = {"model": model, "prompt": "The sky is blue because", "temperature": 0, "max_tokens": 12}
    whole = await server.ask("/v1/completions", body)
    events = await server.stream("/v1/completions", body)
    text = "".join(event["choices"][0]["text"] for event in events if event["choices"])
    assert text == whole["choices"][0]["text"]
    assert len([event for event in events if event["choices"] and event["choices"][0]["text"]]) > 3
    word = text.split()[-1]
    stopped = await server.ask("/v1/completions", body | {"stop": [word]})
    assert stopped["choices"][0]["finish_reason"] == "stop"
    assert stopped["choices"][0]["text"] == text[: text.index(word)]


async def check_form(server: Server, model: str) -> None:
    """An answer obeys its JSON schema."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Name a city and how many people live there."}],
        "temperature": 0,
        "max_tokens": 60,
        "response_format": {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA, "strict": True}},
    }
    told = await server.ask("/v1/chat/completions", body)
    choice = told["choices"][0]
    if choice["finish_reason"] == "stop":
        value = json.loads(choice["message"]["content"])
        assert isinstance(value["city"], str)
        assert isinstance(value["people"], int)
    else:  # a small model may count on to the end
        assert choice["message"]["content"].lstrip().startswith("{")


async def check_cancel(server: Server, model: str) -> None:
    """Whoever leaves frees the engine at once."""
    body = {"model": model, "prompt": "Once upon a time", "temperature": 0, "max_tokens": 500}
    await server.stream("/v1/completions", body, most_events=2)
    await server.wait_until_idle(model)


@pytest.mark.parametrize("layout", [name for name in SERVED if not name.startswith("gguf")])
def test_a_text_is_found_as_likely_as_by_the_library_alone(layout: str) -> None:
    """Greedy text says little of a rounded model: its ties fall otherwise with every shape of a batch."""
    if layout not in layouts():
        pytest.skip(f"what makes {layout} is not installed")
    ours, theirs = measure_losses(layout)
    assert ours == pytest.approx(theirs, rel=0.02)
    if layout in EXACT:
        assert ours == pytest.approx(reference()["measured"]["nll"], rel=0.002)


def measure_losses(layout: str) -> tuple[float, float]:
    """Mean negative log-likelihood of a text by our engine and by the library alone."""
    engine = {"genai": "onnx", "safetensors": "torch", "pytorch": "torch"}
    name = layout.partition("-")[0]
    ids = json.dumps(reference()["measured"]["ids"])
    command = [
        sys.executable,
        "-W",
        "ignore",
        str(HERE / "measure_nll.py"),
        engine.get(name, name),
        str(layouts()[layout]),
        ids,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    ours, theirs = json.loads(done.stdout)
    return ours, theirs


def main() -> int:
    """Writes the table anew."""
    rows: list[dict[str, str]] = []
    for prefer in ("auto", "mlx"):
        with tempfile.TemporaryDirectory() as folder, running_server(Path(folder) / prefer, prefer) as server:
            for name, wanted in LAYOUTS:
                if wanted == prefer and name in layouts():
                    row = asyncio.run(check_layout(server, name))
                    row["loss"] = "" if name.startswith("gguf") else f"{measure_losses(name)[0]:.3f}"
                    rows.append(row)
                    print(rows[-1], flush=True)
    table = "| layout | engine | load | greedy text | loss |\n|---|---|---|---|---|\n"
    table += "".join(
        f"| {row['layout']} | {row['engine']} | {row['load']} | {row['tokens']} | {row['loss']} |\n" for row in rows
    )
    text = DOC.read_text(encoding="utf-8")
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    DOC.write_text(before + table + after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
