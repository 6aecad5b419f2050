"""How many tokens a Core ML model takes at once, and how a prompt is cut to that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .coreml_description import Feature, Shape

READING_TOKENS = 16
"""To read the weights once costs about as much as to compute so many tokens; empty places are weighed against that."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How long one dimension may be."""

    least: int
    most: int
    """-1 is without bound."""
    named: tuple[int, ...] = ()
    """The only ones, in rising order; () allows all between the bounds."""

    @classmethod
    def of(cls, sizes: set[int]) -> Sizes | None:
        """Makes those of some sizes; None of no sizes."""
        return cls(min(sizes), max(sizes), tuple(sorted(sizes))) if sizes else None

    @property
    def text(self) -> str:
        """In words for the log."""
        if self.named:
            return ", ".join(map(str, self.named))
        return f"{self.least} or more" if self.most < 0 else f"{self.least} to {self.most}"

    def allows(self, size: int) -> bool:
        """Says whether it may be so long."""
        return size in self.named if self.named else self.least <= size and (self.most < 0 or size <= self.most)

    def meet(self, other: Sizes) -> Sizes | None:
        """Gives what both allow; None where that is nothing."""
        if self.named or other.named:
            first, second = (self, other) if self.named else (other, self)
            return Sizes.of({size for size in first.named if second.allows(size)})
        most = other.most if self.most < 0 else self.most if other.most < 0 else min(self.most, other.most)
        least = max(self.least, other.least)
        return None if 0 <= most < least else Sizes(least, most)

    def join(self, other: Sizes) -> Sizes:
        """Gives what either allows; of a range and single sizes, the range."""
        if self.named and other.named:
            return Sizes.of({*self.named, *other.named}) or self
        return other if self.named else self

    def under(self, bound: int) -> Sizes:
        """Gives those that are no longer than a bound, or the least of all where each is longer."""
        if self.named:
            return Sizes.of({size for size in self.named if size <= bound}) or Sizes(self.least, self.least, (self.least,))
        most = bound if self.most < 0 else min(self.most, bound)
        return Sizes(self.least, max(self.least, most))

    def best(self, count: int, room: int) -> int:
        """Gives how long to make the next piece.

        Args:
            count: tokens that are to be computed; a longer piece has empty places behind them.
            room: places that are left.

        Raises:
            MemoryError: there is no room for the shortest piece.
        """
        if not self.named:
            if self.least > room:
                raise MemoryError(f"the model computes {self.least} tokens at once, and has room for {room}")
            return max(self.least, min(count, room, self.most if self.most > 0 else count))
        fitting = [size for size in self.named if size <= room]
        if not fitting:
            raise MemoryError(f"the model computes {self.least} tokens at once, and has room for {room}")
        return min(fitting, key=lambda size: ((READING_TOKENS + size) / min(size, count), size))

    def pieces(self, count: int, room: int) -> Iterator[tuple[int, int]]:
        """Cuts so many tokens; gives how many are in each piece, and how long it is."""
        while count > 0:
            size = self.best(count, room)
            taken = min(size, count)
            yield taken, size
            count -= taken
            room -= taken


def read_sizes(feature: Feature, at: int) -> Sizes:
    """Reads how long a dimension of an input may be."""
    if feature.named:
        return Sizes.of({shape[at] for shape in feature.named}) or Sizes(1, 1, (1,))
    if feature.ranges and feature.ranges[at][0] != feature.ranges[at][1]:
        least, most = feature.ranges[at]
        return Sizes(max(1, least), most)
    size = feature.ranges[at][0] if feature.ranges else feature.shape[at]
    return Sizes(size, size, (size,))


def width_for(feature: Feature, rows: int, places: int, *, exactly: bool) -> int | None:
    """Finds how many columns a mask of so many rows gets.

    Args:
        feature: the mask, shape (1, 1, rows, columns).
        rows: tokens at once.
        places: the least number of columns.
        exactly: whether more would say something else.

    Returns:
        None where no shape that is allowed has room.
    """
    before: Shape = (*((feature.named or (feature.shape,))[0][:-2]), rows)
    if feature.named:
        wide = [shape[-1] for shape in feature.named if shape[-2] == rows]
    elif feature.ranges:
        wide = [max(places, feature.ranges[-1][0])]
    else:
        wide = [feature.shape[-1]]
    right = (width for width in sorted(wide) if width >= places and feature.allows((*before, width)))
    width = next(right, None)
    return None if exactly and width != places else width
