"""Runs the system's own programs for what they print, within a time limit."""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Final

log = logging.getLogger(__name__)

Run = Callable[[Sequence[str]], str | None]
"""Takes a program with its arguments to what it printed; None where it did not start or did not end in time."""

TIME_LIMIT_S: Final = 2.0
SLOW_TIME_LIMIT_S: Final = 15.0
_SLOW: Final = frozenset({"/usr/sbin/system_profiler"})
REST_S: Final = 60.0
"""How long a program that failed is left alone."""


def run_command(arguments: Sequence[str]) -> str | None:
    """Gives a program's standard output; an exit code tells nothing, as sysctl fails where one of many keys is unknown."""
    limit_s = SLOW_TIME_LIMIT_S if arguments and arguments[0] in _SLOW else TIME_LIMIT_S
    try:
        done = subprocess.run(
            list(arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=limit_s,
            check=False,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace")


class PatientRunner:
    """Runs programs, but leaves one that failed alone for a while, so that a hanging one cannot stall each reading."""

    def __init__(self, run: Run = run_command, clock: Callable[[], float] = time.monotonic) -> None:
        self._run = run
        self._clock = clock
        self._rests_until_s: dict[tuple[str, ...], float] = {}

    def __call__(self, *arguments: str) -> str | None:
        """Gives what the program printed; None where it failed or rests."""
        if self._clock() < self._rests_until_s.get(arguments, float("-inf")):
            return None
        text = self._run(arguments)
        if text is None:
            if arguments not in self._rests_until_s:
                log.info("%s cannot be run", " ".join(arguments))
            self._rests_until_s[arguments] = self._clock() + REST_S
        return text
