"""Computes with a Core ML model's parts, one after the other, on the compute units that were chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ..sequences.runner import Logits
from .coreml_layout import Layout
from .coreml_roles import Roles


class Model(Protocol):
    """What coremltools offers of a model that is loaded."""

    def make_state(self) -> Any:
        """Makes what one sequence keeps."""
        ...

    def predict(self, data: dict[str, Any], state: Any = None) -> dict[str, Any]:
        """Computes."""
        ...


OpenModel = Callable[[Path, str, str | None], Model]
"""Opens a model's function (None: its only one) on some compute units, by their name in coremltools."""


class Memory:
    """What one sequence keeps, inside of Core ML or handed on by us; read and written in the same way."""

    def __init__(self, state: Any, carried: dict[str, NDArray[Any]]) -> None:
        self.state = state
        self.carried = carried

    def read_state(self, name: str) -> NDArray[Any]:
        """Gives a copy."""
        return self.carried[name].copy() if name in self.carried else np.array(self.state.read_state(name))

    def write_state(self, name: str, value: NDArray[Any]) -> None:
        """Puts a value in."""
        if name in self.carried:
            self.carried[name] = value
        else:
            self.state.write_state(name, value)


class Pipeline:
    """Holds the models of a layout.

    Args:
        layout: of the model.
        opener: opens a part.
        units: where it computes, by coremltools' name.
    """

    def __init__(self, layout: Layout, opener: OpenModel, units: str) -> None:
        self.layout = layout
        self.units = units
        self._models = {
            (part.path, way.function.name): opener(part.path, units, way.function.name)
            for part in layout.parts
            for way in part.ways
        }

    def begin(self) -> Memory:
        """Makes what an empty sequence keeps."""
        ways = [(part, way) for part in self.layout.parts for way in part.ways]
        stateful = next((self._models[part.path, way.function.name] for part, way in ways if way.function.states), None)
        carried = {one.name: np.zeros(one.shape, one.dtype) for _, way in ways for one, _ in way.carried}
        return Memory(None if stateful is None else stateful.make_state(), carried)

    def compiled_paths(self) -> list[str]:
        """Where the compiled models lie; packages are compiled by Core ML as they are opened."""
        models = {path: model for (path, _), model in self._models.items()}
        return [
            str(path) if path.suffix == ".mlmodelc" else str(cast("Any", model).get_compiled_model_path())
            for path, model in models.items()
        ]

    def compute(self, memory: Memory, tokens: Sequence[int], size: int, before: int, *, scores: bool) -> Logits | None:
        """Computes tokens behind others.

        Args:
            memory: of the sequence.
            tokens: at most `size`; places behind them are filled up, and written over later.
            size: how many are computed at once.
            before: how many the memory holds.
            scores: whether scores are wanted.

        Returns:
            Scores, shape (places, rows), where places are as many as the model gives; None where they are not wanted and not
            made anyway.
        """
        ids = np.zeros((1, size), np.int32)
        ids[0, : len(tokens)] = tokens
        rows: Any = None
        for part in self.layout.parts:
            way = part.way(size)
            if way is None or (way.logits and part is not self.layout.parts[0] and not scores):
                break
            data = way.feed(size, len(tokens), before, self.layout.window)
            if way.ids is not None:
                data[way.ids.name] = ids
            if way.hidden is not None:
                data[way.hidden.name] = np.asarray(rows, way.hidden.dtype)
            given = self._predict(self._models[part.path, way.function.name], way, data, memory)
            if way.logits:
                parts = [np.asarray(given[name], np.float32) for name in way.logits]
                found = parts[0] if len(parts) == 1 else np.concatenate(parts, -1)
                return found.reshape(-1, found.shape[-1])
            rows = given[way.rows or ""]
        return None

    def _predict(self, model: Model, way: Roles, data: dict[str, Any], memory: Memory) -> dict[str, Any]:
        data |= {feature.name: memory.carried[feature.name] for feature, _ in way.carried}
        # A function without states refuses to be given one.
        given = model.predict(data, memory.state) if way.function.states else model.predict(data)
        for feature, name in way.carried:
            memory.carried[feature.name] = np.asarray(given[name], feature.dtype)
        return given
