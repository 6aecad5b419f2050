"""SafeTensors and MLX folders by MLX: on the GPU of a Mac, on the CPU elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from ...formats.config_weights import text_settings
from ...frames import LoadOptions
from ..adapters import Adapters
from ..give_back import keep_large_blocks_apart
from ..sampling.sampler import Draw
from ..sequences.runner import Logits, Opened, Part, Turn
from ..sequences.sequence_backend import SequenceBackend
from .mlx_ahead import Ahead
from .mlx_batch import Batch, MlxState, alike, merge_layers
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
from .mlx_library import ENGINE, caches, free_memory, hold_memory, mx, on_gpu
from .mlx_weights import open_weights, prepare_folder

if TYPE_CHECKING:
    from .mlx_adapters import MlxAdapters

BITS = {"q8_0": 8, "q4_0": 4}
GROUPS = (64, 32)
"""How many numbers may share a scale, the better first."""
DEFAULT_CONTEXT = 4096
MOST_FILLED = 2
"""To fill shorter pieces of prompts up to a longer one costs a GPU little; a CPU computes each token for itself."""


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
        self._ahead = Ahead()
        self._runs_ahead = on_gpu()
        self._adapters: MlxAdapters | None = None
        """None until the first one is opened."""

    def open(self, path: Path, options: LoadOptions, on_progress: Callable[[float], None]) -> Opened:
        """Loads a folder; raises LoadError."""
        keep_large_blocks_apart()
        hold_memory(options)
        folder = prepare_folder(path, options, on_progress)
        self._model, config = open_weights(folder, on_progress)
        self._like = self._fresh_caches()
        self._cuttable = are_cuttable(self._like)
        logits = self._compute(mx.array([[0]]), self._like)
        mx.eval(logits)
        self._choose_precision(options)
        self._mergeable = are_mergeable(self._like)
        kind = str(logits.dtype).rpartition(".")[2]
        length = text_settings(config).get("max_position_embeddings")
        return Opened(
            folder=path,
            files=tuple(sorted(folder.glob("model*.safetensors"))),
            rows=int(logits.shape[-1]),
            context_length=length if isinstance(length, int) else options.context_length or DEFAULT_CONTEXT,
            engine=ENGINE,
            cuttable=self._cuttable,
            warm=True,
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

    def fill(self, parts: Sequence[Part[MlxState]]) -> None:
        """Computes pieces of prompts, those of like length in one batch where the caches allow it."""
        for part in parts:
            self._settle(part.state)
        if len(parts) == 1 or not self._mergeable:
            for part in parts:
                self.extend(part.state, part.tokens, "none")
            return
        for group in alike(parts, most_filled=MOST_FILLED if on_gpu() else 1):
            self._fill_together(group)

    def decode(self, turns: Sequence[Turn[MlxState]]) -> Sequence[Logits | int]:
        """Computes one token of each, all at once where the caches allow it."""
        states = [turn.state for turn in turns]
        draws = [turn.draw for turn in turns if turn.draw is not None]
        if len(states) > 1 and not self._mergeable:
            return [found for turn in turns for found in self.decode([turn])]
        tokens = mx.array([turn.token for turn in turns])
        if len(draws) < len(turns):
            self._settle_all()
            rows = _to_numpy(self._step(states, tokens))
            for state in states:
                state.length += 1
            return [rows[at] for at in range(len(turns))]
        chosen = self._choose(states, tokens, draws)
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
        self._settle(state)
        state.caches = []

    def open_adapter(self, path: Path) -> Sequence[Path]:
        """Reads a LoRA adapter in mlx-lm's or PEFT's layout; raises LoadError."""
        if self._adapters is None:
            # Here, as it brings what mlx-lm trains with, and most models are served without an adapter.
            from .mlx_adapters import MlxAdapters

            self._adapters = MlxAdapters(self._model)
        return self._adapters.open(path)

    def use_adapters(self, adapters: Adapters) -> None:
        """Puts opened adapters over the weights."""
        if self._adapters is not None:
            self._adapters.use(adapters)

    def close(self) -> None:
        """Gives the model's memory back."""
        self._ahead = Ahead()
        self._batch = Batch()
        self._model, self._like, self._adapters = None, [], None
        free_memory()

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

    def _fill_together(self, parts: Sequence[Part[MlxState]]) -> None:
        """Computes in one batch; shorter pieces are filled up at their ends with what is taken out again."""
        lengths = [len(part.tokens) for part in parts]
        padding = [max(lengths) - length for length in lengths]
        layers = merge_layers([part.state.caches for part in parts])
        if any(padding):
            for layer in layers:
                layer.prepare(lengths=lengths, right_padding=padding)
        rows = [[*part.tokens, *[0] * more] for part, more in zip(parts, padding, strict=True)]
        self._compute(mx.array(rows), layers)
        mx.eval([layer.state for layer in layers])
        if any(padding):
            for layer in layers:
                layer.finalize()
        for row, part in enumerate(parts):
            part.state.caches = [layer.extract(row) for layer in layers]
            mx.eval([layer.state for layer in part.state.caches])
            part.state.length += lengths[row]

    def _choose(self, states: Sequence[MlxState], tokens: Any, draws: Sequence[Draw]) -> Any:
        """Chooses the next token of each; of those that are ahead it is known already."""
        for state in self._ahead.others(states):
            self._settle(state)
        late = [at for at, state in enumerate(states) if state not in self._ahead]
        if not late:
            return self._ahead.take(states)
        ahead = [state for state in states if state in self._ahead]
        coming = [states[at] for at in late]
        batch = Batch() if ahead else self._batch
        for state in coming if ahead else ():
            self._batch.part(state)
        logits = self._step(coming, tokens if not ahead else tokens[mx.array(late)], batch)
        found = draw_tokens(logits, [draws[at] for at in late], [state.length for state in coming])
        if not ahead:
            return found
        for state in coming:
            batch.part(state)
        known = self._ahead.take(ahead)
        order = [*(at for at in range(len(states)) if at not in late), *late]
        return mx.concatenate([known, found])[mx.array([order.index(at) for at in range(len(states))])]

    def _step(self, states: Sequence[MlxState], tokens: Any, batch: Batch | None = None) -> Any:
        """Computes a token of each; gives scores, shape (states, rows), in their order."""
        batch = self._batch if batch is None else batch
        if len(states) == 1:
            batch.part(states[0])
            return self._compute(tokens[:, None], states[0].caches)[:, -1]
        order = batch.compose(states)
        inputs = tokens[mx.array(order)] if order != sorted(order) else tokens
        logits = self._compute(inputs[:, None], batch.caches)[:, -1]
        if order == sorted(order):
            return logits
        return logits[mx.array([order.index(at) for at in range(len(states))])]

    def _go_ahead(self, states: Sequence[MlxState], chosen: Any, draws: Sequence[Draw]) -> None:
        """Begins with the next step, whose input nobody has read yet."""
        logits = self._step(states, chosen)
        following = draw_tokens(logits, draws, [state.length for state in states])
        mx.async_eval(following)
        self._ahead.put(states, following)

    def _settle(self, state: MlxState) -> None:
        """Gives a sequence its own caches, as it is at rest now: without the token that was begun too early."""
        self._batch.part(state)
        if self._ahead.drop(state):
            cut_caches(state.caches, 1)

    def _settle_all(self) -> None:
        for state in self._ahead.states:
            self._settle(state)


def _to_numpy(array: Any) -> Logits:
    return np.array(array.astype(mx.float32))


def open_backend() -> SequenceBackend[MlxState]:
    """Makes a backend without a model."""
    return SequenceBackend(MlxRunner(), MlxRunner)
