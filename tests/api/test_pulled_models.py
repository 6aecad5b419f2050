"""From a repository on the Hub to an answer, by each API's own way to download: folders of several formats."""

from __future__ import annotations

import asyncio
import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from engine_tools import find_starter
from hub_stand_in import HubStandIn, Repo
from tiny_folder import make_tiny_folder

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]

JUNK = {"README.md": b"# tiny", "modeling_tiny.py": b"raise SystemExit", "optimizer.pt": b"x", "trainer_state.json": b"{}"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_folder(tmp_path_factory.mktemp("tiny") / "tiny", find_starter())


def read(folder: Path) -> Repo:
    """Makes a repository of a folder, with what others put beside models."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    config = json.loads(files["config.json"])
    facts: dict[str, object] = {
        "config": {key: config[key] for key in ("model_type", "architectures")},
        "pipeline_tag": "text-generation",
    }
    if "quantization" in config:
        facts |= {"library_name": "mlx", "tags": ["mlx"]}
    return Repo({**files, **JUNK}, facts=facts)


async def ask(live, model: str) -> tuple[str, int]:
    """Asks a model, and gives whose answer came and how many tokens it has."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4, "temperature": 0}
    async with live.session.post(f"{live.url}/v1/chat/completions", json=body) as response:
        answer = await response.json()
        assert response.status == 200, answer
        return answer["model"], answer["usage"]["completion_tokens"]


async def test_ollama_s_pull_brings_safetensors_that_answer(serve, tiny: Path) -> None:
    if find_spec("mlx_lm") is None and find_spec("torch") is None:
        pytest.skip("no engine for SafeTensors is installed")
    async with HubStandIn() as hub, serve(hub=hub.url) as live, asyncio.timeout(240):
        hub.repos["someone/Tiny-Llama"] = read(tiny)
        async with live.session.post(f"{live.url}/api/pull", json={"model": "someone/Tiny-Llama"}) as response:
            steps = [json.loads(line) async for line in response.content]
        assert steps[-1] == {"status": "success"}, steps
        size = sum(len(data) for path, data in hub.repos["someone/Tiny-Llama"].files.items() if path not in JUNK)
        assert {step["total"] for step in steps if "total" in step} <= {size}
        [model] = [model for model in live.runtime.statuses() if model.model.store == "impetus"]
        assert (model.model.id, model.model.header.format, model.model.problem) == ("Tiny-Llama", "safetensors", None)
        assert not any((model.model.path / name).exists() for name in JUNK)
        assert await ask(live, "Tiny-Llama") == ("Tiny-Llama", 4)


async def test_lm_studio_s_download_brings_the_precision_that_is_named(serve, tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    if find_spec("onnxruntime") is None:
        pytest.skip("onnxruntime is not installed")
    from tiny_onnx import make_community_folder

    folder = make_community_folder(tmp_path / "made", tiny)
    graph = (folder / "onnx" / "model.onnx").read_bytes()
    async with HubStandIn() as hub, serve(hub=hub.url) as live, asyncio.timeout(240):
        repo = hub.repos["someone/Tiny-ONNX"] = read(folder)
        repo.files["onnx/model_fp16.onnx"] = graph[:-1]
        body = {"model": "someone/Tiny-ONNX", "quantization": "onnx/model.onnx"}
        async with live.session.post(f"{live.url}/api/v1/models/download", json=body) as response:
            job = await response.json()
        while job["status"] == "downloading":
            await asyncio.sleep(0.05)
            async with live.session.get(f"{live.url}/api/v1/models/download/status/{job['job_id']}") as response:
                job = await response.json()
        assert job["status"] == "completed", job
        assert "onnx/model_fp16.onnx" not in {seen.path for seen in hub.downloads}
        assert await ask(live, "Tiny-ONNX") == ("Tiny-ONNX", 4)
        [model] = [model.model for model in live.runtime.statuses() if model.model.store == "impetus"]
        assert model.path.name == "model.onnx"


async def test_a_pulled_mlx_folder_answers(serve, tiny: Path, tmp_path: Path) -> None:
    if find_spec("mlx_lm") is None:
        pytest.skip("mlx-lm is not installed")
    from tiny_mlx import quantize_folder

    folder = await asyncio.to_thread(quantize_folder, tmp_path / "made", tiny)
    async with HubStandIn() as hub, serve(hub=hub.url) as live, asyncio.timeout(240):
        hub.repos["mlx-community/Tiny-4bit"] = read(folder)
        [file] = await live.runtime.hub_files("mlx-community/Tiny-4bit")
        assert (file.format, file.quantization) == ("mlx", "4-bit")
        async with live.session.post(
            f"{live.url}/api/pull", json={"model": "mlx-community/Tiny-4bit", "stream": False}
        ) as response:
            assert await response.json() == {"status": "success"}
        assert await ask(live, "Tiny-4bit") == ("Tiny-4bit", 4)
