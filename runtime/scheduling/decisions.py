"""What the governors decided, newest last: kept, logged and told to listeners."""

from __future__ import annotations

import itertools
import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

GovernorName = Literal["memory", "heat"]
Kind = Literal["state", "grant", "evict", "smaller", "longer", "refuse", "unload", "turn_away"]
"""A change of a governor's state, what became of a load, a model that was sent away, or a prompt that was refused."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision, with its reason."""

    governor: GovernorName
    kind: Kind
    state: str
    """The governor's, once the decision holds."""
    text: str
    """What was decided and why, in one line for people."""
    actions: tuple[str, ...]
    """What the governor does from then on."""
    at_s: float
    """By time.monotonic()."""
    at_epoch_s: float
    """Wall clock, for display only."""


@dataclass(frozen=True, slots=True)
class GovernorStatus:
    """What a governor does now, and why."""

    governor: GovernorName
    state: str
    why: str
    actions: tuple[str, ...]
    """In words for people, mildest first."""
    figures: tuple[str, ...] = ()
    """The arithmetic behind it."""


class Decisions:
    """The newest decisions; it counts all there ever were."""

    def __init__(self, *, capacity: int = 200) -> None:
        self._decisions: deque[Decision] = deque(maxlen=capacity)
        self._listeners: list[Callable[[Decision], None]] = []
        self.counts: Counter[tuple[GovernorName, Kind]] = Counter()

    def note(
        self,
        governor: GovernorName,
        kind: Kind,
        text: str,
        *,
        state: str,
        actions: tuple[str, ...] = (),
        at_s: float | None = None,
        worse: bool = False,
    ) -> None:
        """Keeps a decision, writes it to the log, as a warning if it is for the worse, and tells who listens."""
        at_s = time.monotonic() if at_s is None else at_s
        decision = Decision(governor, kind, state, text, actions, at_s, time.time())
        self._decisions.append(decision)
        self.counts[governor, kind] += 1
        log.log(logging.WARNING if worse else logging.INFO, "%s: %s", governor, text)
        for listener in tuple(self._listeners):
            listener(decision)

    def newest(self, count: int) -> list[Decision]:
        """The newest decisions, newest first."""
        return list(itertools.islice(reversed(self._decisions), count))

    def listen(self, listener: Callable[[Decision], None]) -> Callable[[], None]:
        """Adds a listener; gives the function that removes it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)
