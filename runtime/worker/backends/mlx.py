"""SafeTensors and MLX folders by MLX: on the GPU of a Mac, on the CPU elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from ...frames import LoadOptions
from ..sampling.sampler import Draw
from ..sequences.runner import Logits, Opened, Turn
from ..sequences.sequence_backend import SequenceBackend
from .mlx_batch import Batch, MlxState
from .mlx_caches import (
    are_cuttable,
    are_mergeable,
    copy_caches,
    cut_caches,
    read_positions,
    read_whole,
    row_widths,
    write_positions,
    write_whole,
)
from .mlx_draw import draw_tokens
from .mlx_library import ENGINE, caches, mx, on_gpu
from .mlx_weights import open_weights, prepare_folder

BITS = {"q8_0": 8, "q4_0": 4}
GROUPS = (64, 32)
"""How many numbers may share a scale, the better first."""
FREED_BYTES = 1 << 30
"""How much of what was freed MLX may keep for itself; more would hide from the system what is really free."""
DEFAULT_CONTEXT = 4096


class MlxRunner:
    """Computes by mlx-lm's models."""

    def __init__(self) -> None:
        self._model: Any = None
        self._batch = Batch()
        self._cuttable = self._mergeable = True
        self._bits: int | None = None
        self._group = 0
        self._like: list[Any] = []
        """Caches that hold one token, for the shapes."""
        self._ahead: tuple[list[MlxState], Any] | None = None
        """Sequences whose next token is being computed already, with the tokens that are its input."""
        self._runs_ahead = on_gpu()

    def open(self, path: Path, options: LoadOptions, on_progress: Callable[[float], None]) -> Opened:
        """Loads a folder; raises LoadError."""
        if on_gpu():
            with suppress(ValueError):
                info = mx.device_info() if hasattr(mx, "device_info") else mx.metal.device_info()
                mx.set_wired_limit(int(info["max_recommended_working_set_size"]))
        mx.set_cache_limit(FREED_BYTES)
        folder = prepare_folder(path, options, on_progress)
        self._model, config = open_weights(folder, on_progress)
        self._like = self._fresh_caches()
        self._cuttable = are_cuttable(self._like)
        logits = self._compute(mx.array([[0]]), self._like)
        mx.eval(logits)
        self._choose_precision(options)
        self._mergeable = are_mergeable(self._like)
        kind = str(logits.dtype).rpartition(".")[2]
        text = config.get("text_config")
        facts = config | cast("dict[str, object]", text) if isinstance(text, dict) else config
        length = facts.get("max_position_embeddings")
        return Opened(
            folder=path,
            files=tuple(sorted(folder.glob("model*.safetensors"))),
            rows=int(logits.shape[-1]),
            context_length=length if isinstance(length, int) else options.context_length or DEFAULT_CONTEXT,
            engine=ENGINE,
            cuttable=self._cuttable,
            precision=f"{kind} {self._bits or 16}",
            details={
                "device": "GPU" if on_gpu() else "CPU",
                "numbers": kind,
                "answers at once": "in one batch" if self._mergeable else "one after the other",
            },
        )

    def begin(self) -> MlxState:
        """Makes an empty sequence."""
        return MlxState(self._fresh_caches())

    def extend(self, state: MlxState, tokens: Sequence[int], wanted: Literal["none", "last", "all"]) -> Logits | None:
        """Computes tokens; the scores of a prompt's middle are not even laid out."""
        self._settle(state)
        logits = self._compute(mx.array([list(tokens)]), state.caches)
        state.length += len(tokens)
        if wanted == "none":
            mx.eval([layer.state for layer in state.caches])
            return None
        part = logits[0, -1] if wanted == "last" else logits[0]
        return _to_numpy(part)

    def decode(self, turns: Sequence[Turn[MlxState]]) -> Sequence[Logits | int]:
        """Computes one token of each, all at once where the caches allow it."""
        states = [turn.state for turn in turns]
        draws = [turn.draw for turn in turns if turn.draw is not None]
        if len(states) > 1 and not self._mergeable:
            return [found for turn in turns for found in self.decode([turn])]
        tokens = mx.array([turn.token for turn in turns])
        if self._ahead is not None and self._ahead[0] == states and len(draws) == len(turns):
            chosen = self._ahead[1]
            self._ahead = None
        else:
            self._settle_ahead()
            logits = self._step(states, tokens)
            if len(draws) < len(turns):
                for state in states:
                    state.length += 1
                rows = _to_numpy(logits)
                return [rows[at] for at in range(len(turns))]
            chosen = draw_tokens(logits, draws, [state.length for state in states])
        for state in states:
            state.length += 1
        if self._runs_ahead and self._cuttable:
            self._go_ahead(states, chosen, draws)
        return cast("list[int]", chosen.tolist())

    def fork(self, state: MlxState, length: int) -> MlxState:
        """Copies a beginning; its arrays are shared until one of the two goes on."""
        self._settle(state)
        copied = MlxState(copy_caches(state.caches), state.length)
        if length < copied.length:
            self.cut(copied, length)
        return copied

    def cut(self, state: MlxState, length: int) -> None:
        """Forgets what is behind."""
        self._settle(state)
        cut_caches(state.caches, state.length - length)
        state.length = length

    def read(self, state: MlxState, begin: int, end: int) -> bytes:
        """Gives the bytes of positions, or of all."""
        self._settle(state)
        return read_positions(state.caches, begin, end) if self._cuttable else read_whole(state.caches)

    def write(self, state: MlxState, data: bytes, begin: int, end: int, *, skip: int = 0) -> None:
        """Puts positions behind, or all in place."""
        self._settle(state)
        if self._cuttable:
            write_positions(state.caches, self._like, data, begin, end, skip=skip)
        else:
            write_whole(state.caches, data)
        state.length = end

    def release(self, state: MlxState) -> None:
        """Lets its arrays go."""
        self._settle_ahead(state)
        self._batch.discard(state)
        state.caches = []

    def close(self) -> None:
        """Gives the model's memory back."""
        self._ahead = None
        self._batch = Batch()
        self._model, self._like = None, []
        mx.synchronize()  # to clear while the GPU still computes has crashed drivers
        mx.clear_cache()

    def _choose_precision(self, options: LoadOptions) -> None:
        """Decides how precisely keys and values are kept; what does not divide into groups stays as it is computed."""
        bits = BITS.get(options.cache_type)
        widths = row_widths(self._like)
        group = next((group for group in GROUPS if all(width % group == 0 for width in widths)), None)
        if bits is None or group is None or not self._cuttable:
            return
        self._bits, self._group = bits, group
        self._like = self._fresh_caches()
        mx.eval(self._compute(mx.array([[0]]), self._like))

    def _fresh_caches(self) -> list[Any]:
        made = cast("list[Any]", caches.make_prompt_cache(self._model))
        if self._bits is None:
            return made
        return [caches.QuantizedKVCache(group_size=self._group, bits=self._bits) for _ in made]

    def _compute(self, tokens: Any, layers: list[Any]) -> Any:
        return self._model(tokens, cache=layers)

    def _step(self, states: list[MlxState], tokens: Any) -> Any:
        """Computes a token of each; gives scores, shape (states, rows), in their order."""
        if len(states) == 1:
            self._batch.discard(states[0])
            return self._compute(tokens[:, None], states[0].caches)[:, -1]
        order = self._batch.compose(states)
        inputs = tokens[mx.array(order)] if order != sorted(order) else tokens
        logits = self._compute(inputs[:, None], self._batch.caches)[:, -1]
        if order == sorted(order):
            return logits
        return logits[mx.array([order.index(at) for at in range(len(states))])]

    def _go_ahead(self, states: list[MlxState], chosen: Any, draws: list[Draw]) -> None:
        """Begins with the next step, whose input nobody has read yet."""
        logits = self._step(states, chosen)
        following = draw_tokens(logits, draws, [state.length for state in states])
        mx.async_eval(following)
        self._ahead = (states, following)

    def _settle_ahead(self, state: MlxState | None = None) -> None:
        """Takes back the step that was begun too early, if it is of a sequence, or at all."""
        if self._ahead is None or (state is not None and not any(state is one for one in self._ahead[0])):
            return
        states, _ = self._ahead
        self._ahead = None
        if len(states) == 1:
            cut_caches(states[0].caches, 1)
        else:
            self._batch.take_back()

    def _settle(self, state: MlxState) -> None:
        """Gives a sequence its own caches, as it is at rest now."""
        self._settle_ahead(state)
        self._batch.part(state)


def _to_numpy(array: Any) -> Logits:
    return np.array(array.astype(mx.float32))


def open_backend() -> SequenceBackend[MlxState]:
    """Makes a backend without a model."""
    return SequenceBackend(MlxRunner())
