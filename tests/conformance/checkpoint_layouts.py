"""PyTorch checkpoints, written by torch itself."""

from __future__ import annotations

from pathlib import Path

import torch
from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file
from starter_weights import copy_beside


def make_checkpoint(folder: Path, source: Path, *, legacy: bool = False) -> None:
    """Writes pytorch_model.bin; a legacy one is no archive but a row of pickles, as torch wrote before 1.6."""
    folder.mkdir()
    copy_beside(source, folder)
    weights = load_file(source / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin", _use_new_zipfile_serialization=not legacy)


def make_sharded(folder: Path, source: Path, most: str) -> None:
    """Writes parts of at most so much, with their index."""
    folder.mkdir()
    copy_beside(source, folder)
    save_torch_state_dict(load_file(source / "model.safetensors"), folder, max_shard_size=most, safe_serialization=False)
