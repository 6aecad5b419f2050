"""PyTorch checkpoints, and SafeTensors of architectures that MLX lacks, by transformers."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from ...frames import LoadOptions
from ..sequences.runner import Logits, Opened, Turn
from ..sequences.sequence_backend import SequenceBackend
from .torch_cache import Batch, TorchState, copy_state, make_cache, read_positions, write_positions
from .torch_library import ENGINE, DynamicCache, choose_device, torch
from .torch_weights import open_weights

DEFAULT_CONTEXT = 4096
_PLAIN_LAYERS = frozenset({"DynamicLayer", "DynamicSlidingWindowLayer"})
"""Kinds that can keep all positions, so that they can be cut; the mask alone then makes a window."""


class TorchRunner:
    """Computes by transformers' models."""

    def __init__(self) -> None:
        self._model: Any = None
        self._device = "cpu"
        self._layers = 0
        self._plain = True
        """Whether all layers hold keys and values, and nothing else."""
        self._batch = Batch()
        self._like = TorchState(None)
        """A state of one token, for the shapes."""

    def open(self, path: Path, options: LoadOptions, on_progress: Callable[[float], None]) -> Opened:
        """Loads a folder; raises LoadError."""
        if options.threads:
            torch.set_num_threads(options.threads)
        self._device = choose_device()
        self._model, files = open_weights(path, self._device, on_progress)
        config = self._model.config.get_text_config(decoder=True)
        layers = DynamicCache(config=self._model.config).layers
        self._layers = len(layers) or int(config.num_hidden_layers)
        self._plain = all(type(layer).__name__ in _PLAIN_LAYERS for layer in layers)
        state = self.begin()
        logits = self.extend(state, [0], "last")
        assert logits is not None  # noqa: S101 - it was wanted
        self._like = state
        length = getattr(config, "max_position_embeddings", None)
        kind = str(self._model.dtype).rpartition(".")[2]
        return Opened(
            folder=path,
            files=files,
            rows=len(logits),
            context_length=length if isinstance(length, int) else options.context_length or DEFAULT_CONTEXT,
            engine=ENGINE,
            cuttable=self._plain,
            warm=True,
            precision=kind,
            details={"device": self._device, "numbers": kind},
        )

    def begin(self) -> TorchState:
        """Makes an empty sequence."""
        return TorchState(make_cache(self._layers) if self._plain else DynamicCache(config=self._model.config))

    def extend(self, state: TorchState, tokens: Sequence[int], wanted: Literal["none", "last", "all"]) -> Logits | None:
        """Computes tokens behind others."""
        self._settle(state)
        logits = self._compute(
            torch.tensor([list(tokens)], device=self._device),
            state.cache,
            torch.arange(state.length, state.length + len(tokens), device=self._device)[None],
            keep=0 if wanted == "all" else 1,
        )
        state.length += len(tokens)
        if wanted == "none":
            return None
        return _to_numpy(logits[0] if wanted == "all" else logits[0, -1])

    def decode(self, turns: Sequence[Turn[TorchState]]) -> Sequence[Logits | int]:
        """Computes one token of each, at once where all layers hold keys and values."""
        if len(turns) == 1 or not self._plain:
            rows = [self.extend(turn.state, [turn.token], "last") for turn in turns]
            return [row for row in rows if row is not None]
        states = [turn.state for turn in turns]
        self._batch.compose(states, self._layers)
        logits = self._compute(
            torch.tensor([[turn.token] for turn in turns], device=self._device),
            self._batch.cache,
            torch.tensor([[state.length] for state in states], device=self._device),
            mask=self._batch.mask().to(self._device),
        )
        for state in states:
            state.length += 1
        rows = _to_numpy(logits[:, -1])
        return [rows[at] for at in range(len(turns))]

    def fork(self, state: TorchState, length: int) -> TorchState:
        """Copies a beginning."""
        self._settle(state)
        if self._plain:
            return copy_state(state, length)
        return TorchState(copy.deepcopy(state.cache), state.length)

    def cut(self, state: TorchState, length: int) -> None:
        """Forgets what is behind."""
        self._settle(state)
        for layer in state.cache.layers:
            layer.show(length)
        state.length = length

    def read(self, state: TorchState, begin: int, end: int) -> bytes:
        """Gives the bytes of positions, or of all."""
        self._settle(state)
        if self._plain:
            return read_positions(state, begin, end)
        file = io.BytesIO()
        torch.save([_tensors(layer) for layer in state.cache.layers], file)
        return file.getvalue()

    def write(self, state: TorchState, data: bytes, begin: int, end: int, *, skip: int = 0) -> None:
        """Puts positions behind, or all in place."""
        self._settle(state)
        if self._plain:
            write_positions(state, self._like, data, begin, end, skip=skip)
        else:
            state.cache = copy.deepcopy(self._like.cache)
            kept = torch.load(io.BytesIO(data), map_location=self._device, weights_only=True)
            for layer, content in zip(state.cache.layers, cast("list[dict[str, Any]]", kept), strict=True):
                for name, value in content.items():
                    setattr(layer, name, value)
        state.length = end

    def release(self, state: TorchState) -> None:
        """Lets its tensors go."""
        if self._batch.holds(state):
            self._batch.dissolve()
        state.cache = None

    def close(self) -> None:
        """Gives the model's memory back."""
        self._batch, self._like, self._model = Batch(), TorchState(None), None

    def _compute(self, ids: Any, cache: Any, positions: Any, *, mask: Any = None, keep: int = 1) -> Any:
        """Gives scores, shape (sequences, kept tokens, rows)."""
        with torch.inference_mode():
            return self._model(
                input_ids=ids,
                past_key_values=cache,
                position_ids=positions,
                attention_mask=mask,
                use_cache=True,
                logits_to_keep=keep,
            ).logits

    def _settle(self, state: TorchState) -> None:
        if self._batch.holds(state):
            self._batch.dissolve()


def _tensors(layer: Any) -> dict[str, Any]:
    """What a layer of any kind holds."""
    return {
        name: value
        for name, value in cast("dict[str, Any]", vars(layer)).items()
        if torch.is_tensor(value) or isinstance(value, (int, float, bool)) or _is_list_of_tensors(value)
    }


def _is_list_of_tensors(value: Any) -> bool:
    return isinstance(value, list) and all(one is None or torch.is_tensor(one) for one in value)  # pyright: ignore[reportUnknownVariableType]


def _to_numpy(tensor: Any) -> Logits:
    return np.asarray(tensor.float().cpu().numpy(), np.float32)


def open_backend() -> SequenceBackend[TorchState]:
    """Makes a backend without a model."""
    return SequenceBackend(TorchRunner(), TorchRunner)
