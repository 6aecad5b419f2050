"""SafeTensors and MLX folders of decoders that give vectors instead of text, by mlx-lm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from ...formats.config_weights import text_settings
from ...formats.folder import sees_ahead
from ...frames import LoadOptions
from ..sequences.folder_vocabulary import read_json
from ..vectors.folder import VectorFolder, read_vector_folder
from ..vectors.padded import Ids, PaddedContext
from ..vectors.pooling import Pooling, States
from ..vectors.vector_backend import OpenedVectors, VectorBackend
from .backend import LoadError
from .mlx_library import ENGINE, caches, free_memory, hold_memory, mx, on_gpu
from .mlx_weights import open_weights, prepare_folder


def open_backend() -> VectorBackend:
    """Gives the backend for folders that mlx-lm reads."""
    return VectorBackend(open_vectors)


def open_vectors(path: str, options: LoadOptions, on_progress: Callable[[float], None]) -> OpenedVectors:
    """Loads a folder; raises LoadError."""
    config = read_json(Path(path) / "config.json")
    if sees_ahead(config):
        raise LoadError("its tokens see those behind them, and mlx-lm computes only models whose tokens do not.")
    folder = read_vector_folder(Path(path), options)
    if folder.pooling is None:
        raise LoadError("it scores documents, which mlx-lm does not compute.")
    hold_memory(options)
    model, _ = open_weights(prepare_folder(Path(path), options, on_progress), on_progress, scores=False)
    states = getattr(getattr(model, "language_model", model), "model", None)
    if states is None:
        raise LoadError(f"mlx-lm's '{config.get('model_type')}' gives scores of tokens alone, no states.")
    folder = _within_window(folder, config, model)
    context = MlxContext(states, folder.pooling, room=options.batch_tokens, pad=folder.pad)
    details = {"device": "GPU" if on_gpu() else "CPU"}
    return folder.opened(context, ENGINE, details, close=context.close)


class MlxContext(PaddedContext):
    """Computes by the inner half of one of mlx-lm's models, what comes before the scores.

    A token sees those before it alone, so what fills a row up behind its end changes nothing.
    """

    def __init__(self, states: Any, pooling: Pooling | None, *, room: int, pad: int) -> None:
        super().__init__(pooling, room=room, pad=pad)
        self._states: Any = states

    def run(self, ids: Ids, mask: Ids, kinds: Ids) -> States:
        """Computes rows."""
        del mask, kinds
        return cast("States", np.array(self._states(mx.array(ids.astype(np.int32))).astype(mx.float32)))

    def close(self) -> None:
        """Gives the model's memory back."""
        self._states = None
        free_memory()


def _within_window(folder: VectorFolder, config: Mapping[str, object], model: Any) -> VectorFolder:
    """Takes no longer texts than a model's window has, where mlx-lm lets all its layers look back to the beginning."""
    facts = text_settings(config)
    window = facts.get("sliding_window")
    if not isinstance(window, int) or facts.get("use_sliding_window") is False:
        return folder
    if any(isinstance(layer, caches.RotatingKVCache) for layer in caches.make_prompt_cache(model)):
        return folder
    return replace(folder, context_length=min(folder.context_length, window))
