from __future__ import annotations

import asyncio
import json

import pytest
from crafted_gguf import LLAMA, TENSORS, make_gguf
from hub_stand_in import HubStandIn, Repo
from tiny_models import tiny_llama

from impetus.runtime.errors import DownloadError
from impetus.runtime.formats.config_weights import count_weights
from impetus.runtime.formats.detect import detect
from impetus.runtime.models.hub_header import read_remote_header

CONFIG = {
    "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "hidden_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 128, "vocab_size": 512,
    "max_position_embeddings": 4096,
}  # fmt: skip


async def read(hub: HubStandIn, reference: str):
    return await asyncio.to_thread(read_remote_header, reference, endpoint=hub.url)


async def test_a_gguf_model_says_there_what_it_says_here(tmp_path):
    path = tiny_llama(tmp_path / "tiny-F32.gguf")
    async with HubStandIn() as hub:
        hub.repos["some/tiny-GGUF"] = Repo({"tiny-F32.gguf": path.read_bytes()})
        there = await read(hub, "some/tiny-GGUF")
        assert hub.seen[-1].range == f"bytes=0-{(4 << 20) - 1}"
    here = detect(path)
    assert (there.active, there.kv_layout, there.layers, there.size_bytes) == (
        here.active,
        here.kv_layout,
        here.layers,
        here.size_bytes,
    )
    assert there.name == "some/tiny-GGUF:F32"


async def test_a_folder_is_counted_by_its_config():
    files = {"model.safetensors": b"x" * 100_000, "config.json": json.dumps(CONFIG).encode(), "tokenizer.json": b"{}"}
    async with HubStandIn() as hub:
        hub.repos["some/tiny"] = Repo(files, facts={"config": CONFIG})
        there = await read(hub, "some/tiny")
    counted = count_weights(CONFIG)
    assert there.format == "safetensors"
    assert there.parameters == counted.parameters
    assert there.active.parameters == counted.active_parameters
    assert (there.context_length, there.kv_heads, there.layers) == (4096, 2, 2)
    assert there.size_bytes >= 100_000


@pytest.mark.parametrize("reference", ["some/tiny-GGUF:Q9_9", "some/nothing", "no reference"])
async def test_what_is_not_there_is_told(reference):
    async with HubStandIn() as hub:
        hub.repos["some/tiny-GGUF"] = Repo({"tiny-Q4_0.gguf": make_gguf(LLAMA, TENSORS)})
        with pytest.raises(DownloadError):
            await read(hub, reference)


async def test_a_damaged_file_is_told():
    async with HubStandIn() as hub:
        hub.repos["some/tiny-GGUF"] = Repo({"tiny-Q4_0.gguf": b"GGUF" + b"\xff" * 5000})
        with pytest.raises(DownloadError, match="some/tiny-GGUF"):
            await read(hub, "some/tiny-GGUF")
