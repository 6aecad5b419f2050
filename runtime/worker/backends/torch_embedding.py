"""SafeTensors and PyTorch models that give vectors or scores instead of text, by transformers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from ...frames import LoadOptions
from ..vectors.folder import read_vector_folder
from ..vectors.padded import Ids, PaddedContext
from ..vectors.pooling import Pooling, States
from ..vectors.vector_backend import OpenedVectors, VectorBackend
from .torch_library import ENGINE, AutoEncoder, AutoRanker, choose_device, torch
from .torch_weights import open_weights


def open_backend() -> VectorBackend:
    """Gives the backend for folders of SafeTensors and checkpoints."""
    return VectorBackend(open_vectors)


def open_vectors(path: str, options: LoadOptions, on_progress: Callable[[float], None]) -> OpenedVectors:
    """Loads a folder; raises LoadError."""
    if options.threads:
        torch.set_num_threads(options.threads)
    folder = read_vector_folder(Path(path), options)
    device = choose_device()
    # A CPU has no arithmetic for 16 bits, and encoders are small.
    kind = "float32" if device == "cpu" else "auto"
    model, _ = open_weights(folder.folder, device, on_progress, by=AutoRanker if folder.ranks else AutoEncoder, kind=kind)
    context = TorchContext(
        model, device, folder.pooling, room=options.batch_tokens, pad=folder.pad, second_after=folder.second_after
    )
    return folder.opened(context, ENGINE, {"device": device, "numbers": str(model.dtype).rpartition(".")[2]})


class TorchContext(PaddedContext):
    """Computes by one of transformers' models."""

    def __init__(
        self, model: Any, device: str, pooling: Pooling | None, *, room: int, pad: int, second_after: int | None
    ) -> None:
        super().__init__(pooling, room=room, pad=pad, second_after=second_after)
        self._model = model
        self._device = device
        self._takes = set(inspect.signature(model.forward).parameters)

    def run(self, ids: Ids, mask: Ids, kinds: Ids) -> States:
        """Computes rows."""
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": kinds}
        inputs = {name: torch.from_numpy(value).to(self._device) for name, value in given.items() if name in self._takes}
        if "use_cache" in self._takes:
            inputs["use_cache"] = False
        with torch.inference_mode():
            found = self._model(**inputs)
        states = found.logits if self._pooling is None else found.last_hidden_state
        return cast("States", states.float().cpu().numpy())
