"""ONNX graphs that give vectors or scores instead of text, by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np

from ...frames import LoadOptions
from ..vectors.folder import read_vector_folder
from ..vectors.padded import Ids, PaddedContext
from ..vectors.pooling import Pooling, States
from ..vectors.vector_backend import OpenedVectors, VectorBackend
from .backend import LoadError
from .onnx_graph import find_graph
from .onnx_library import ENGINE, TYPES, open_session

_FINAL = ("sentence_embedding", "pooler_output_normalized", "embeddings")
"""Outputs that are vectors already."""
_STATES = ("last_hidden_state", "token_embeddings")


def open_backend() -> VectorBackend:
    """Gives the backend for folders with ONNX graphs."""
    return VectorBackend(open_vectors)


def open_vectors(path: str, options: LoadOptions, on_progress: Callable[[float], None]) -> OpenedVectors:
    """Loads a folder's graph; raises LoadError."""
    graph, place = find_graph(Path(path), "embedding")
    folder = read_vector_folder(place, options)
    on_progress(0.1)
    session = open_session(graph, options)
    on_progress(0.9)
    context = OnnxContext(session, folder.pooling, room=options.batch_tokens, pad=folder.pad, second_after=folder.second_after)
    return folder.opened(context, ENGINE, {"graph": graph.relative_to(place).as_posix(), "output": context.output})


class OnnxContext(PaddedContext):
    """Computes by the names of a graph's inputs."""

    def __init__(self, session: Any, pooling: Pooling | None, *, room: int, pad: int, second_after: int | None) -> None:
        super().__init__(pooling, room=room, pad=pad, second_after=second_after)
        self._session = session
        self._inputs = {one.name: one for one in session.get_inputs()}
        outputs = {one.name: one for one in session.get_outputs()}
        wanted = ("logits",) if pooling is None else (*_FINAL, *_STATES)
        named = next((name for name in wanted if name in outputs), None)
        if "input_ids" not in self._inputs or named is None:
            raise LoadError(f"its graph gives {', '.join(list(outputs)[:4])}, which are neither vectors nor scores.")
        self.output = named

    def run(self, ids: Ids, mask: Ids, kinds: Ids) -> States:
        """Computes rows."""
        positions = np.broadcast_to(np.arange(ids.shape[1], dtype=np.int64), ids.shape)
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": kinds, "position_ids": positions}
        feeds = {name: given[name] if name in given else self._nothing(one, len(ids)) for name, one in self._inputs.items()}
        [found] = self._session.run([self.output], feeds)
        return cast("States", found.astype(np.float32))

    def _nothing(self, one: Any, rows: int) -> Any:
        """Gives keys or values of no token, for decoders that were exported with their cache."""
        if len(one.shape) != 4 or one.type not in TYPES:
            raise ValueError(f"the graph takes '{one.name}', which is not known here.")
        return np.zeros((rows, one.shape[1], 0, one.shape[3]), TYPES[one.type])
