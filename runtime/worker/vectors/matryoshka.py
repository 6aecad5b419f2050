"""Which models' vectors may be cut short: their numbers were trained to matter in falling order.

No model file says so; the facts stand on the models' cards.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Nesting:
    """How a model's vectors may be cut."""

    least: int
    """The fewest numbers that were trained for."""
    centred: bool = False
    """Whether the mean is taken out before the cut, as the model's card asks for."""


_FAMILIES: tuple[tuple[re.Pattern[str], Nesting], ...] = tuple(
    (re.compile(name, re.IGNORECASE), nesting)
    for name, nesting in (
        (r"nomic-embed-text-v1\.5", Nesting(64, centred=True)),
        (r"nomic-embed-text-v2", Nesting(256)),
        (r"qwen3-(vl-)?embedding", Nesting(32)),
        (r"embedding-?gemma", Nesting(128)),
        (r"mxbai-embed-large-v1", Nesting(512)),
        (r"snowflake-arctic-embed-m-v1\.5", Nesting(256)),
        (r"snowflake-arctic-embed-[ml]-v2", Nesting(256)),
        (r"jina-embeddings-v3", Nesting(32)),
        (r"jina-embeddings-v4", Nesting(128)),
    )
)


def find_nesting(*names: str | None) -> Nesting | None:
    """Finds a model among those that are known to allow a cut, by any of its names; None where it is not."""
    for name in filter(None, names):
        plain = re.sub(r"[\s_]+", "-", name)
        for pattern, nesting in _FAMILIES:
            if pattern.search(plain):
                return nesting
    return None


def cut(vector: Vector, dimensions: int, nesting: Nesting) -> Vector:
    """Keeps the first numbers of a vector of shape (n,)."""
    return (vector - vector.mean() if nesting.centred else vector)[:dimensions]
