"""LoRA adapters as they lie on the disk: a GGUF file, or a folder of mlx-lm or of PEFT.

Sources: `mlx_lm.tuner.utils.load_adapters`, and
https://github.com/huggingface/peft/blob/main/docs/source/developer_guides/checkpoint.md
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .folder import read_json
from .gguf_part import GgufPart, read_part
from .safetensors import read_table

AdapterLayout = Literal["gguf", "mlx", "peft"]
CONFIG_NAME = "adapter_config.json"
PART_NAME = re.compile(
    r"(?:base_model\.model\.)?(?P<module>.+)\."
    r"(?:lora_(?P<mlx>[ab])|lora_(?P<peft>[AB])(?:\.\w+)?\.weight|lora_embedding_(?P<rows>[AB])(?:\.\w+)?)"
)
"""What the two matrices of a layer are called: `x.lora_a` by mlx-lm, `base_model.model.x.lora_A.weight` by PEFT."""
_OTHER_KINDS = ("dora", "full")
"""What mlx-lm trains besides."""


@dataclass(frozen=True, slots=True)
class AdapterHeader:
    """A LoRA adapter: small changes to a model's weights, put over them while it computes."""

    architecture: str | None
    """Of the models it was made for; None where it does not say."""
    size_bytes: int
    layout: AdapterLayout = "gguf"


def read_adapter(path: Path) -> AdapterHeader | None:
    """Reads what a GGUF file or a folder says of the adapter in it.

    Returns:
        None where there is none, or one of a kind that is not served: that acts only behind certain words
        (`adapter.alora`), or changes more than by two small matrices (DoRA, whole weights).

    Raises:
        FormatError: it cannot be read or believed.
    """
    if path.is_dir():
        return _read_folder(path)
    part = read_part(path)
    return AdapterHeader(part.text("general.architecture"), part.size_bytes) if _is_adapter(part) else None


def find_matrices(folder: Path) -> tuple[Path, AdapterLayout] | None:
    """Finds the file with an adapter's matrices, by what is in it; None where none of a folder's files has such.

    Raises:
        FormatError: a file cannot be read or believed.
    """
    # Of checkpoints of a training, the one without a number is the last.
    for path in sorted(folder.glob("*.safetensors"), key=lambda path: (path.name[0].isdigit(), path.name)):
        if (layout := tell_layout(read_table(path).names)) is not None:
            return path, layout
    return None


def tell_layout(names: tuple[str, ...]) -> AdapterLayout | None:
    """Says whose layout the tensors of a file have; None where they are no adapter's."""
    found = [match for name in names if (match := PART_NAME.fullmatch(name)) is not None]
    if not found:
        return None
    return "mlx" if found[0]["mlx"] else "peft"


def _read_folder(folder: Path) -> AdapterHeader | None:
    config = read_json(folder / CONFIG_NAME)
    if config is None or config.get("fine_tune_type") in _OTHER_KINDS or config.get("use_dora"):
        return None
    found = find_matrices(folder)
    return None if found is None else AdapterHeader(None, found[0].stat().st_size, found[1])


def _is_adapter(part: GgufPart) -> bool:
    if part.text("general.type") != "adapter" or part.text("adapter.type") != "lora":
        return False
    return not any(key.startswith("adapter.alora.") for key in part.metadata)
