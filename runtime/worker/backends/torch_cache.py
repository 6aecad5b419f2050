"""Keys and values of one sequence, or of several that are computed at once, in buffers that grow in steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..give_back import blocks_apart
from .torch_library import DynamicCache, DynamicLayer, torch

GROWTH_TOKENS = 256


class GrowingLayer(DynamicLayer):
    """One layer's keys and values; a token is written behind the others, not copied together with them."""

    def __init__(self) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType]
        self._keys: Any = None
        self._values: Any = None
        self.filled = 0

    def update(self, key_states: Any, value_states: Any, *_args: Any, **_kwargs: Any) -> tuple[Any, Any]:
        """Appends keys and values, shape (sequences, heads, tokens, length); gives all there are."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self._keys = self._room(self._keys, key_states)
        self._values = self._room(self._values, value_states)
        end = self.filled + key_states.shape[-2]
        self._keys[..., self.filled : end, :] = key_states
        self._values[..., self.filled : end, :] = value_states
        self.show(end)
        return self.keys, self.values

    def fill(self, keys: Any, values: Any) -> None:
        """Takes keys and values over as they are."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        self._keys, self._values = keys, values
        self.show(keys.shape[-2])

    def show(self, length: int) -> None:
        """Has so many tokens; what is in the buffers behind them is written over."""
        self.filled = length
        self.keys, self.values = self._keys[..., :length, :], self._values[..., :length, :]

    def release(self) -> None:
        """Lets its memory go; nothing is asked of it afterwards."""
        self._keys = self._values = self.keys = self.values = None

    def _room(self, buffer: Any, more: Any) -> Any:
        """Gives a buffer that has room for more tokens."""
        needed = self.filled + more.shape[-2]
        if buffer is not None and needed <= buffer.shape[-2]:
            return buffer
        size = -(-needed // GROWTH_TOKENS) * GROWTH_TOKENS
        with blocks_apart():
            larger = torch.empty((*more.shape[:-2], size, more.shape[-1]), dtype=more.dtype, device=more.device)
        if buffer is not None:
            larger[..., : self.filled, :] = buffer[..., : self.filled, :]
        return larger


def make_cache(layers: int) -> Any:
    """Makes an empty cache whose layers grow."""
    cache = DynamicCache()
    cache.layers = [GrowingLayer() for _ in range(layers)]
    cache.layer_class_to_replicate = GrowingLayer
    return cache


@dataclass(eq=False, slots=True)
class TorchState:
    """What was computed of one sequence; its cache is empty while it is in a batch."""

    cache: Any
    length: int = 0


class Batch:
    """Sequences that are computed at once: shorter ones have nothing where the longest begins."""

    def __init__(self) -> None:
        self._states: list[TorchState] = []
        self._padding: list[int] = []
        self.cache: Any = None

    def compose(self, states: Sequence[TorchState], layers: int) -> None:
        """Makes the batch hold just these sequences, in this order."""
        if len(states) == len(self._states) and all(one is other for one, other in zip(states, self._states, strict=True)):
            return
        self.dissolve()
        longest = max(state.length for state in states)
        self._padding = [longest - state.length for state in states]
        self.cache = make_cache(layers)
        size = -(-(longest + 1) // GROWTH_TOKENS) * GROWTH_TOKENS
        for number, layer in enumerate(self.cache.layers):
            parts = [state.cache.layers[number] for state in states]
            layer.fill(self._join([part.keys for part in parts], size), self._join([part.values for part in parts], size))
            layer.show(longest)
            for part in parts:
                part.release()  # so that one layer is there twice, not all
        for state in states:
            state.cache = None
        self._states = list(states)

    def mask(self) -> Any:
        """Says which places count, shape (sequences, tokens and the next one)."""
        length = self.cache.layers[0].filled + 1
        padding = torch.tensor(self._padding)[:, None]
        return (torch.arange(length)[None, :] >= padding).to(torch.long)

    def dissolve(self) -> None:
        """Gives every sequence its own cache back."""
        if self.cache is None:
            return
        for state in self._states:
            state.cache = make_cache(len(self.cache.layers))
        for number, layer in enumerate(self.cache.layers):
            for row, state in enumerate(self._states):
                part = slice(self._padding[row], layer.filled)
                state.cache.layers[number].fill(
                    _copied(layer.keys[row : row + 1, :, part]), _copied(layer.values[row : row + 1, :, part])
                )
            layer.release()
        self._states, self._padding, self.cache = [], [], None

    def holds(self, state: TorchState) -> bool:
        """Whether a sequence is in the batch."""
        return any(state is one for one in self._states)

    def _join(self, parts: Sequence[Any], size: int) -> Any:
        first = parts[0]
        with blocks_apart():
            joined = torch.zeros((len(parts), first.shape[1], size, first.shape[-1]), dtype=first.dtype, device=first.device)
        for row, (part, padding) in enumerate(zip(parts, self._padding, strict=True)):
            joined[row, :, padding : padding + part.shape[-2]] = part[0]
        return joined


def _copied(plane: Any) -> Any:
    with blocks_apart():
        return plane.clone()


def copy_state(state: TorchState, length: int) -> TorchState:
    """Copies a sequence's beginning."""
    copied = TorchState(make_cache(len(state.cache.layers)), length)
    for own, layer in zip(copied.cache.layers, state.cache.layers, strict=True):
        own.fill(_copied(layer.keys[..., :length, :]), _copied(layer.values[..., :length, :]))
    return copied


def read_positions(state: TorchState, begin: int, end: int) -> bytes:
    """Gives what was computed of positions [begin, end), layer after layer."""
    parts: list[bytes] = []
    for layer in state.cache.layers:
        for plane in (layer.keys, layer.values):
            part = plane[..., begin:end, :].contiguous().cpu().view(torch.uint8)
            parts.append(part.numpy().tobytes())
    return b"".join(parts)


def write_positions(state: TorchState, like: TorchState, data: bytes, begin: int, end: int, *, skip: int) -> None:
    """Puts positions behind those that a sequence has; see `Runner.write`.

    Raises:
        ValueError: the bytes do not fit.
    """
    planes = [plane for layer in like.cache.layers for plane in (layer.keys, layer.values)]
    each = sum(plane.shape[1] * plane.shape[-1] * plane.element_size() for plane in planes)
    count, rest = divmod(len(data), each)
    if rest or end - begin > count:
        raise ValueError(f"{len(data)} bytes are no state of positions {begin} to {end}")
    at = 0
    found: list[Any] = []
    for plane in planes:
        heads, width = plane.shape[1], plane.shape[-1]
        size = heads * width * plane.element_size() * count
        raw = torch.from_numpy(np.frombuffer(data, np.uint8, size, at).copy())
        found.append(raw.view(plane.dtype).reshape(1, heads, count, width)[..., skip : end - begin, :].to(plane.device))
        at += size
    for number, layer in enumerate(state.cache.layers):
        layer.update(found[2 * number], found[2 * number + 1])
