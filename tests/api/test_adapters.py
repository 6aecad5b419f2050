"""LoRA adapters over the API: by name, by number and by alias, with a tiny model that computes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from engine_tools import find_starter
from tiny_adapters import draw_lora, write_lora
from tiny_companions import tiny_lora
from tiny_folder import make_tiny_folder
from tiny_models import tiny_llama

pytestmark = pytest.mark.engine

ALIASES = {
    "tuned": {"model": "base", "lora": {"one": 1.0}},
    "short": {"model": "base"},
    "stale": {"model": "base", "lora": {"gone": 1.0}},
    "nowhere": {"model": "gone"},
}


@pytest.fixture
async def live(serve, tmp_path: Path) -> AsyncIterator[object]:
    models = tmp_path / "models"
    models.mkdir()
    base = tiny_llama(models / "base.gguf")
    tiny_lora(models / "one.gguf", base, seed=1)
    tiny_lora(models / "two.gguf", base, seed=2)
    tiny_lora(models / "other.gguf", base, architecture="qwen3")
    async with serve(aliases=ALIASES) as live:
        yield live


async def complete(live, status: int = 200, **body: object) -> dict:
    body = {"model": "base", "prompt": "the quick brown fox", "temperature": 0, "max_tokens": 16, **body}
    async with live.session.post(live.url + "/v1/completions", json=body) as response:
        answer = await response.json()
        assert response.status == status, answer
        return answer["choices"][0] if status == 200 else answer["error"]


async def get(live, path: str) -> object:
    async with live.session.get(live.url + path) as response:
        assert response.status == 200
        return await response.json()


async def test_adapters_are_listed_apart_from_models_and_aliases_among_them(live) -> None:
    models = {model["id"]: model for model in (await get(live, "/v1/models"))["data"]}
    assert list(models) == ["tuned", "short", "stale", "base", "echo"]
    assert models["tuned"]["parent"] == models["short"]["parent"] == "base"
    assert "parent" not in models["base"]
    assert (await get(live, "/v1/models/Tuned"))["id"] == "tuned"
    adapters = await get(live, "/lora-adapters")
    assert [(adapter["id"], adapter["name"], adapter["architecture"]) for adapter in adapters] == [
        (0, "one", "llama"),
        (1, "other", "qwen3"),
        (2, "two", "llama"),
    ]


async def test_a_request_names_adapters_and_an_alias_brings_its_own(live) -> None:
    plain = (await complete(live))["text"]
    one = (await complete(live, lora=[{"name": "one"}]))["text"]
    two = (await complete(live, lora=[{"id": 2, "scale": 1.0}]))["text"]
    assert len({plain, one, two}) == 3
    assert (await complete(live, model="tuned"))["text"] == one
    assert (await complete(live, model="TUNED", lora=[{"name": "Two"}]))["text"] == two
    assert (await complete(live, model="tuned", lora=[]))["text"] == plain
    assert (await complete(live, model="short"))["text"] == plain
    assert (await complete(live, lora=[{"name": "one", "scale": 0}]))["text"] == plain


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"lora": [{"name": "ones"}]}, "lora", ["'ones'", "one (0)", "two (2)"]),
        ({"lora": [{"id": 7}]}, "lora", ["'7'", "one (0)"]),
        ({"lora": [{"name": "other"}]}, "lora", ["'other'", "'qwen3'", "'llama'"]),
        ({"lora": [{"name": "one"}, {"id": 0}]}, "lora", ["twice"]),
        ({"lora": [{"scale": 1.0}]}, "lora[0]", ["'name'", "'id'"]),
        ({"lora": [{"name": "one", "scale": 1000}]}, "lora[0].scale", ["100"]),
        ({"model": "echo", "lora": [{"name": "one"}]}, "lora", ["'echo'", "'llama'"]),
        ({"model": "stale"}, "model", ["aliases.stale.lora", "'gone'", "one (0)"]),
    ],
)
async def test_a_wrong_adapter_is_refused_before_anything_is_loaded(live, body: dict, param: str, words: list[str]) -> None:
    error = await complete(live, 400, **body)
    assert error["param"] == param
    for word in words:
        assert word in error["message"]
    assert all(status.state == "unloaded" for status in live.runtime.statuses())


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
async def test_folders_of_adapters_serve_models_that_mlx_computes(serve, tmp_path: Path) -> None:
    if find_spec("mlx_lm") is None:
        pytest.skip("mlx-lm is not installed")
    from tiny_mlx import quantize_folder

    base = make_tiny_folder(tmp_path / "made", find_starter())
    models = tmp_path / "models"
    models.mkdir()
    quantize_folder(models / "base", base, bits=8)
    write_lora(models / "one", draw_lora(base, seed=1), "mlx")
    write_lora(models / "two", draw_lora(base, seed=2), "peft")
    tiny_lora(models / "gguf.gguf", tiny_llama(models / "other.gguf"))
    async with serve(aliases={"tuned": {"model": "base", "lora": {"one": 1.0}}}) as live:
        listed = [
            (adapter["name"], adapter["format"], adapter["architecture"]) for adapter in await get(live, "/lora-adapters")
        ]
        assert listed == [("gguf", "gguf", "llama"), ("one", "mlx", None), ("two", "peft", None)]
        error = await complete(live, 400, lora=[{"name": "gguf"}])
        assert "made for GGUF models; 'base' is 'mlx'" in error["message"]
        error = await complete(live, 400, model="other", lora=[{"name": "one"}])
        assert "made for models in folders" in error["message"]
        texts = [(await complete(live, lora=wanted))["text"] for wanted in ([], [{"name": "one"}], [{"id": 2, "scale": 0.5}])]
        assert len(set(texts)) == 3
        assert (await complete(live, model="tuned"))["text"] == texts[1]


async def test_an_alias_of_a_missing_model_says_which(live) -> None:
    error = await complete(live, 404, model="nowhere")
    assert "'gone'" in error["message"]
    assert "'nowhere'" in error["message"]
