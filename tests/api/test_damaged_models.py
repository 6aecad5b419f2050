"""Damaged and hostile models of several formats, asked for at a server: refused in words, and the server lives."""

from __future__ import annotations

import asyncio
import json
import pickle
import re
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from engine_tools import find_starter
from tiny_folder import make_tiny_folder

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]


class Evil:
    """What a pickle would run."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (eval, (f"open({str(self.marker)!r}, 'w').close()",))


def make_models(root: Path, marker: Path) -> dict[str, str]:
    """Writes one model of each kind of damage; gives what is to be said of each."""
    source = make_tiny_folder(root / "cut", find_starter())
    beside = [path for path in source.iterdir() if path.suffix != ".safetensors"]

    def beside_in(name: str) -> Path:
        folder = root / name
        folder.mkdir(parents=True)
        for path in beside:
            (folder / path.name).write_bytes(path.read_bytes())
        return folder

    weights = source / "model.safetensors"
    whole = weights.read_bytes()
    (beside_in("parts") / "model-00001-of-00002.safetensors").write_bytes(whole)
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (root / "parts" / "model.safetensors.index.json").write_text(json.dumps(index))
    weights.write_bytes(whole[:-100])
    with zipfile.ZipFile(beside_in("program") / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"model.norm.weight": Evil(marker)}, protocol=2))
        archive.writestr("archive/version", "3\n")
    told = {
        "cut": "model.safetensors: its tensors need 100 bytes more than the file has",
        "parts": "1 of its 2 parts are missing, as model-00002-of-00002.safetensors",
        # By torch, or by our own reader of checkpoints.
        "program": r"holds more than weights|pytorch_model\.bin",
    }
    if find_spec("onnx") is not None:
        import onnx
        from tiny_onnx import make_community_folder

        weights.write_bytes(whole)
        folder = make_community_folder(root / "elsewhere", source)
        weights.write_bytes(whole[:-100])
        path = folder / "onnx" / "model.onnx"
        graph = onnx.load(path, load_external_data=False)
        for tensor in graph.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = "../../../secret"
        onnx.save(graph, path)
        (root.parent / "secret").write_bytes((folder / "onnx" / "model.onnx_data").read_bytes())
        (beside_in("short") / "model.onnx").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        told |= {"elsewhere": "model.onnx", "short": "model.onnx: its graph needs"}
    return told


async def test_each_is_refused_in_words_and_the_server_lives(serve, tmp_path: Path) -> None:
    marker = tmp_path / "was-run"
    told = await asyncio.to_thread(make_models, tmp_path / "models", marker)
    async with serve() as live, asyncio.timeout(240):
        known = {status.model.id: status.model for status in live.runtime.statuses()}
        assert set(told) <= set(known)
        for name, words in told.items():
            body = {"model": name, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
            async with live.session.post(f"{live.url}/v1/chat/completions", json=body) as response:
                answer = await response.json()
                assert response.status >= 400, (name, answer)
                assert re.search(words, answer["error"]["message"]), (name, answer)
        body = {"model": "echo", "messages": [{"role": "user", "content": "still there"}]}
        async with live.session.post(f"{live.url}/v1/chat/completions", json=body) as response:
            assert "still there" in (await response.json())["choices"][0]["message"]["content"]
    assert not marker.exists()
