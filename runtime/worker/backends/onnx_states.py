"""Keys and values as plain arrays, for one sequence or for several that are computed at once."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .onnx_graph import Graph

GROWTH_TOKENS = 256
LEAST_MAPPED_BYTES = 1 << 18
"""Smaller planes share pages with others."""

Planes = list[NDArray[Any]]
"""One for each place of the graph, shape (sequences, heads, tokens, width)."""


@dataclass(eq=False, slots=True)
class OnnxState:
    """What was computed of one sequence; it has no planes while it is in a batch."""

    planes: Planes
    """Their third dimension is room, of which `length` tokens are in use."""
    length: int = 0


@dataclass(slots=True)
class Batch:
    """Sequences that are computed at once, one a row."""

    states: list[OnnxState] = field(default_factory=list[OnnxState])
    planes: Planes = field(default_factory=list[Any])
    begins: list[int] = field(default_factory=list[int])
    """Where each row's first token is: shorter ones begin later, unless rows may end at different places."""

    def holds(self, state: OnnxState) -> bool:
        """Whether a sequence is in it."""
        return any(state is one for one in self.states)

    def is_of(self, states: Sequence[OnnxState]) -> bool:
        """Whether it holds just these, in this order."""
        return len(states) == len(self.states) and all(one is other for one, other in zip(states, self.states, strict=True))

    def gather(self, states: Sequence[OnnxState], *, aligned: bool) -> None:
        """Takes sequences in; the batch is empty before.

        Args:
            states: their planes move into the batch.
            aligned: whether all rows have to end at the same place.
        """
        longest = max(state.length for state in states)
        room = longest if aligned else grown(longest + 1)
        self.begins = [longest - state.length if aligned else 0 for state in states]
        while states[0].planes:
            # Taken out one by one, so that one place is there twice, not all.
            parts = [state.planes.pop(0) for state in states]
            plane = zeros((len(states), parts[0].shape[1], room, parts[0].shape[3]), parts[0].dtype)
            for row, (state, part) in enumerate(zip(states, parts, strict=True)):
                begin = self.begins[row]
                plane[row, :, begin : begin + state.length] = part[0, :, : state.length]
            self.planes.append(plane)
        for state in states:
            state.planes = []
        self.states = list(states)

    def dissolve(self) -> None:
        """Gives every sequence its own planes back."""
        for state in self.states:
            state.planes = []
        while self.planes:
            plane = self.planes.pop(0)
            for row, state in enumerate(self.states):
                begin = self.begins[row]
                state.planes.append(copied(plane[row : row + 1, :, begin : begin + state.length]))
        self.states, self.planes, self.begins = [], [], []


def empty_planes(graph: Graph) -> Planes:
    """Makes the planes of an empty sequence."""
    return [np.zeros((1, place.heads, 0, place.width), graph.dtype) for place in graph.places]


def zeros(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Makes a plane whose memory goes back to the system with it; the C library would keep most of what is freed in pieces."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size < LEAST_MAPPED_BYTES:
        return np.zeros(shape, dtype)
    return np.frombuffer(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), dtype).reshape(shape)


def copied(plane: NDArray[Any]) -> NDArray[Any]:
    """Makes a plane of its own of a part of another."""
    new = zeros(plane.shape, plane.dtype)
    new[...] = plane
    return new


def grown(tokens: int) -> int:
    """How much room is made for so many tokens."""
    return -(-tokens // GROWTH_TOKENS) * GROWTH_TOKENS


def make_room(planes: Planes, used: int, needed: int) -> Planes:
    """Gives planes with room for so many tokens, the same ones where they have it; else the old ones are of no use any more."""
    if planes[0].shape[2] >= needed:
        return planes
    larger: Planes = []
    for at, plane in enumerate(planes):
        new = zeros((*plane.shape[:2], grown(needed), plane.shape[3]), plane.dtype)
        new[:, :, :used] = plane[:, :, :used]
        larger.append(new)
        planes[at] = new  # the smaller one goes before the next one is copied
    return larger


def read_positions(state: OnnxState, begin: int, end: int) -> bytes:
    """Gives what was computed of positions [begin, end), place after place."""
    return b"".join(plane[0, :, begin:end].tobytes() for plane in state.planes)


def write_positions(state: OnnxState, graph: Graph, data: bytes, begin: int, end: int, *, skip: int) -> None:
    """Puts positions behind those that a sequence has; see `Runner.write`.

    Raises:
        ValueError: the bytes do not fit.
    """
    item = np.dtype(graph.dtype).itemsize
    each = sum(place.heads * place.width for place in graph.places) * item
    count, rest = divmod(len(data), each)
    if rest or end - begin > count:
        raise ValueError(f"{len(data)} bytes are no state of positions {begin} to {end}")
    if graph.shares:
        state.planes = make_room(state.planes, state.length, end)
    else:
        state.planes = [_prolonged(plane, state.length, end) for plane in state.planes]
    at = 0
    for place, plane in zip(graph.places, state.planes, strict=True):
        numbers = place.heads * place.width * count
        part = np.frombuffer(data, graph.dtype, numbers, at).reshape(place.heads, count, place.width)
        plane[0, :, begin + skip : end] = part[:, skip : end - begin]
        at += numbers * item
    state.length = end


def _prolonged(plane: NDArray[Any], used: int, length: int) -> NDArray[Any]:
    """Gives a copy that is just so long."""
    new = zeros((*plane.shape[:2], length, plane.shape[3]), plane.dtype)
    new[:, :, :used] = plane[:, :, :used]
    return new
