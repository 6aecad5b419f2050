"""SafeTensors and MLX folders; but for bfloat16 and parts they need no torch."""

from __future__ import annotations

from pathlib import Path

from safetensors.numpy import load_file, save_file
from starter_weights import copy_beside, find_starter, read_weights, write_beside
from tiny_folder import make_tiny_folder


def make_whole(folder: Path, kind: str) -> None:
    """Writes the starter model in Hugging Face's layout, in float32, float16 or bfloat16."""
    folder.mkdir()
    write_beside(folder)
    weights = read_weights()
    if kind == "bfloat16":
        import torch
        from safetensors.torch import save_file as save_torch

        tensors = {name: torch.from_numpy(value).to(torch.bfloat16) for name, value in weights.items()}
        save_torch(tensors, folder / "model.safetensors", {"format": "pt"})
        return
    save_file({name: value.astype(kind) for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"})


def make_tiny(folder: Path) -> None:
    """Writes a model of two layers with random weights."""
    make_tiny_folder(folder, find_starter())


def make_sharded(folder: Path, source: Path, most: str) -> None:
    """Writes another folder's weights in parts of at most so much, with their index."""
    import torch
    from huggingface_hub import save_torch_state_dict

    folder.mkdir()
    copy_beside(source, folder)
    tensors = {name: torch.from_numpy(value) for name, value in load_file(source / "model.safetensors").items()}
    save_torch_state_dict(tensors, folder, max_shard_size=most)


def make_mlx(folder: Path, source: Path, *, bits: int | None = None, group: int = 64) -> None:
    """Converts a folder by mlx-lm; to 16 bits without `bits`, else quantized."""
    from mlx_lm import convert

    if bits is None:
        convert(str(source), str(folder), dtype="float16")
    else:
        convert(str(source), str(folder), quantize=True, q_bits=bits, q_group_size=group)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).write_bytes((source / name).read_bytes())  # as they were, not as transformers writes them
