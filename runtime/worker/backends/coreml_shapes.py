"""What a Core ML model's description says of its inputs: their roles, and the shapes that they may have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .backend import LoadError

MASKED = -1e4
"""Added to what may not be seen; minus infinity makes the Neural Engine's softmax give no numbers."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How long one dimension may be."""

    least: int
    most: int
    """-1 is without bound."""
    named: tuple[int, ...] = ()
    """The only ones, in rising order; () allows all between the bounds."""

    def best(self, wanted: int) -> int:
        """Gives the longest that is no longer than wanted, or the shortest of all where each is longer."""
        if self.named:
            return max((size for size in self.named if size <= wanted), default=self.named[0])
        return max(self.least, wanted if self.most < 0 else min(wanted, self.most))


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a decoder takes, by role; None is what it does not take."""

    ids: str
    tokens: Sizes
    """How many it takes at once."""
    mask: str | None
    """Added to scores, shape (1, 1, tokens, all); 0 for what may be seen."""
    places: Sizes | None
    """How many places the mask has."""
    positions: str | None
    attends: str | None
    """Which places count, shape (1, all): of models that keep nothing."""
    states: tuple[tuple[str, tuple[int, ...]], ...]
    """Names and shapes of what it keeps; () where that is nothing."""
    logits: str

    @property
    def context_length(self) -> int:
        """The most tokens of one sequence."""
        bounds = [shape[-2] for _, shape in self.states if len(shape) >= 3]
        if self.places is not None and self.places.most > 0:
            bounds.append(self.places.most)
        if not self.states:
            bounds.append(self.tokens.named[-1] if self.tokens.named else self.tokens.most)
        return min((bound for bound in bounds if bound > 0), default=0)


def read_inputs(description: Any) -> Inputs:
    """Reads a model's description.

    Raises:
        LoadError: it is no decoder of tokens in one piece.
    """
    ids = mask = positions = attends = None
    tokens: Sizes | None = None
    places: Sizes | None = None
    for one in description.input:
        array, name = one.type.multiArrayType, one.name.lower().replace("_", "")
        rank = len(array.shape)
        if name in ("inputids", "ids", "tokens") and rank == 2:
            ids, tokens = one.name, _sizes(array, 1)
        elif "mask" in name and rank == 4:
            mask, places = one.name, _sizes(array, 3)
        elif "position" in name:
            positions = one.name
        elif "mask" in name and rank == 2:
            attends = one.name
        elif not one.type.isOptional:
            raise LoadError(f"it takes '{one.name}', which is not known; models in several parts are not served.")
    outputs = [one.name for one in description.output]
    logits = next((name for name in outputs if name.lower().startswith("logits")), None)
    if ids is None or tokens is None or logits is None:
        raise LoadError(f"it is no decoder of tokens: it gives {', '.join(outputs) or 'nothing'}.")
    states = tuple((one.name, tuple(int(size) for size in one.type.stateType.arrayType.shape)) for one in description.state)
    return Inputs(ids, tokens, mask, places, positions, attends, states, logits)


def _sizes(array: Any, at: int) -> Sizes:
    """Reads how long a dimension may be."""
    kind = array.WhichOneof("ShapeFlexibility")
    if kind == "enumeratedShapes":
        named = sorted({int(shape.shape[at]) for shape in array.enumeratedShapes.shapes})
        return Sizes(named[0], named[-1], tuple(named))
    if kind == "shapeRange":
        bounds: Sequence[Any] = array.shapeRange.sizeRanges
        return Sizes(max(1, int(bounds[at].lowerBound)), int(bounds[at].upperBound))
    return Sizes(int(array.shape[at]), int(array.shape[at]))
