from __future__ import annotations

from pathlib import Path

import pytest

from impetus.runtime.engines import choice
from impetus.runtime.engines.choice import rank_format
from impetus.runtime.formats.header import Format, Header
from impetus.runtime.models.model import Model
from impetus.runtime.models.variants import base_name, gather_variants


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("SmolLM2-135M-Instruct-Q4_1", "SmolLM2-135M-Instruct"),
        ("Qwen3-8B-MLX-4bit", "Qwen3-8B"),
        ("Qwen3-8B-4bit", "Qwen3-8B"),
        ("owner/Qwen3-8B-GGUF@impetus", "Qwen3-8B"),
        ("Qwen3-8B-UD-Q4_K_XL", "Qwen3-8B"),
        ("Qwen3-8B-bf16", "Qwen3-8B"),
        ("gpt-oss-20b-MXFP4", "gpt-oss-20b"),
        ("Llama-3.2-1B-Instruct-ONNX", "Llama-3.2-1B-Instruct"),
        ("Qwen2.5-7B-Instruct-AWQ", "Qwen2.5-7B-Instruct"),
        ("phi-4-mini-instruct-int4", "phi-4-mini-instruct"),
        ("Q4_K_M", "Q4_K_M"),
        ("gemma-3-4b-it", "gemma-3-4b-it"),
        ("Qwen3-8B", "Qwen3-8B"),
    ],
)
def test_a_name_without_how_a_model_is_stored(name: str, base: str) -> None:
    assert base_name(name) == base


def model(
    id_: str, kind: Format = "gguf", quantization: str | None = None, *, layers: int | None = 30, bad: bool = False
) -> Model:
    width = 576 if layers is not None else None
    header = Header(kind, 1000, quantization=quantization, layers=layers, embedding_length=width)
    return Model(id_, Path(id_), "impetus", header, "damaged" if bad else None)


RANKS: dict[Format, int] = {"mlx": 0, "gguf": 1, "safetensors": 2, "onnx": 3, "coreml": 4}


def gathered(*models: Model) -> list[tuple[str, str | None]]:
    found = gather_variants(models, lambda one: RANKS[one.header.format])
    return [(one.id, one.variant_of) for one in found]


def test_copies_stand_together_the_best_one_first() -> None:
    assert gathered(
        model("Zebra-7B-Q8_0", quantization="Q8_0"),
        model("Alpha-1B"),
        model("zebra-7b", "safetensors", "BF16"),
        model("Zebra-7B-MLX-4bit", "mlx", "4-bit", bad=True),
        model("Zebra-7B-Q4_K_M", quantization="Q4_K_M"),
        model("Zebra-7B-ONNX", "onnx"),
    ) == [
        ("Alpha-1B", None),
        ("Zebra-7B-Q4_K_M", None),
        ("Zebra-7B-Q8_0", "Zebra-7B-Q4_K_M"),
        ("zebra-7b", "Zebra-7B-Q4_K_M"),
        ("Zebra-7B-ONNX", "Zebra-7B-Q4_K_M"),
        ("Zebra-7B-MLX-4bit", "Zebra-7B-Q4_K_M"),
    ]


def test_models_of_one_name_and_another_shape_are_others() -> None:
    assert gathered(model("M-Q4_0"), model("M-Q8_0", layers=12), model("M", "coreml", layers=None)) == [
        ("M-Q4_0", None),
        ("M", "M-Q4_0"),
        ("M-Q8_0", None),
    ]


def test_what_was_a_copy_once_is_the_best_one_when_the_better_one_is_gone() -> None:
    both = gather_variants([model("M-Q4_0", quantization="Q4_0"), model("M-Q8_0", quantization="Q8_0")], lambda _: 0)
    assert [one.variant_of for one in both] == [None, "M-Q4_0"]
    [left] = gather_variants(both[1:], lambda _: 0)
    assert left.variant_of is None


def test_the_fastest_engine_ranks_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_is_installed", lambda package: True)
    monkeypatch.setattr(choice, "mlx_knows", lambda architecture: True)
    monkeypatch.setattr(choice, "torch_knows", lambda architecture, ability: True)
    kinds: list[Format] = ["pytorch", "onnx", "coreml", "mlx", "gguf"]
    ranked: dict[str, list[Format]] = {}
    for platform in ("darwin", "linux"):
        monkeypatch.setattr(choice.sys, "platform", platform)
        headers = [Header(kind, 1, architecture="llama", version=3) for kind in kinds]
        ranked[platform] = [header.format for header in sorted(headers, key=rank_format)]
    assert ranked["darwin"] == ["pytorch", "mlx", "gguf", "coreml", "onnx"]  # the checkpoint's weights run on MLX
    assert ranked["linux"] == ["gguf", "onnx", "pytorch", "mlx", "coreml"]
