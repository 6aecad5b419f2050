"""LoRA adapters over a model of MLX, by mlx-lm's own layers, which take plain and quantized weights alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import mlx.nn
from mlx_lm.models import switch_layers as mlx_lm_switch  # pyright: ignore[reportMissingTypeStubs]
from mlx_lm.tuner import lora as mlx_lm_lora  # pyright: ignore[reportMissingTypeStubs]

from ..adapters import Adapters
from ..sequences.lora import Lora, LoraPair, plain_name, read_lora
from .backend import LoadError
from .mlx_library import mx

MOST_MIXTURES = 8
"""So many are kept as layers that only have to be put in their places."""
_nn: Any = mlx.nn
_switch: Any = mlx_lm_switch
_lora: Any = mlx_lm_lora
_OUTPUT = "lm_head"


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of layer that can be adapted."""

    layers: tuple[Any, ...]
    adapted: Any
    down_axis: int
    """Where the rank is in the first matrix."""
    up_axis: int
    """And in the second."""


_LINEAR = _Kind((_nn.Linear, _nn.QuantizedLinear), _lora.LoRALinear, 1, 0)
_ROWS = _Kind((_nn.Embedding, _nn.QuantizedEmbedding), _lora.LoRAEmbedding, 1, 0)
_EXPERTS = _Kind((_switch.SwitchLinear, _switch.QuantizedSwitchLinear), _lora.LoRASwitchLinear, 1, 2)


@dataclass(frozen=True, slots=True)
class _Base:
    """A layer as it came with the model."""

    name: str
    layer: Any
    kind: _Kind


@dataclass(frozen=True, slots=True)
class _Change:
    """What an adapter does to one layer."""

    base: _Base
    down: Any
    up: Any
    scale: float


class MlxAdapters:
    """Owns the adapters that were opened for one model; it has none over it yet."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._bases: dict[str, _Base] = {}
        """By their plain names."""
        for name, layer in cast("list[tuple[str, Any]]", model.named_modules()):
            kind = next((kind for kind in (_LINEAR, _ROWS, _EXPERTS) if isinstance(layer, kind.layers)), None)
            if kind is not None:
                self._bases[plain_name(name)] = _Base(name, layer, kind)
        self._opened: dict[str, list[_Change]] = {}
        """By path."""
        self._mixtures: dict[Adapters, dict[str, Any]] = {}
        """Adapted layers by the names of those whose place they take, the least recently used first."""
        self._placed: dict[str, Any] = {}

    def open(self, path: Path) -> Sequence[Path]:
        """Reads an adapter into memory; gives its files. Raises LoadError."""
        adapter = read_lora(path)
        try:
            tensors = cast("dict[str, Any]", mx.load(str(adapter.files[0])))
            changes = [self._fit(path.name, adapter, pair, tensors) for pair in adapter.pairs]
            mx.eval([[change.down, change.up] for change in changes])
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise LoadError(f"the adapter {path.name} cannot be read: {error}") from error
        self._opened[str(path)] = changes
        return adapter.files

    def use(self, adapters: Adapters) -> None:
        """Puts opened adapters over the model in place of those before; several add up."""
        mixture = self._mixtures.pop(adapters, None)
        if mixture is None:
            mixture = self._mix(adapters)
        self._mixtures[adapters] = mixture
        if len(self._mixtures) > MOST_MIXTURES:
            del self._mixtures[next(iter(self._mixtures))]
        bases = {base.name: base.layer for base in self._bases.values()}
        for name in self._placed.keys() - mixture.keys():
            self._place(name, bases[name])
        for name, layer in mixture.items():
            self._place(name, layer)
        self._placed = mixture

    def _fit(self, adapter: str, lora: Lora, pair: LoraPair, tensors: dict[str, Any]) -> _Change:
        """Finds the layer that a pair of matrices is for, and lays them out as mlx-lm does."""
        base = self._bases.get(plain_name(pair.module))
        if base is None:
            raise LoadError(f"the adapter {adapter} does not fit this model, which has no '{pair.module}' that can be adapted.")
        down, up = tensors[pair.down], tensors[pair.up]
        if lora.layout == "peft":
            if base.kind is _EXPERTS:
                raise LoadError(
                    f"the adapter {adapter} changes experts ('{pair.module}') in PEFT's layout, which is not served."
                )
            if base.kind is _ROWS and _OUTPUT not in self._bases:
                # PEFT changes what is read by these rows alone, and mlx-lm also what is written by them.
                raise LoadError(f"the adapter {adapter} changes '{pair.module}', by which this model also writes.")
            down, up = down.swapaxes(-1, -2), up.swapaxes(-1, -2)
        rank = int(down.shape[base.kind.down_axis]) if down.ndim > 1 else 0
        layer = self._adapt(base, max(rank, 1))
        if (down.shape, up.shape) != (layer.lora_a.shape, layer.lora_b.shape):
            raise LoadError(
                f"the adapter {adapter} does not fit this model: its matrices for '{pair.module}' are {_shapes(down, up)}, "
                f"where {_shapes(layer.lora_a, layer.lora_b)} are needed."
            )
        return _Change(base, down, up, lora.scale(pair, rank))

    def _mix(self, adapters: Adapters) -> dict[str, Any]:
        """Makes the layers of some adapters together: matrices side by side add up."""
        changes: dict[str, list[_Change]] = {}
        for adapter in adapters:
            for change in self._opened[adapter.path]:
                scaled = _Change(change.base, change.down, change.up, change.scale * adapter.scale)
                changes.setdefault(change.base.name, []).append(scaled)
        mixture: dict[str, Any] = {}
        for name, several in changes.items():
            base = several[0].base
            down, up, scale = several[0].down, several[0].up, several[0].scale
            if len(several) > 1:
                down = mx.concatenate([change.down for change in several], axis=base.kind.down_axis)
                scaled = [change.scale * change.up.astype(mx.float32) for change in several]
                up, scale = mx.concatenate(scaled, axis=base.kind.up_axis), 1.0
            layer = self._adapt(base, int(down.shape[base.kind.down_axis]), scale)
            layer.lora_a, layer.lora_b = down, up
            mixture[name] = layer
        return mixture

    def _adapt(self, base: _Base, rank: int, scale: float = 1.0) -> Any:
        return base.kind.adapted.from_base(base.layer, r=rank, dropout=0.0, scale=scale)

    def _place(self, name: str, layer: Any) -> None:
        *path, last = name.split(".")
        parent = self._model
        for part in path:
            parent = parent[_key(part)]
        parent[_key(last)] = layer


def _key(part: str) -> int | str:
    """A part of a layer's name as what its parent knows it by: lists of layers are counted."""
    return int(part) if part.isdigit() else part


def _shapes(down: Any, up: Any) -> str:
    return f"{tuple(down.shape)} and {tuple(up.shape)}"
