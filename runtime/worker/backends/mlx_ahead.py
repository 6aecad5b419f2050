"""Which sequences are one step further than anybody has read, and what was chosen for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .mlx_batch import MlxState
from .mlx_library import mx


class Ahead:
    """The step that was begun too early."""

    def __init__(self) -> None:
        self._rows: dict[MlxState, int] = {}
        self._chosen: Any = None
        """Token ids, an array of MLX; nobody has waited for it."""

    @property
    def states(self) -> tuple[MlxState, ...]:
        """Those whose next token is being computed already; each has one token more than its length says."""
        return tuple(self._rows)

    def __contains__(self, state: MlxState) -> bool:
        return state in self._rows

    def others(self, states: Sequence[MlxState]) -> list[MlxState]:
        """Gives those that are ahead and not among these."""
        return [state for state in self._rows if not any(state is one for one in states)]

    def put(self, states: Sequence[MlxState], chosen: Any) -> None:
        """Takes in a step, shape (states,); none is ahead before."""
        self._rows = {state: row for row, state in enumerate(states)}
        self._chosen = chosen

    def take(self, states: Sequence[MlxState]) -> Any:
        """Gives what was chosen for all that are ahead, in this order, shape (states,); none is ahead afterwards."""
        rows = [self._rows[state] for state in states]
        chosen, self._rows, self._chosen = self._chosen, {}, None
        return chosen if rows == list(range(len(chosen))) else chosen[mx.array(rows)]

    def drop(self, state: MlxState) -> bool:
        """Forgets what was chosen for one; False where it is not ahead."""
        return self._rows.pop(state, None) is not None
