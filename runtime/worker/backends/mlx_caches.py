"""The caches of one sequence: copied, cut, and as bytes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, cast

import msgspec
import numpy as np

from .mlx_library import caches, mx, tree_flatten, tree_unflatten

_HEAD_BYTES = 4


class _Plane(msgspec.Struct, frozen=True, array_like=True):
    """One array in a state's bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class _Whole(msgspec.Struct, frozen=True, array_like=True):
    """What stands before the arrays of caches that cannot be cut."""

    planes: list[_Plane]
    scalars: dict[str, int | float | bool | str | None]


def leaves(layers: Sequence[Any]) -> Iterator[Any]:
    """Gives the single caches of all layers; some layers have several."""
    for layer in layers:
        if isinstance(layer, caches.CacheList):
            yield from leaves(layer.caches)
        else:
            yield layer


def are_cuttable(layers: Sequence[Any]) -> bool:
    """Whether each cache holds all positions one after the other."""
    return all(isinstance(leaf, (caches.KVCache, caches.QuantizedKVCache)) for leaf in leaves(layers))


def are_mergeable(layers: Sequence[Any]) -> bool:
    """Whether those of several sequences can be computed at once."""
    return all(callable(getattr(leaf, "merge", None)) for leaf in leaves(layers))


def row_widths(layers: Sequence[Any]) -> set[int]:
    """How many numbers a head's keys or values have, in caches that hold something; {} where they cannot be cut."""
    if not are_cuttable(layers):
        return set()
    return {int(plane.shape[-1]) for leaf in leaves(layers) for plane in _planes(leaf)}


def copy_caches(layers: Sequence[Any]) -> list[Any]:
    """Makes caches of their own with the same content; arrays are shared until one of them is written to."""
    return [copy.deepcopy(layer) for layer in layers]


def cut_caches(layers: Sequence[Any], drop: int) -> None:
    """Forgets so many of the newest tokens."""
    for leaf in leaves(layers):
        leaf.trim(drop)


def read_positions(layers: Sequence[Any], begin: int, end: int) -> bytes:
    """Gives what caches that can be cut hold of positions [begin, end), layer after layer."""
    parts = [mx.contiguous(plane[..., begin:end, :]) for leaf in leaves(layers) for plane in _planes(leaf)]
    mx.eval(parts)
    return b"".join(_to_bytes(part) for part in parts)


def write_positions(layers: Sequence[Any], like: Sequence[Any], data: bytes, begin: int, end: int, *, skip: int) -> None:
    """Puts positions behind those that caches hold.

    Args:
        layers: hold `begin + skip` positions.
        like: caches of this model that hold something, for the shapes.
        data: what `read_positions` gave from `begin` on, to `end` or further.
        begin: where it begins.
        end: where to stop.
        skip: so many of its positions are left out.

    Raises:
        ValueError: the bytes do not fit these caches.
    """
    shapes = [(plane.shape, plane.dtype) for leaf in leaves(like) for plane in _planes(leaf)]
    each = sum(_row_bytes(shape, dtype) for shape, dtype in shapes)
    count, rest = divmod(len(data), each)
    if rest or not end - begin <= count:
        raise ValueError(f"{len(data)} bytes are no state of positions {begin} to {end}")
    at = 0
    planes: list[Any] = []
    for shape, dtype in shapes:
        size = _row_bytes(shape, dtype) * count
        raw = mx.array(np.frombuffer(data, np.uint8, size, at)).view(dtype)
        planes.append(raw.reshape(*shape[:-2], count, shape[-1])[..., skip : end - begin, :])
        at += size
    for leaf in leaves(layers):
        _append(leaf, planes)
    mx.eval([plane for leaf in leaves(layers) for plane in _planes(leaf)])


def read_whole(layers: Sequence[Any]) -> bytes:
    """Gives all that caches hold which cannot be cut."""
    flat = cast("list[tuple[str, Any]]", tree_flatten([layer.state for layer in layers]))
    arrays = [(name, mx.contiguous(value)) for name, value in flat if isinstance(value, mx.array)]
    mx.eval([array for _, array in arrays])
    scalars = {name: value for name, value in flat if not isinstance(value, mx.array)}
    planes = [_Plane(name, str(array.dtype).rpartition(".")[2], tuple(array.shape)) for name, array in arrays]
    head = msgspec.msgpack.encode(_Whole(planes, scalars))
    return b"".join([len(head).to_bytes(_HEAD_BYTES, "little"), head, *(_to_bytes(array) for _, array in arrays)])


def write_whole(layers: Sequence[Any], data: bytes) -> None:
    """Gives caches the content that `read_whole` gave; raises ValueError for other bytes."""
    size = int.from_bytes(data[:_HEAD_BYTES], "little")
    try:
        head = msgspec.msgpack.decode(data[_HEAD_BYTES : _HEAD_BYTES + size], type=_Whole)
    except msgspec.DecodeError as error:
        raise ValueError("these bytes are no state") from error
    at = _HEAD_BYTES + size
    flat: list[tuple[str, Any]] = list(head.scalars.items())
    for plane in head.planes:
        dtype = getattr(mx, plane.dtype)
        count = int(np.prod(plane.shape)) * dtype.size
        if at + count > len(data):
            raise ValueError("these bytes are cut short")
        raw = mx.array(np.frombuffer(data, np.uint8, count, at)).view(dtype) if count else mx.zeros((0,), dtype)
        flat.append((plane.name, raw.reshape(plane.shape)))
        at += count
    states = tree_unflatten(flat)
    if len(states) != len(layers):
        raise ValueError("these bytes are of another model")
    for layer, state in zip(layers, states, strict=True):
        layer.state = tuple(cast("list[Any]", state)) if isinstance(state, list) else state


def _planes(leaf: Any) -> list[Any]:
    """The arrays of a cache that hold one row for each position, in its next to last dimension."""
    if leaf.keys is None:
        return []
    quantized = isinstance(leaf, caches.QuantizedKVCache)
    return [*leaf.keys, *leaf.values] if quantized else [leaf.keys, leaf.values]


def _append(leaf: Any, planes: list[Any]) -> None:
    """Takes a cache's rows off the front of a list."""
    before = leaf.offset
    quantized = isinstance(leaf, caches.QuantizedKVCache)
    taken = [planes.pop(0) for _ in range(6 if quantized else 2)]
    joined = taken
    if leaf.keys is not None:
        joined = [mx.concatenate([old[..., :before, :], new], axis=-2) for old, new in zip(_planes(leaf), taken, strict=True)]
    leaf.keys, leaf.values = (tuple(joined[:3]), tuple(joined[3:])) if quantized else (joined[0], joined[1])
    leaf.offset = before + taken[0].shape[-2]


def _row_bytes(shape: Sequence[int], dtype: Any) -> int:
    return int(np.prod(shape[:-2])) * shape[-1] * int(dtype.size)


def _to_bytes(array: Any) -> bytes:
    return bytes(np.array(array.reshape(-1).view(mx.uint8), copy=False))
