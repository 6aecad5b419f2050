"""Pulls of whole folders from a stand-in for the Hub: what comes, in which order, and what a kill in the middle leaves."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import AsyncIterator
from pathlib import Path

import numpy
import pytest
from hub_stand_in import HubStandIn, Repo
from pull_child import pull_until_killed
from safetensors.numpy import save

from impetus.runtime.models.download import Download, Downloads
from impetus.runtime.models.hub import Hub
from impetus.runtime.models.model import Model
from impetus.runtime.models.registry import Registry
from impetus.runtime.models.stores import PARTIAL_DIR, PLACING_SUFFIX, FolderStore

CONFIG: dict[str, object] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "max_position_embeddings": 2048,
    "vocab_size": 100,
}


def tensors(seed: int) -> bytes:
    """Some 600 kB, more than fits into the buffers of a connection's two ends."""
    numbers = numpy.random.default_rng(seed).standard_normal((300, 1000)).astype(numpy.float16)
    return save({f"w{seed}": numbers}, {"format": "pt"})


PARTS = {f"model-0000{number}-of-00002.safetensors": tensors(number) for number in (1, 2)}
WHOLE: dict[str, bytes] = {
    "README.md": b"# m",
    "config.json": json.dumps(CONFIG).encode(),
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b'{"chat_template": "x"}',
    "training_args.bin": b"never",
    "pytorch_model.bin": b"never both",
    "model.safetensors.index.json": json.dumps({"weight_map": {f"w{at}": name for at, name in enumerate(PARTS)}}).encode(),
    **PARTS,
}
WANTED = sorted(set(WHOLE) - {"README.md", "training_args.bin", "pytorch_model.bin"})


@pytest.fixture
async def hub() -> AsyncIterator[HubStandIn]:
    async with HubStandIn() as stand_in:
        yield stand_in


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    return tmp_path / "models"


async def pull(models_dir: Path, hub: HubStandIn, reference: str, *, free_bytes: int = 10**12) -> Download:
    async with Downloads(models_dir, endpoint=hub.url, read_free_bytes=lambda _: free_bytes) as downloads, asyncio.timeout(30):
        return await downloads.wait(downloads.pull(reference).id)


async def scan(models_dir: Path) -> tuple[Model, ...]:
    return await asyncio.to_thread(Registry([FolderStore(models_dir)]).scan)


def here(models_dir: Path, repo: str = "o/m") -> list[str]:
    root = models_dir / repo
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


async def test_a_folder_comes_whole_and_is_listed(hub: HubStandIn, models_dir: Path) -> None:
    hub.repos["o/m"] = Repo(WHOLE, facts={"config": CONFIG, "safetensors": {"parameters": {"F16": 600_000}, "total": 600_000}})
    done = await pull(models_dir, hub, "o/m")
    assert (done.state, done.error, done.file) == ("done", None, next(iter(PARTS)))
    assert done.total_bytes == done.done_bytes == sum(len(WHOLE[name]) for name in WANTED)
    assert here(models_dir) == WANTED
    assert all((models_dir / "o" / "m" / name).read_bytes() == WHOLE[name] for name in WANTED)
    assert not (models_dir / PARTIAL_DIR).exists()
    [model] = await scan(models_dir)
    assert (model.id, model.header.format, model.header.shards, model.header.layers) == ("m", "safetensors", 2, 3)
    count = len(hub.downloads)
    assert (await pull(models_dir, hub, "o/m:safetensors")).state == "done"
    assert len(hub.downloads) == count


async def test_a_folder_killed_in_its_second_part_is_no_model_and_goes_on_there(hub: HubStandIn, models_dir: Path) -> None:
    hub.repos["o/m"] = Repo(WHOLE)
    first, second = PARTS
    stop_at = len(WHOLE["config.json"]) + len(PARTS[first]) + 300_000
    hub.stall_after, hub.stalls_in = 300_000, second
    await pull_until_killed(models_dir, hub.url, "o/m", stop_at=stop_at)
    assert await scan(models_dir) == ()
    assert here(models_dir) == []
    hub.go_on.set()
    before = len(hub.downloads)
    assert (await pull(models_dir, hub, "o/m")).state == "done"
    again = hub.downloads[before:]
    assert [seen.range for seen in again if seen.path == second] == ["bytes=300000-"]
    assert {seen.path for seen in again}.isdisjoint({"config.json", first})
    assert [model.id for model in await scan(models_dir)] == ["m"]
    assert all((models_dir / "o" / "m" / name).read_bytes() == WHOLE[name] for name in WANTED)


@pytest.mark.parametrize("placed", range(3))
async def test_an_end_while_files_are_put_in_their_places_leaves_no_model(
    hub: HubStandIn, models_dir: Path, monkeypatch: pytest.MonkeyPatch, placed: int
) -> None:
    hub.repos["o/m"] = Repo(WHOLE)
    old = {**WHOLE, "config.json": json.dumps({**CONFIG, "num_hidden_layers": 4}).encode()}
    old |= {name: tensors(number) for name, number in zip(PARTS, (3, 4), strict=True)}
    (models_dir / "o" / "m").mkdir(parents=True)
    for name in WANTED:
        (models_dir / "o" / "m" / name).write_bytes(old[name])
    assert [model.header.layers for model in await scan(models_dir)] == [4]
    left = placed
    replace = Path.replace

    def dying(self: Path, target: Path) -> Path:
        nonlocal left
        if target.is_relative_to(models_dir / "o"):
            if left == 0:
                raise OSError(errno.EIO, "gone")
            left -= 1
        return replace(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", dying)
        assert "could not be written" in ((await pull(models_dir, hub, "o/m")).error or "")
    # Old and new files lie there side by side.
    assert await scan(models_dir) == ()
    assert (await pull(models_dir, hub, "o/m")).state == "done"
    assert [model.header.layers for model in await scan(models_dir)] == [3]
    assert all((models_dir / "o" / "m" / name).read_bytes() == WHOLE[name] for name in WANTED)
    assert not (models_dir / PARTIAL_DIR).exists()


async def test_an_end_before_the_mark_was_taken_away_is_mended_by_the_next_pull(
    hub: HubStandIn, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repos["o/m"] = Repo(WHOLE)
    unlink = Path.unlink

    def dying(self: Path, missing_ok: bool = False) -> None:
        if self.name.endswith(PLACING_SUFFIX):
            raise OSError(errno.EIO, "gone")
        unlink(self, missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", dying)
        assert "could not be written" in ((await pull(models_dir, hub, "o/m")).error or "")
    assert here(models_dir) == WANTED
    assert await scan(models_dir) == ()
    assert (await pull(models_dir, hub, "o/m")).state == "done"
    assert [model.id for model in await scan(models_dir)] == ["m"]
    assert not (models_dir / PARTIAL_DIR).exists()


async def test_a_cancelled_folder_keeps_what_came_and_is_no_model(hub: HubStandIn, models_dir: Path) -> None:
    hub.repos["o/m"] = Repo(WHOLE)
    hub.stall_after = 300_000
    async with Downloads(models_dir, endpoint=hub.url, read_free_bytes=lambda _: 10**12) as downloads, asyncio.timeout(30):
        download = downloads.pull("o/m")
        await hub.stalled.wait()
        downloads.cancel(download.id)
        assert (await downloads.wait(download.id)).state == "cancelled"
    assert await scan(models_dir) == ()
    hub.go_on.set()
    assert (await pull(models_dir, hub, "o/m")).state == "done"
    assert len([seen for seen in hub.downloads if seen.path == "config.json"]) == 1


async def test_a_small_file_with_another_content_is_thrown_away(hub: HubStandIn, models_dir: Path) -> None:
    repo = hub.repos["o/m"] = Repo({"config.json": WHOLE["config.json"], "model.safetensors": tensors(1)})
    assert (await pull(models_dir, hub, "o/m")).state == "done"
    path = models_dir / "o" / "m" / "config.json"
    path.write_bytes(path.read_bytes().replace(b"2048", b"4096"))
    assert (await pull(models_dir, hub, "o/m")).state == "done"
    assert path.read_bytes() == repo.files["config.json"]
    assert [seen.path for seen in hub.downloads].count("model.safetensors") == 1


async def test_room_is_looked_for_for_all_files_together(hub: HubStandIn, models_dir: Path) -> None:
    hub.repos["o/m"] = Repo(WHOLE, stated_sizes=dict.fromkeys(PARTS, 20 * 10**9))
    failed = await pull(models_dir, hub, "o/m", free_bytes=41 * 10**9)
    assert "it needs 40.0 GB and 2.0 GB should stay free" in (failed.error or "")
    assert hub.downloads == []


async def test_two_precisions_of_one_repository_share_a_folder(hub: HubStandIn, models_dir: Path) -> None:
    graph = b"\x08\x0a\x12\x07pytorch\x3a\x80\x02" + bytes(256) + b"\x42\x02\x10\x12"
    names = ("onnx/model.onnx", "onnx/model_q4.onnx", "onnx/model_fp16.onnx")
    hub.repos["o/m"] = Repo({**dict.fromkeys(names, graph), "onnx/model.onnx_data": bytes(999), **WHOLE})
    async with Downloads(models_dir, endpoint=hub.url) as downloads, asyncio.timeout(30):
        pulled = [downloads.pull(f"o/m:{wanted}") for wanted in ("onnx-q4", "onnx/model.onnx")]
        assert [(await downloads.wait(one.id)).state for one in pulled] == ["done", "done"]
    beside = {"config.json", "tokenizer.json", "tokenizer_config.json"}
    assert set(here(models_dir)) == {*names[:2], "onnx/model.onnx_data", *beside}
    assert not (models_dir / PARTIAL_DIR).exists()


async def test_a_core_ml_model_in_parts_is_one_choice_and_one_model(hub: HubStandIn, models_dir: Path) -> None:
    inside = ("analytics/coremldata.bin", "coremldata.bin", "metadata.json", "model.mil", "weights/weight.bin")
    named = ("embeddings", "FFN_PF_lut6_chunk_01of02", "FFN_PF_lut6_chunk_02of02", "lm_head_lut6")
    files = {f"qwen_{part}.mlmodelc/{file}": bytes(len(part) + len(file)) for part in named for file in inside}
    files |= {"meta.yaml": b"model_info:\n", "config.json": b"{}", "tokenizer.json": b"{}"}
    hub.repos["o/anemll"] = Repo({**files, "README.md": b"# m", "chat.py": b"1"})
    choice = Hub(endpoint=hub.url)
    assert [(model.repo, model.formats, model.quantizations) for model in await choice.search("anemll")] == [
        ("o/anemll", ("coreml",), ("6-bit",))
    ]
    [offered] = await choice.files("o/anemll")
    assert (offered.size_bytes, offered.shards) == (sum(map(len, files.values())), len(files))
    done = await pull(models_dir, hub, "o/anemll")
    assert (done.state, done.error, done.file) == ("done", None, "meta.yaml")
    assert here(models_dir, "o/anemll") == sorted(files)
    [model] = await scan(models_dir)
    assert (model.id, model.path.name, model.header.shards) == ("anemll", "anemll", 4)
