"""How the states of a text's tokens become one vector, as folders in the layout of sentence-transformers say it.

Sources: `modules.json`, `1_Pooling/config.json` and the `Dense` modules of https://github.com/huggingface/sentence-transformers
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file  # pyright: ignore[reportUnknownVariableType]

from ..backends.backend import LoadError
from ..sequences.folder_vocabulary import read_json
from .matryoshka import Vector

Way = Literal["mean", "cls", "last", "max", "mean_sqrt_len"]
States = npt.NDArray[np.float32]

_WAYS: Mapping[str, Way] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_lasttoken": "last",
}
_NAMES: Mapping[str, Way] = {
    "cls": "cls",
    "mean": "mean",
    "max": "max",
    "mean_sqrt_len_tokens": "mean_sqrt_len",
    "lasttoken": "last",
}
_ACTIVATIONS: Mapping[str, Callable[[Vector], Vector]] = {"Identity": lambda vector: vector, "Tanh": np.tanh}


@dataclass(frozen=True, slots=True)
class Dense:
    """A layer over the pooled vector."""

    weight: States
    """Shape (outputs, inputs)."""
    bias: Vector | None
    activation: str

    def apply(self, vector: Vector) -> Vector:
        """Computes it; a vector of shape (inputs,) gives one of shape (outputs,)."""
        found = self.weight @ vector
        return _ACTIVATIONS[self.activation](found if self.bias is None else found + self.bias)


@dataclass(frozen=True, slots=True)
class Pooling:
    """From states of shape (tokens, width) to a vector."""

    way: Way
    layers: tuple[Dense, ...] = ()

    @property
    def width(self) -> int | None:
        """How many numbers a vector has; None is as many as a state."""
        return len(self.layers[-1].weight) if self.layers else None

    def pool(self, states: States) -> Vector:
        """Makes one vector of the states of a text's tokens."""
        match self.way:
            case "cls":
                vector = states[0]
            case "last":
                vector = states[-1]
            case "max":
                vector = states.max(axis=0)
            case "mean":
                vector = states.mean(axis=0, dtype=np.float64)
            case "mean_sqrt_len":
                vector = states.sum(axis=0, dtype=np.float64) / np.sqrt(len(states))
        vector = vector.astype(np.float32)
        for layer in self.layers:
            vector = layer.apply(vector)
        return vector


def read_pooling(folder: Path, *, unsaid: Way = "mean") -> Pooling:
    """Reads how a folder's vectors are made.

    Args:
        folder: the model's.
        unsaid: how they are made where the folder does not say it.

    Raises:
        LoadError: it is made in a way that is not known here.
    """
    way = unsaid
    layers: list[Dense] = []
    for module in _read_modules(folder):
        kind, place = str(module.get("type")).rpartition(".")[2], folder / str(module.get("path") or "")
        if not place.resolve().is_relative_to(folder.resolve()):
            raise LoadError(f"modules.json names a folder outside of its own: {module.get('path')}.")
        if kind == "Pooling":
            way = _read_way(read_json(place / "config.json"))
        elif kind == "Dense":
            layers.append(_read_dense(place))
        elif kind not in ("Transformer", "Normalize"):
            # Vectors are brought to length 1 by whoever asks for that.
            raise LoadError(f"its vectors go through a module '{kind}', which is not known here.")
    return Pooling(way, tuple(layers))


def _read_modules(folder: Path) -> list[dict[str, object]]:
    try:
        modules: object = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise LoadError(f"modules.json cannot be read: {error}.") from error
    if not isinstance(modules, list):
        raise LoadError("modules.json is no list.")
    listed = cast("list[object]", modules)
    return [cast("dict[str, object]", module) for module in listed if isinstance(module, dict)]


def _read_way(config: Mapping[str, object]) -> Way:
    named = config.get("pooling_mode")
    if isinstance(named, str) and named in _NAMES:
        return _NAMES[named]
    ways: list[Way] = [way for key, way in _WAYS.items() if config.get(key)]
    if len(ways) != 1:
        raise LoadError("its vectors are put together of several ways of pooling, which is not known here.")
    return ways[0]


def _read_dense(folder: Path) -> Dense:
    config = read_json(folder / "config.json")
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2]
    if activation not in _ACTIVATIONS:
        raise LoadError(f"its vectors go through the activation '{activation}', which is not known here.")
    path = folder / "model.safetensors"
    if not path.is_file():
        raise LoadError(f"{folder.name}/model.safetensors is missing. Download it again.")
    tensors = load_file(path)
    weight, bias = tensors.get("linear.weight"), tensors.get("linear.bias")
    if weight is None or weight.ndim != 2:
        raise LoadError(f"{folder.name}/model.safetensors has no matrix 'linear.weight'.")
    return Dense(weight.astype(np.float32), None if bias is None else bias.astype(np.float32), activation)
