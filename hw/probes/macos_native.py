"""Reads a Mac by its own libraries, and what those do not tell by the text of its programs, signal by signal."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from threading import Lock
from typing import Protocol

from ..profile import CapabilityProfile, Reading
from ..sample import Sample
from .commands import Run, run_command
from .macos_text import MacosTextProbe
from .native.readings import NativeReadings, SampleValue
from .processes import read_battery


class Native(Protocol):
    """What macOS' libraries tell; what they do not is left out."""

    def read_sysctl(self, names: Sequence[str]) -> Mapping[str, str]:
        """Reads kernel values by their names."""
        ...

    def read_facts(self) -> Mapping[str, Reading[int | bool]]:
        """Reads what the machine is; by the names of CapabilityProfile."""
        ...

    def read_load(self) -> Mapping[str, Reading[SampleValue]]:
        """Reads how hard it works; by the names of Sample."""
        ...


class MacosProbe:
    """The probe of a Mac: libraries first, as they cost microseconds where a program costs milliseconds."""

    def __init__(
        self, native: Native | None = None, run: Run = run_command, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._native = native
        self._run = run
        self._clock = clock
        self._text: MacosTextProbe | None = None
        self._opening = Lock()

    def read_profile(self) -> CapabilityProfile:
        """Reads what the Mac says of itself."""
        native, text = self._open()
        facts = native.read_facts()
        profile = text.read_profile(without=facts)
        if profile.virtual_machine is not None and profile.virtual_machine.value:
            # A virtual machine's GPU is none of Apple's, whatever its device claims.
            facts = {name: fact for name, fact in facts.items() if name not in {"gpu_cores", "fanless"}}
        return replace(profile, **facts)

    def read_sample(self, pids: Sequence[int]) -> Sample:
        """Reads the load."""
        native, text = self._open()
        load = dict(native.read_load())
        battery = read_battery()
        for name, value in (("on_battery", battery.on_battery), ("battery_percent", battery.percent)):
            if value is not None:
                load[name] = Reading(value, "psutil")
        sample = text.read_sample(pids, without=load)
        plain = {name: reading.value for name, reading in load.items()}
        total = plain.get("memory_total_bytes", sample.memory_total_bytes)
        used = plain.get("memory_used_bytes", sample.memory_used_bytes)
        left = max(0, int(total) - int(used)) if isinstance(total, int) and isinstance(used, int) else None
        return replace(
            sample,
            **{**plain, "memory_available_bytes": left},
            sources={**sample.sources, **{name: reading.source for name, reading in load.items()}},
            estimated=(
                *(name for name in sample.estimated if name not in load),
                *(name for name, reading in load.items() if reading.estimated),
            ),
        )

    def _open(self) -> tuple[Native, MacosTextProbe]:
        """Opens the libraries at the first look, which the reader's thread has, not the one that made this probe."""
        # The profile is read in another thread than the load.
        with self._opening:
            native = self._native = self._native or NativeReadings()
            text = self._text = self._text or MacosTextProbe(self._run, self._clock, native.read_sysctl)
        return native, text
