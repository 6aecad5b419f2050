"""Adapters are known by what lies in their folder, and told apart from models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from impetus.runtime.errors import FormatError
from impetus.runtime.formats.adapter import read_adapter
from impetus.runtime.formats.detect import detect

TABLE = np.zeros((2, 2), "f4")
MLX = ("model.layers.0.mlp.up_proj.lora_a", "model.layers.0.mlp.up_proj.lora_b")
PEFT = (
    "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight",
    "base_model.model.model.layers.0.mlp.up_proj.lora_B.weight",
    "base_model.model.model.embed_tokens.lora_embedding_A",
)


def make(folder: Path, names: tuple[str, ...], *, file: str = "adapters.safetensors", **config: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict.fromkeys(names, TABLE), folder / file)
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.mark.parametrize(("names", "layout"), [(MLX, "mlx"), (PEFT, "peft")])
def test_the_layout_follows_from_the_names_of_tensors(tmp_path: Path, names: tuple[str, ...], layout: str) -> None:
    header = read_adapter(make(tmp_path, names, file="weights.safetensors"))
    assert header is not None
    assert (header.layout, header.architecture) == (layout, None)
    assert header.size_bytes == (tmp_path / "weights.safetensors").stat().st_size
    assert detect(tmp_path) is None


def test_a_file_as_mlx_writes_it_says_nothing_of_itself(tmp_path: Path) -> None:
    path = make(tmp_path, MLX) / "adapters.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    table = b'{"__metadata__":null,' + data[8 : 8 + length].lstrip()[1:]
    path.write_bytes(len(table).to_bytes(8, "little") + table + data[8 + length :])
    header = read_adapter(tmp_path)
    assert header is not None
    assert header.layout == "mlx"


def test_what_is_no_plain_adapter_is_none(tmp_path: Path) -> None:
    assert read_adapter(make(tmp_path / "dora", MLX, fine_tune_type="dora")) is None
    assert read_adapter(make(tmp_path / "full", ("model.norm.weight",), fine_tune_type="full")) is None
    assert read_adapter(make(tmp_path / "magnitudes", PEFT, use_dora=True)) is None
    assert read_adapter(make(tmp_path / "prompts", ("prompt_embeddings",), peft_type="PROMPT_TUNING")) is None
    bare = make(tmp_path / "bare", MLX)
    (bare / "adapter_config.json").unlink()
    assert read_adapter(bare) is None


def test_an_adapter_beside_a_model_or_its_config_is_not_taken_for_weights(tmp_path: Path) -> None:
    make(tmp_path, PEFT, file="adapter_model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}), encoding="utf-8")
    assert detect(tmp_path) is None
    save_file({"model.norm.weight": TABLE}, tmp_path / "model.safetensors")
    header = detect(tmp_path)
    assert header is not None
    assert (header.format, header.shards, header.parameters) == ("safetensors", 1, 4)


def test_a_damaged_adapter_is_told(tmp_path: Path) -> None:
    cut = make(tmp_path / "cut", MLX) / "adapters.safetensors"
    cut.write_bytes(cut.read_bytes()[:-4])
    with pytest.raises(FormatError, match="cut short"):
        read_adapter(cut.parent)
    garbled = make(tmp_path / "garbled", MLX)
    (garbled / "adapter_config.json").write_text("{", encoding="utf-8")
    with pytest.raises(FormatError, match="cannot be read"):
        read_adapter(garbled)
