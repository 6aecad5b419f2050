"""LoRA adapters in folders of mlx-lm or PEFT: which tensors change which module, and by how much.

Both write two matrices for a module with weights W of shape (outputs, inputs): what goes through it gets scale * B A x more.
mlx-lm keeps A as (inputs, rank) and B as (rank, outputs), PEFT the other way round. Sources: `mlx_lm.tuner.lora`, and
https://github.com/huggingface/peft/blob/main/src/peft/tuners/lora/layer.py
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from ...errors import FormatError
from ...formats.adapter import CONFIG_NAME, PART_NAME, AdapterLayout, find_matrices
from ...formats.folder import read_json
from ...formats.safetensors import read_table
from ..backends.backend import LoadError

_WRAPPERS = frozenset({"model", "language_model", "text_model", "transformer"})
"""What stands around a model's layers in one library and not in another."""


@dataclass(slots=True)
class LoraPair:
    """The matrices that change one module."""

    module: str
    """Its name, by the library of the adapter."""
    down: str = ""
    """The tensor that makes rows narrow."""
    up: str = ""
    """The tensor that makes them wide again."""


@dataclass(frozen=True, slots=True)
class Lora:
    """An adapter's folder, as its names and its config have it."""

    files: tuple[Path, ...]
    """Which make it; the first one holds the tensors."""
    layout: AdapterLayout
    pairs: tuple[LoraPair, ...]
    _config: dict[str, object] = field(repr=False)

    def scale(self, pair: LoraPair, rank: int) -> float:
        """How much a pair counts.

        Raises:
            LoadError: the config does not say.
        """
        config = self._config
        if self.layout == "mlx":
            parameters = config.get("lora_parameters")
            stated = cast("dict[str, object]", parameters).get("scale") if isinstance(parameters, dict) else None
            return self._number(stated, "lora_parameters.scale")
        alpha = _by_pattern(config.get("alpha_pattern"), pair.module)
        alpha = self._number(config.get("lora_alpha") if alpha is None else alpha, "lora_alpha")
        return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)

    def _number(self, value: object, name: str) -> float:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
        raise LoadError(f"the adapter {self.files[0].parent.name} does not say how much it counts: '{name}' in {CONFIG_NAME}.")


def read_lora(folder: Path) -> Lora:
    """Reads what an adapter's folder says of its matrices; their numbers are left to the engine.

    Raises:
        LoadError: there is no adapter, it is damaged, or it changes more than is served.
    """
    name = folder.name
    if not folder.is_dir():
        raise LoadError(f"there is no adapter {name}.")
    try:
        config = read_json(folder / CONFIG_NAME)
        found = find_matrices(folder)
        if config is None or found is None:
            raise LoadError(f"the folder {name} holds no LoRA adapter.")
        path, layout = found
        names = read_table(path).names
    except FormatError as error:
        raise LoadError(f"the adapter {name} cannot be read: {error.message}") from error
    pairs: dict[str, LoraPair] = {}
    for tensor in names:
        match = PART_NAME.fullmatch(tensor)
        if match is None:
            raise LoadError(f"the adapter {name} changes more than is served: it holds '{tensor}' besides LoRA matrices.")
        side = (match["mlx"] or match["peft"] or match["rows"]).lower()
        pair = pairs.setdefault(match["module"], LoraPair(match["module"]))
        if side == "a":
            pair.down = tensor
        else:
            pair.up = tensor
    for pair in pairs.values():
        if not (pair.down and pair.up):
            raise LoadError(f"the adapter {name} has only one of the two matrices of '{pair.module}'. Download it again.")
    return Lora((path, folder / CONFIG_NAME), layout, tuple(pairs.values()), dict(config))


def plain_name(module: str) -> str:
    """Gives a module's name without what libraries put around the layers, so that those of two libraries compare."""
    parts = module.split(".")
    while len(parts) > 1 and parts[0] in _WRAPPERS:
        parts = parts[1:]
    return ".".join(parts)


def _by_pattern(patterns: object, module: str) -> object:
    """Finds the value of the first pattern that a module's name ends with; None for none."""
    if not isinstance(patterns, dict):
        return None
    for pattern, value in cast("dict[str, object]", patterns).items():
        try:
            if re.fullmatch(rf"(.*\.)?({pattern})", module):
                return value
        except re.error:
            continue
    return None
