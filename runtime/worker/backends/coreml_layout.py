"""Puts a Core ML model's parts in their order: all in one package, or embeddings, layers and head apart as ANEMLL has them.

A part is known by what it takes and gives. Only the order of the layers is told by names alone: chunk 1 of 2, chunk 2 of 2.

Source: https://github.com/Anemll/Anemll
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..sequences.folder_vocabulary import read_json
from .backend import LoadError
from .coreml_description import WINDOW, Description, Shape, describe
from .coreml_files import find_models, list_files
from .coreml_roles import Roles, read_roles
from .coreml_shapes import Sizes

_CHUNK = re.compile(r"chunk_?(\d+)of(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """One package or compiled model."""

    path: Path
    ways: tuple[Roles, ...]
    """Its functions, each for other numbers of tokens."""

    def way(self, size: int) -> Roles | None:
        """The function for so many tokens at once."""
        return next((way for way in self.ways if way.sizes.allows(size)), None)

    @property
    def sizes(self) -> Sizes:
        """How many tokens it takes at once, by one function or another."""
        found = self.ways[0].sizes
        for way in self.ways[1:]:
            found = found.join(way.sizes)
        return found


@dataclass(frozen=True, slots=True)
class Kept:
    """Keys or values that one sequence keeps."""

    name: str
    shape: Shape
    axis: int
    """Which dimension counts tokens; negative, as it is counted from the end."""
    dtype: str = "float16"


@dataclass(frozen=True, slots=True)
class Layout:
    """A whole model."""

    folder: Path
    files: tuple[Path, ...]
    parts: tuple[Part, ...]
    """From tokens to scores."""
    kept: tuple[Kept, ...]
    """Of all parts together; () of a model that computes all tokens anew each time."""
    sizes: Sizes
    """How many tokens are computed at once where nobody asks for scores."""
    scoring: Sizes
    """How many tokens are computed at once where somebody does."""
    places: int
    """Of keys and values, or of tokens where nothing is kept."""
    window: int | None
    """How far back windowed layers look."""

    @property
    def context_length(self) -> int:
        """The most tokens: the last one may be computed in a piece with empty places behind it."""
        return self.places - (self.scoring.least - 1 if self.kept else 0)


def read_layout(path: Path) -> Layout:
    """Reads a model that is named, or the one in a folder.

    Raises:
        LoadError: it is damaged, or nothing that can be served.
    """
    models, folder = find_models(path)
    described = [(model, describe(model)) for model in models]
    parts = [_read_part(model, told) for model, told in described]
    if len(parts) > 1:
        parts = _in_order(parts)
    elif not (parts[0].ways[0].ids and parts[0].ways[0].logits):
        raise LoadError(f"'{models[0].name}' is but one part of a model. Download the others into the same folder.")
    sizes, scoring = _common(parts[:-1] or parts), _common([_without_cuts(part) for part in parts])
    kept = _read_kept(parts[1:-1] if len(parts) > 1 else parts)
    places = _count_places(parts, kept, sizes)
    window = _read_window(folder, described, parts)
    layout = Layout(folder, list_files(models), tuple(parts), kept, sizes, scoring, places, window)
    if layout.context_length < 1:
        raise LoadError(f"'{models[0].name}' does not say how long its context is.")
    return layout


def _read_part(model: Path, told: Description) -> Part:
    try:
        # Those that rotate are for places behind a window that the others do not reach.
        ways = tuple(read_roles(function) for function in told.functions if "rotate" not in (function.name or ""))
    except LoadError as error:
        raise LoadError(f"'{model.name}' cannot be served: {error}") from error
    return Part(model, tuple(sorted(ways, key=lambda way: way.sizes.least)))


def _without_cuts(part: Part) -> Part:
    """Leaves out functions that give fewer rows than they take."""
    ways = tuple(way for way in part.ways if not way.cuts)
    if not ways:
        raise LoadError(f"'{part.path.name}' gives fewer rows than it takes, and has no function for single tokens.")
    return Part(part.path, ways)


def _in_order(parts: list[Part]) -> list[Part]:
    """Gives embeddings, layers, head; raises LoadError where one is missing, or where the parts are models of their own."""
    whole = [part.path.name for part in parts if part.ways[0].ids and part.ways[0].logits]
    if whole:
        raise LoadError(f"it holds several models. Name one of them: {', '.join(whole)}.")
    first = [part for part in parts if part.ways[0].ids]
    last = [part for part in parts if part.ways[0].logits]
    layers = sorted((part for part in parts if part not in first and part not in last), key=_chunk)
    if not (len(first) == len(last) == 1 and layers):
        raise LoadError(
            f"its parts are no whole model: {len(first)} that take tokens, {len(layers)} with layers and {len(last)} that give "
            "scores. Download the missing ones into the same folder, or take others out of it."
        )
    wanted = max(_chunk(part)[1] for part in layers)
    missing = sorted(set(range(1, wanted + 1)) - {_chunk(part)[0] for part in layers})
    if missing or len(layers) != wanted:
        what = f"part {missing[0]} of {wanted} is missing" if missing else f"{len(layers)} parts say that there are {wanted}"
        raise LoadError(f"its layers are not whole: {what}. Download it again.")
    return [*first, *layers, *last]


def _chunk(part: Part) -> tuple[int, int]:
    match = _CHUNK.search(part.path.name)
    return (int(match[1]), int(match[2])) if match else (1, 1)


def _common(parts: list[Part]) -> Sizes:
    """How many tokens all parts take at once."""
    found = parts[0].sizes
    for part in parts[1:]:
        met = found.meet(part.sizes)
        if met is None:
            raise LoadError(f"'{part.path.name}' takes {part.sizes.text} tokens at once, and what is before it {found.text}.")
        found = met
    return found


def _read_kept(layers: list[Part]) -> tuple[Kept, ...]:
    ways = [way for part in layers for way in part.ways]
    told = {tuple((one.name, one.shape) for one in way.function.states) for way in ways}
    if len(told) > 1:
        raise LoadError("its parts keep different states, and a sequence has but one.")
    if all(way.keeps for way in ways):
        if not all(way.mask or way.positions or way.update for way in ways):
            raise LoadError("it keeps a state, and takes nothing that says where in it new tokens go.")
        way = ways[0]
        places = min((way.places for way in ways if way.places is not None), default=None)
        states = [(one.name, one.shape, one.dtype) for one in way.function.states]
        carried = [(one.name, one.shape, one.dtype) for one, _ in way.carried]
        return tuple(Kept(name, shape, _axis(name, shape, places), dtype) for name, shape, dtype in [*states, *carried])
    return ()


def _axis(name: str, shape: Shape, places: int | None) -> int:
    """Finds the dimension that counts tokens."""
    if len(shape) < 3:
        raise LoadError(f"it keeps '{name}', which holds no keys and values.")
    if places is not None and shape[-2] != places and places in shape:
        return len(shape) - 1 - shape[::-1].index(places) - len(shape)
    return -2


def _count_places(parts: list[Part], kept: tuple[Kept, ...], sizes: Sizes) -> int:
    bounds = [way.places for part in parts for way in part.ways if way.places is not None]
    bounds += [one.shape[one.axis] for one in kept]
    if not kept:
        bounds.append(sizes.most)
    return min((bound for bound in bounds if bound > 0), default=0)


def _read_window(folder: Path, described: list[tuple[Path, Description]], parts: list[Part]) -> int | None:
    """Finds how far back windowed layers look; raises LoadError where there are such and nothing says so."""
    if not any(way.windowed for part in parts for way in part.ways):
        return None
    told = next((one.metadata[WINDOW] for _, one in described if WINDOW in one.metadata), None)
    window = int(told) if told is not None and told.isdecimal() else read_json(folder / "config.json").get("sliding_window")
    if not isinstance(window, int) or window < 1:
        raise LoadError("it has a mask for layers with a window, and neither it nor config.json says how wide that is.")
    return window
