"""ONNX graphs: by onnxruntime-genai's builder, and in the layout of transformers.js with its variants."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from starter_weights import copy_beside

BUILD_S = 600


def make_genai(folder: Path, source: Path, precision: str) -> None:
    """Runs onnxruntime-genai's builder."""
    cache = folder.with_name(f"{folder.name}.cache")
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(source), "-o", str(folder)]
    try:
        subprocess.run([*command, "-p", precision, "-e", "cpu", "-c", str(cache)], check=True, timeout=BUILD_S)
    finally:
        shutil.rmtree(cache, ignore_errors=True)
    copy_beside(source, folder)


def make_exported(folder: Path, source: Path) -> None:
    """Exports the graph as onnx-community lays it out: positions are told, keys and values are handed on."""
    import torch
    from transformers import AutoModelForCausalLM, DynamicCache

    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    config = model.config
    layers, heads, width = config.num_hidden_layers, config.num_key_value_heads, config.head_dim

    class Step(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any, position_ids: Any, past: Any) -> Any:
            told = self.model(
                input_ids=input_ids,
                attention_mask=attention_mask,
                position_ids=position_ids,
                past_key_values=DynamicCache(past),
                use_cache=True,
            )
            planes = [plane for layer in told.past_key_values.layers for plane in (layer.keys, layer.values)]
            return (told.logits, *planes)

    rows, now, before = 2, 3, 5
    past = [(torch.randn(rows, heads, before, width), torch.randn(rows, heads, before, width)) for _ in range(layers)]
    batch, sequence, earlier = (torch.export.Dim(name) for name in ("batch_size", "sequence_length", "past_sequence_length"))
    names = [f"{at}.{part}" for at in range(layers) for part in ("key", "value")]
    (folder / "onnx").mkdir(parents=True)
    copy_beside(source, folder)
    torch.onnx.export(
        Step(),
        (
            torch.randint(3, 1000, (rows, now)),
            torch.ones(rows, before + now, dtype=torch.int64),
            torch.arange(before, before + now).repeat(rows, 1),
            past,
        ),
        dynamo=True,
        dynamic_shapes=(
            {0: batch, 1: sequence},
            {0: batch, 1: torch.export.Dim.AUTO},
            {0: batch, 1: sequence},
            [({0: batch, 2: earlier}, {0: batch, 2: earlier})] * layers,
        ),
        input_names=["input_ids", "attention_mask", "position_ids", *(f"past_key_values.{name}" for name in names)],
        output_names=["logits", *(f"present.{name}" for name in names)],
        opset_version=18,
    ).save(str(folder / "onnx" / "model.onnx"), external_data=True)


def make_q4(folder: Path, source: Path) -> None:
    """Quantizes another folder's products to 4 bits."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    (folder / "onnx").mkdir(parents=True)
    copy_beside(source, folder)
    graph = onnx.load(str(source / "onnx" / "model.onnx"))
    quantizer = MatMulNBitsQuantizer(graph, block_size=32, is_symmetric=False, accuracy_level=4)
    quantizer.process()
    quantizer.model.save_model_to_file(str(folder / "onnx" / "model_q4.onnx"), use_external_data_format=True)


def make_int8(folder: Path, source: Path) -> None:
    """Quantizes another folder's products to 8 bits."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    (folder / "onnx").mkdir(parents=True)
    copy_beside(source, folder)
    quantize_dynamic(
        str(source / "onnx" / "model.onnx"),
        str(folder / "onnx" / "model_quantized.onnx"),
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul"],
    )
