from __future__ import annotations

from pathlib import Path

import pytest
from mac_profiles import M4

from impetus.runtime.formats.header import Header
from impetus.runtime.models.model import Model
from impetus.runtime.tuning.recommend import OnDisk, recommend
from impetus.runtime.tuning.recommend_here import mark_on_disk, recommend_here
from impetus.runtime.tuning.recommend_rows import to_rows


def model(model_id: str, quantization: str | None = "Q4_K_M", **facts: object) -> Model:
    facts = {
        "path": Path(f"/models/{model_id}"),
        "store": "impetus",
        "header": Header("gguf", 1, quantization=quantization),
    } | facts
    return Model(model_id, **facts)


def marks(*models: Model) -> dict[str, OnDisk]:
    found = recommend_here(models, M4, "chat", models_percent=0.0)
    return {each.model: each.on_disk for each in found.models if each.on_disk is not None}


WANTED = next(each for each in recommend(M4, "chat").models if each.model == "Qwen3-8B")


@pytest.mark.parametrize(
    "here",
    [
        model("Qwen3-8B-" + WANTED.quantization, WANTED.quantization),
        model("qwen3-8b", WANTED.quantization.lower()),
        model("bartowski/Qwen3-8B-GGUF@huggingface", WANTED.quantization),
        model("weights", WANTED.quantization, repo=WANTED.pull.partition(":")[0].upper()),
    ],
    ids=lambda here: here.id,
)
def test_a_model_is_known_by_its_name_or_by_its_repository(here):
    assert marks(here) == {"Qwen3-8B": OnDisk(here.id, here.header.quantization, suits=True)}


def test_the_recommended_quantisation_goes_before_others():
    others = [model("Qwen3-8B-MLX-4bit", "4-bit"), model("Qwen3-8B-Q2_K", "Q2_K"), model("Qwen3-8B", None)]
    assert marks(*others)["Qwen3-8B"] == OnDisk("Qwen3-8B-MLX-4bit", "4-bit", suits=False)
    suiting = model("Qwen3-8B-" + WANTED.quantization, WANTED.quantization)
    assert marks(*others, suiting)["Qwen3-8B"] == OnDisk(suiting.id, WANTED.quantization, suits=True)


def test_another_model_of_a_like_name_is_none_and_neither_is_one_that_cannot_be_served():
    assert marks(model("Qwen3-8B-Base"), model("Qwen3-80B"), model("Qwen3"), model("Qwen3-8B", problem="it is damaged")) == {}


def test_the_table_says_how_to_come_by_each():
    models = [model("Qwen3-8B", "Q2_K"), model("phi-4", "Q4_K_M", repo="someone/phi-4")]
    found = mark_on_disk(recommend(M4, "chat"), models)
    get = {row[0]: row[-1] for row in to_rows(found)}
    assert get["Qwen3-8B"] == f"impetus pull {WANTED.pull} (on the disk: Qwen3-8B)"
    assert get["gemma-3-4b-it"].startswith("impetus pull ")
    suiting = mark_on_disk(found, [model("mine", WANTED.quantization, repo=WANTED.pull.partition(":")[0])])
    assert {row[0]: row[-1] for row in to_rows(suiting)}["Qwen3-8B"] == "impetus load mine"
