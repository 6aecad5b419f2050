"""One thing that was looked at, and what came of it."""

from __future__ import annotations

from typing import Literal

import msgspec

Verdict = Literal["pass", "fail", "skip"]
"""`skip`: it does not apply here, or cannot be told."""


class Check(msgspec.Struct, frozen=True):
    """One line of the report."""

    group: str
    """`machine`, `server`, or a client's name."""
    name: str
    verdict: Verdict
    found: str
    """What was seen."""
    change: str | None = None
    """What to change; null where nothing need be."""
