"""Looks through 1,000 model folders: for the first time, again, and in a new process that remembers.

    .venv/bin/python tests/benchmarks/scan.py [--folders 1000]

The folders are SafeTensors in parts, MLX, PyTorch and ONNX models and GGUF files, whose numbers are holes. Bounds: 2 s for the
first time, and half a second for each other one.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from impetus.runtime.models.header_cache import HeaderCache
from impetus.runtime.models.registry import Registry
from impetus.runtime.models.stores import FolderStore

FIRST_MOST_S, AGAIN_MOST_S = 2.0, 0.5
LAYERS = 32
CONFIG = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_hidden_layers": LAYERS,
    "max_position_embeddings": 131072,
    "vocab_size": 128256,
    "torch_dtype": "bfloat16",
}
TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}" * 40


def main() -> int:
    """Makes the folders and looks through them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folders", type=int, default=1000)
    options = parser.parse_args()
    makers = (make_safetensors, make_mlx, make_pytorch, make_onnx, make_gguf)
    held = True
    with tempfile.TemporaryDirectory() as place:
        models = Path(place) / "models"
        for number in range(options.folders):
            folder = models / f"owner{number % 50}" / f"model-{number}"
            folder.mkdir(parents=True)
            makers[number % len(makers)](folder)
        cache = Path(place) / "headers"
        first = Registry([FolderStore(models)], headers=HeaderCache(cache))
        for name, registry, most_s in (
            ("for the first time", first, FIRST_MOST_S),
            ("again", first, AGAIN_MOST_S),
            ("in a new process", Registry([FolderStore(models)], headers=HeaderCache(cache)), AGAIN_MOST_S),
        ):
            before = registry.headers_read
            began_s = time.perf_counter()
            found = registry.scan()
            took_s = time.perf_counter() - began_s
            folders = {find.path.parent if find.path.is_file() else find.path for find in found}
            assert len(folders) == options.folders, len(folders)
            held &= took_s <= most_s
            print(f"{name:20} {took_s:6.3f} s  {registry.headers_read - before} opened  (at most {most_s} s)")
        print(f"remembered in {cache.stat().st_size / 1e3:.0f} kB")
    return 0 if held else 1


def make_hole(path: Path, head: bytes, size: int) -> None:
    """Writes a file that begins so and is empty from there on."""
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)


def make_config(folder: Path, **more: object) -> None:
    """Writes what lies beside weights."""
    (folder / "config.json").write_text(json.dumps(CONFIG | more))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))


def make_safetensors(folder: Path, *, made_for: str = "pt") -> None:
    """Makes a model in four parts."""
    make_config(folder)
    weights = {}
    for part in range(4):
        name, table, at = f"model-{part + 1:05d}-of-00004.safetensors", {"__metadata__": {"format": made_for}}, 0
        for layer in range(part * LAYERS // 4, (part + 1) * LAYERS // 4):
            for kind in ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "norm1", "norm2"):
                tensor = f"model.layers.{layer}.{kind}.weight"
                table[tensor] = {"dtype": "BF16", "shape": [64, 64], "data_offsets": [at, at + 8192]}  # type: ignore[dict-item]
                weights[tensor] = name
                at += 8192
        text = json.dumps(table).encode()
        make_hole(folder / name, struct.pack("<Q", len(text)) + text, at)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))


def make_mlx(folder: Path) -> None:
    """Makes the same for MLX."""
    make_safetensors(folder, made_for="mlx")


def make_pytorch(folder: Path) -> None:
    """Makes a checkpoint in two parts."""
    make_config(folder)
    for part in range(2):
        with zipfile.ZipFile(folder / f"pytorch_model-{part + 1:05d}-of-00002.bin", "w") as archive:
            archive.writestr("archive/data.pkl", b"\x80\x02}.")
            for number in range(150):
                archive.writestr(f"archive/data/{number}", bytes(64))


def make_onnx(folder: Path) -> None:
    """Makes a graph in three variants with its numbers outside."""
    make_config(folder)
    inner = folder / "onnx"
    inner.mkdir()
    for variant in ("model", "model_q4", "model_int8"):
        head = b"\x08\x0a" + b"\x12\x07pytorch" + b"\x3a\x80\x02" + bytes(256) + b"\x42\x02\x10\x12"
        (inner / f"{variant}.onnx").write_bytes(head)
        make_hole(inner / f"{variant}.onnx_data", b"", 1 << 20)


def make_gguf(folder: Path) -> None:
    """Makes a file with a vocabulary of 32,000, one of twenty."""
    family = int(folder.name.rpartition("-")[2]) // 5 % 20

    def text(value: str) -> bytes:
        raw = value.encode()
        return struct.pack("<Q", len(raw)) + raw

    def integer(key: str, value: int) -> bytes:
        return text(key) + struct.pack("<II", 4, value)

    tokens = b"".join(text(f"token{family}{number}") for number in range(32_000))
    pairs = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("tokenizer.chat_template") + struct.pack("<I", 8) + text(TEMPLATE),
        text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 32_000) + tokens,
        *(integer(f"llama.{key}", value) for key, value in (
            ("block_count", LAYERS), ("context_length", 8192), ("embedding_length", 4096),
            ("attention.head_count", 32), ("attention.head_count_kv", 8), ("feed_forward_length", 14336),
        )),
    ]  # fmt: skip
    tensors = b"".join(
        text(f"blk.{layer}.{kind}.weight") + struct.pack("<IQQIQ", 2, 64, 64, 1, 8192 * (layer * 9 + number))
        for layer in range(LAYERS)
        for number, kind in enumerate(("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down", "a", "b"))
    )
    head = b"GGUF" + struct.pack("<IQQ", 3, LAYERS * 9, len(pairs)) + b"".join(pairs) + tensors
    make_hole(folder / "model-Q4_K_M.gguf", head, LAYERS * 9 * 8192 + 64)


if __name__ == "__main__":
    sys.exit(main())
