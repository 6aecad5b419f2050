"""Admits requests: so many may be under way or wait, the rest is told to come later."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from ..errors import Overloaded


class Scheduler:
    """Bounds how many requests are inside; order within a model is its engine's."""

    def __init__(self, *, max_inside: int) -> None:
        self._max_inside = max_inside
        self.inside = 0
        """Requests that run or wait."""

    @contextmanager
    def admit(self) -> Generator[None]:
        """Holds a place for as long as the request lives.

        Raises:
            Overloaded: every place is taken.
        """
        if self.inside >= self._max_inside:
            raise Overloaded(f"{self.inside} requests are under way or waiting, and no more can queue; try again shortly.")
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1
