"""What a Core ML function's inputs and outputs mean, by their names and shapes, and what is fed to them.

Converters spell names differently (inputIds, input_ids). What several of them agree on is known here; nothing is guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backend import LoadError
from .coreml_description import Feature, Function
from .coreml_shapes import Sizes, read_sizes, width_for

MASKED = -1e4
"""Added to what may not be seen; minus infinity makes the Neural Engine's softmax give no numbers."""
_IDS = frozenset({"inputids", "ids", "tokens", "inputtokens", "tokenids"})
_POSITIONS = frozenset({"positionids", "positions", "position", "inputpos", "inputpositions", "pos"})
_STARTS = frozenset({"currentpos", "startpos", "cacheposition", "currentposition", "cachelength", "pastlength"})
_LOGITS = re.compile(r"(?:output_?)?logits_?(\d*)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Roles:
    """A function's inputs and outputs by what they mean; None is what it does not have."""

    function: Function
    ids: Feature | None
    """Tokens, shape (1, tokens)."""
    hidden: Feature | None
    """Rows that another part of the model gave, shape (1, tokens, width)."""
    mask: Feature | None
    """Added to scores, shape (1, 1, tokens, places): 0 for what may be seen."""
    windowed: Feature | None
    """The same for layers that look back only so far."""
    attends: Feature | None
    """Which places count, shape (1, places)."""
    positions: tuple[Feature, ...]
    """Of each token, or of the first."""
    update: Feature | None
    """1 where the new token's keys and values go, shape (1, 1, places, 1)."""
    carried: tuple[tuple[Feature, str], ...]
    """Keys and values that come in, and the outputs that hold them afterwards."""
    logits: tuple[str, ...]
    """Scores, whose parts belong side by side."""
    rows: str | None
    """What the next part of the model gets."""
    sizes: Sizes
    """How many tokens it takes at once."""
    cuts: bool
    """Whether it gives fewer rows than it takes."""

    @property
    def exact(self) -> bool:
        """Whether where new keys and values go is told by the mask's shape alone."""
        return self.keeps and not self.positions and self.update is None

    @property
    def keeps(self) -> bool:
        """Whether it keeps keys and values, or hands them on."""
        return bool(self.function.states or self.carried)

    @property
    def places(self) -> int | None:
        """The most columns of its masks; None where they have no bound."""
        bounds = [read_sizes(one, 3).most for one in (self.mask, self.windowed) if one is not None]
        return min((bound for bound in bounds if bound > 0), default=None)

    def feed(self, size: int, count: int, before: int, window: int | None) -> dict[str, NDArray[Any]]:
        """Makes all inputs besides tokens, rows and what is carried.

        Args:
            size: tokens at once.
            count: how many of them there are; the places behind stay empty.
            before: tokens that are computed already.
            window: how far back `windowed` may look.

        Raises:
            MemoryError: a mask of the needed shape is not allowed.
        """
        places = before + size
        own = np.arange(before, places)
        data: dict[str, NDArray[Any]] = {}
        for feature, reach in ((self.mask, None), (self.windowed, window)):
            if feature is None:
                continue
            width = width_for(feature, size, places, exactly=self.exact)
            if width is None:
                raise MemoryError(f"the model's '{feature.name}' has no shape for {size} tokens behind {before}")
            columns = np.arange(width)[None]
            hidden = columns > own[:, None]
            if reach is not None:
                hidden |= columns <= own[:, None] - reach
            data[feature.name] = np.where(hidden, MASKED, 0)[None, None].astype(feature.dtype)
        if self.attends is not None:
            allowed = read_sizes(self.attends, 1)
            width = next((one for one in allowed.named if one >= places), max(allowed.least, places))
            if not allowed.allows(width):
                raise MemoryError(f"the model's '{self.attends.name}' has no room for {places} tokens")
            data[self.attends.name] = (np.arange(width) < before + count).astype(self.attends.dtype)[None]
        for feature in self.positions:
            data[feature.name] = _fit(feature, own)
        if self.update is not None:
            marks = np.zeros(self.update.shape, self.update.dtype)
            marks[0, 0, before : before + 1, 0] = 1
            data[self.update.name] = marks
        return data


def read_roles(function: Function) -> Roles:
    """Reads a function.

    Raises:
        LoadError: it takes something that is not known, or gives neither scores nor rows.
    """
    found: dict[str, Feature] = {}
    positions: list[Feature] = []
    unknown: list[Feature] = []
    for one in function.inputs:
        name, rank = re.sub(r"[^a-z]", "", one.name.lower()), len(one.shape)
        if name in _IDS and rank == 2:
            found["ids"] = one
        elif name in ("hiddenstates", "inputsembeds", "hidden") and rank >= 3:
            found["hidden"] = one
        elif "mask" in name and rank == 4:
            found["update" if "update" in name else "windowed" if "sliding" in name else "mask"] = one
        elif "mask" in name and rank == 2:
            found["attends"] = one
        elif name in _POSITIONS or name in _STARTS:
            positions.append(one)
        elif not one.optional:
            unknown.append(one)
    logits = sorted((one.name for one in function.outputs if _LOGITS.match(one.name)), key=_order)
    rest = [one for one in function.outputs if one.name not in logits]
    carried = _pair(unknown, rest)
    rows = next((one for one in rest if "hidden" in one.name.lower()), None)
    if not logits and rows is None:
        given = ", ".join(one.name for one in function.outputs) or "nothing"
        raise LoadError(f"it gives {given}, and no scores of all tokens to choose the next one by.")
    first = found.get("ids") or found.get("hidden")
    if first is None:
        taken = ", ".join(one.name for one in function.inputs) or "nothing"
        raise LoadError(f"it takes {taken}, and no tokens.")
    sizes = read_sizes(first, 1)
    for name, at in (("mask", 2), ("windowed", 2)):
        if name in found:
            met = sizes.meet(read_sizes(found[name], at))
            if met is None:
                raise LoadError(f"'{first.name}' and '{found[name].name}' allow no common number of tokens.")
            sizes = met
    return Roles(
        function=function,
        ids=found.get("ids"),
        hidden=found.get("hidden"),
        mask=found.get("mask"),
        windowed=found.get("windowed"),
        attends=found.get("attends"),
        positions=tuple(positions),
        update=found.get("update"),
        carried=carried,
        logits=tuple(logits),
        rows=None if rows is None or logits else rows.name,
        sizes=sizes,
        cuts=rows is not None and not logits and len(rows.shape) > 1 and bool(sizes.named) and rows.shape[1] < sizes.least,
    )


def _pair(taken: list[Feature], given: list[Feature]) -> tuple[tuple[Feature, str], ...]:
    """Pairs keys and values that come in with those that go out, which have to be of the same shapes."""
    if not taken:
        return ()
    after = [one for one in given if len(one.shape) >= 3]
    if len(after) != len(taken) or any(one.shape != two.shape for one, two in zip(taken, after, strict=True)):
        raise LoadError(f"it takes '{taken[0].name}', which is not known.")
    if any(one.named or one.ranges for one in taken):
        raise LoadError(f"it takes '{taken[0].name}' in changing sizes; only such of one size are served.")
    return tuple((one, two.name) for one, two in zip(taken, after, strict=True))


def _fit(feature: Feature, own: NDArray[Any]) -> NDArray[Any]:
    """Gives positions in the shape that an input allows: of every token, or just where the first goes."""
    name = re.sub(r"[^a-z]", "", feature.name.lower())
    starts = own[:1] if name in _STARTS else own
    for shape in ((len(starts),), (1, len(starts))):
        if len(shape) == len(feature.shape) and feature.allows(shape):
            return starts.reshape(shape).astype(feature.dtype)
    return own[:1].reshape((1,) * len(feature.shape)).astype(feature.dtype)


def _order(name: str) -> int:
    match = _LOGITS.match(name)
    return int(match[1] or 0) if match else 0
