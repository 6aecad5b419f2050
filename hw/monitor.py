"""Reads the machine at a steady pace in a thread, fills the series, tells listeners."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from threading import Event, Lock, Thread
from types import MappingProxyType
from typing import Final

from .probes.probe import Probe
from .sample import Sample
from .series import Series

log = logging.getLogger(__name__)

Listener = Callable[[Sample], None]
SERIES: Final = ("cpu_percent", "gpu_percent", "memory_used_bytes", "temperature_c", "power_w")
"""The fields of a sample that are kept for charts."""


def next_due(due_s: float, now_s: float, interval_s: float) -> float:
    """Gives the next beat after `now_s` of a beat that fell at `due_s`; beats that were slept through are left out."""
    return due_s + interval_s * max(1, math.floor((now_s - due_s) / interval_s) + 1)


class Monitor:
    """Owns the thread that reads the machine; survives whatever its probe or its listeners do."""

    def __init__(self, probe: Probe, interval_s: float = 1.0, *, capacity: int = 3600) -> None:
        self._probe = probe
        self._interval_s = interval_s
        self._series = {name: Series(capacity) for name in SERIES}
        self._lock = Lock()
        self._listeners: dict[object, Listener] = {}
        self._pids: tuple[int, ...] = ()
        self._latest: Sample | None = None
        self._stopping = Event()
        self._thread: Thread | None = None
        self._failing: set[object] = set()
        """Who failed at the last reading and is not reported again: a listener's token, or the probe."""

    @property
    def latest(self) -> Sample | None:
        """The newest reading; None before the first one."""
        return self._latest

    @property
    def series(self) -> Mapping[str, Series]:
        """What was read, by name of the sample's field."""
        return MappingProxyType(self._series)

    @property
    def running(self) -> bool:
        """True between start() and stop()."""
        return self._thread is not None

    def start(self) -> None:
        """Begins to read; a monitor that runs is left alone."""
        with self._lock:
            if self._thread is not None:
                return
            # Each thread has a flag of its own: one that a hanging probe left behind must not wake up with the next.
            self._stopping = Event()
            self._thread = Thread(target=self._run, args=(self._stopping,), name="hardware-monitor", daemon=True)
            self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Ends the thread; returns after `timeout_s` at the latest, even if the probe hangs."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._stopping.set()
        if thread is None:
            return
        thread.join(timeout_s)
        if thread.is_alive():
            log.warning("The hardware probe did not return within %.1f s", timeout_s)

    def watch(self, pids: Iterable[int]) -> None:
        """States whose memory the next readings report; replaces those stated before."""
        self._pids = tuple(dict.fromkeys(pids))

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Calls `listener` in the monitor's thread with each reading; returns what removes it."""
        token = object()
        # The thread iterates over what stands there, so a change puts a new dict in its place.
        with self._lock:
            self._listeners = {**self._listeners, token: listener}

        def remove() -> None:
            with self._lock:
                self._listeners = {each: kept for each, kept in self._listeners.items() if each is not token}

        return remove

    def _run(self, stopping: Event) -> None:
        due_s = time.monotonic()
        while not stopping.is_set():
            sample = self._read()
            if sample is not None and not stopping.is_set():
                self._publish(sample)
            now_s = time.monotonic()
            due_s = next_due(due_s, now_s, self._interval_s)
            stopping.wait(due_s - now_s)

    def _read(self) -> Sample | None:
        try:
            sample = self._probe.read_sample(self._pids)
        except Exception:
            if self._fails_anew(self._probe):
                log.exception("The hardware cannot be read; trying on")
            return None
        self._failing.discard(self._probe)
        return sample

    def _publish(self, sample: Sample) -> None:
        self._latest = sample
        for name, series in self._series.items():
            series.append(sample.at_s, getattr(sample, name))
        for token, listener in self._listeners.items():
            try:
                listener(sample)
            except Exception:
                if self._fails_anew(token):
                    log.exception("A listener to the hardware monitor failed")
            else:
                self._failing.discard(token)

    def _fails_anew(self, who: object) -> bool:
        """Notes a failure; tells whether it is the first one in a row."""
        anew = who not in self._failing
        self._failing.add(who)
        return anew
