"""Which probe reads this machine, or a recording of another."""

from __future__ import annotations

import platform
from pathlib import Path

from .plain import PlainProbe
from .probe import Probe


def choose_probe(system: str | None = None) -> Probe:
    """Picks the probe for a system named as platform.system() does; None is the one we run on."""
    # Each is imported where it is used: a start should not pay for other systems.
    match system or platform.system():
        case "Darwin":
            from .macos_native import MacosProbe

            return MacosProbe()
        case "Linux":
            from .linux import LinuxProbe

            return LinuxProbe()
        case _:
            return PlainProbe()


def open_recording(path: Path) -> Probe:
    """Opens a recording: one of raw texts, or one of readings.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no recording.
    """
    from .recorded.probe import RecordedProbe
    from .recorded.texts import find_raw
    from .replay import ReplayProbe

    try:
        raw = find_raw(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error
    return RecordedProbe(raw) if raw is not None else ReplayProbe(path)
