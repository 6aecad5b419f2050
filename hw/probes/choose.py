"""Which probe reads this machine."""

from __future__ import annotations

import platform

from .linux import LinuxProbe
from .macos_text import MacosTextProbe
from .plain import PlainProbe
from .probe import Probe


def choose_probe(system: str | None = None) -> Probe:
    """Picks the probe for a system named as platform.system() does; None is the one we run on."""
    match system or platform.system():
        case "Darwin":
            return MacosTextProbe()
        case "Linux":
            return LinuxProbe()
        case _:
            return PlainProbe()
