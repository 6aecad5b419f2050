"""The states that are kept on the disk: found in memory, written in the background, read when they are asked for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...frames import PrefixOptions
from ...prefix_files import StoredFile, list_files
from ..background import step_back
from .seal import Sealer, open_key
from .segments import Segment, SegmentIndex
from .shelf import Shelf, delete, is_abandoned

log = logging.getLogger(__name__)

QUEUE_BYTES = 256 * 1024 * 1024
"""States that wait to be written take at most so much memory (or are one alone)."""
QUIET_S = 1.0
"""Nothing is written before nobody asked or offered for so long: a conversation's next turn comes right after what it left."""
PATIENCE_S = 10.0
"""After so long it is written in any case, as when half of the queue is taken."""
LOW_WATER = 0.9
"""A full folder is emptied to this part of its limit, so that not every write has to look for room."""
RESCAN_S = 600.0
"""How often the folder is looked through again: others write to it, and what is old expires."""
RESCAN_SHARE = 0.05
"""Having written so much of the limit, it does not trust its own count any more."""
TOUCH_DELAY_S = 2.0
"""Notes of use are gathered for so long."""
PROBE_PAUSE_S = 60.0
LEAST_MEASURED_BYTES = 256 * 1024
"""Smaller reads tell of the way to the disk, not of its speed."""
SPEED_WEIGHT = 0.3
"""How much the last read counts for the speed."""


@dataclass(frozen=True, slots=True)
class _Job:
    segment: Segment
    state: bytes


def open_disk(options: PrefixOptions, *, root: bytes, cuttable: bool, label: str) -> DiskTier | None:
    """Opens the folder that the options name, without waiting for it; None where they want nothing on the disk."""
    if options.disk_dir is None or options.disk_max_bytes <= 0:
        return None
    return DiskTier(options, Path(options.disk_dir), root=root, cuttable=cuttable, label=label)


class DiskTier:
    """States in files of a folder that other processes may share.

    One thread of its own looks through the folder, writes, deletes and notes what is used; only `read` touches the disk
    in the caller's thread. What waits to be written counts as kept and is read from memory.
    """

    def __init__(self, options: PrefixOptions, folder: Path, *, root: bytes, cuttable: bool, label: str) -> None:
        self.size_bytes = 0
        """Of all models' files, at the last look and with what was written since."""
        self.writes = True
        """False once the disk has refused a file."""
        self._options = options
        self._folder = folder
        self._root = root
        self._label = label
        self._shelf: Shelf | None = None
        self._speed: float | None = None
        self._changed = threading.Condition()
        """Guards all below."""
        self._index = SegmentIndex(cuttable=cuttable)
        self._jobs: dict[bytes, _Job] = {}
        """What waits to be written, the oldest first."""
        self._job_bytes = 0
        self._asked_s = 0.0
        """When anybody asked or offered last."""
        self._waiting_since = 0.0
        """When the first of what waits was offered."""
        self._in_hand: bytes | None = None
        """The key of what is being written."""
        self._touched: dict[bytes, float] = {}
        self._touched_since = 0.0
        self._hurried = 0
        self._idle = False
        self._ended = False
        self._wants_probe = False
        self._close_at: float | None = None
        self._next_scan = 0.0
        self._next_probe = 0.0
        self._written_bytes = 0
        """Since the last look through the folder."""
        self._thread = threading.Thread(target=self._run, name="prefix-disk", daemon=True)
        self._thread.start()

    def matches(self, parent: bytes, prompt: bytes, begin: int) -> list[tuple[Segment, int, Literal["ram", "disk"]]]:
        """Finds the segments that serve a prompt from a position on, the best first; `ram` if it still waits to be written."""
        with self._changed:
            self._asked_s = time.monotonic()
            found = self._index.matches(parent, prompt, begin)
            return [(segment, count, "ram" if segment.key in self._jobs else "disk") for segment, count in found]

    def covering(self, parent: bytes, tokens: bytes) -> Segment | None:
        """Finds a segment that holds the state of these tokens."""
        with self._changed:
            return self._index.covering(parent, tokens)

    def is_slower(self, segment: Segment, tokens: int, prefill_tps: float | None) -> bool:
        """Whether to read a state takes longer than to compute these tokens, as far as either is known."""
        speed = self._speed
        if speed is None or not prefill_tps or segment.size_bytes / speed <= tokens / prefill_tps:
            return False
        if time.monotonic() >= self._next_probe:
            # What is never read is never measured again: one bad moment of the disk must not last.
            with self._changed:
                self._wants_probe = True
                self._changed.notify_all()
        return True

    def offer(self, segment: Segment, state: bytes) -> None:
        """Takes a state to be written, unless it is kept already; where too much waits, some is dropped."""
        with self._changed:
            if not self.writes or self._close_at is not None or segment.size_bytes > self._options.disk_max_bytes:
                return
            if self._index.covering(segment.parent, segment.tokens):
                return
            for shorter in self._index.superseded(segment):
                if shorter.key in self._jobs and shorter.key != self._in_hand:
                    self._drop(shorter.key)
            self._index.add(segment)
            self._asked_s = time.monotonic()
            if not self._jobs:
                self._waiting_since = self._asked_s
            self._jobs[segment.key] = _Job(segment, state)
            self._job_bytes += segment.size_bytes
            while self._job_bytes > QUEUE_BYTES and len(self._jobs) > 1 and (key := self._dispensable()):
                self._drop(key)
            self._idle = False
            self._changed.notify_all()

    def read(self, key: bytes) -> tuple[Segment, bytes] | None:
        """Gives a segment and its state, verified; None where it is gone or was damaged."""
        with self._changed:
            if job := self._jobs.get(key):
                return job.segment, job.state
            segment, shelf = self._index.get(key), self._shelf
        if segment is None or shelf is None:
            return None
        state = self._load(shelf, segment)
        if state is None:
            return None
        self.touch(key)
        return segment, state

    def touch(self, key: bytes) -> None:
        """Notes that a state is of use."""
        with self._changed:
            if key not in self._index or key in self._jobs:
                return
            if not self._touched:
                self._touched_since = time.monotonic()
                self._idle = False
                self._changed.notify_all()
            self._touched[key] = time.time()

    def flush(self, wait_s: float) -> bool:
        """Waits until the folder is looked through and all is written; False where that took longer."""
        with self._changed:
            self._hurried += 1
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: self._idle or self._ended, wait_s)
                return self._idle
            finally:
                self._hurried -= 1

    def close(self, wait_s: float) -> None:
        """Writes what waits, for at most so long, and ends the thread."""
        with self._changed:
            self._close_at = time.monotonic() + wait_s
            self._changed.notify_all()
        self._thread.join(wait_s)

    def _dispensable(self) -> bytes | None:
        """Picks what is dropped: what follows on nothing that is kept, else the oldest that nothing else there follows on.

        A prompt's beginning is worth more than its end, and the end nothing without it.
        """
        waiting = [job.segment for key, job in self._jobs.items() if key != self._in_hand]
        stranded = (segment for segment in waiting if segment.parent != self._root and segment.parent not in self._index)
        followed = {job.segment.parent for job in self._jobs.values()}
        last = (segment for segment in waiting if segment.key not in followed)
        return next((segment.key for segments in (stranded, last, waiting) for segment in segments), None)

    def _drop(self, key: bytes) -> None:
        job = self._jobs.pop(key)
        self._job_bytes -= job.segment.size_bytes
        self._index.discard(key)

    def _load(self, shelf: Shelf, segment: Segment) -> bytes | None:
        began = time.perf_counter()
        state = shelf.read(segment)
        took = time.perf_counter() - began
        with self._changed:
            if state is None:
                if segment.key not in self._jobs:
                    self._index.discard(segment.key)
            elif len(state) >= LEAST_MEASURED_BYTES:
                speed = len(state) / max(took, 1e-9)
                self._speed = speed if self._speed is None else self._speed + SPEED_WEIGHT * (speed - self._speed)
        return state

    # From here on all runs in the tier's own thread.

    def _run(self) -> None:
        step_back()
        try:
            self._open()
            while self._wait():
                self._work()
        except Exception:  # the engine answers without this tier too
            log.exception("The prefix cache on the disk has ended.")
        finally:
            with self._changed:
                self.writes = False
                self._ended = True
                self._changed.notify_all()

    def _open(self) -> None:
        key_path = self._options.key_path
        try:
            sealer = Sealer(open_key(Path(key_path))) if key_path else None
            shelf = Shelf(self._folder, root=self._root, label=self._label, sealer=sealer)
            shelf.open()
        except (OSError, ValueError) as error:
            self._stop_writing(error)
            return
        with self._changed:
            self._shelf = shelf
        self._look_through(shelf)
        self._probe(shelf)

    def _wait(self) -> bool:
        """Sleeps until there is something to do; False when the tier is closed and nothing is left to do in time."""
        with self._changed:
            while True:
                now = time.monotonic()
                if self._close_at is not None and (now >= self._close_at or not (self._jobs or self._touched)):
                    self._idle = not (self._jobs or self._touched)
                    return False
                hurry = self._hurried or self._close_at is not None
                due = self._touched_since + (0 if hurry else TOUCH_DELAY_S) if self._touched else self._next_scan
                if self._jobs:
                    due = min(due, self._due_s())
                if (hurry and self._jobs) or self._wants_probe or now >= due:
                    return True
                self._idle = not (self._jobs or self._touched)
                self._changed.notify_all()
                self._changed.wait(due - now)

    def _due_s(self) -> float:
        """When what waits is to be written."""
        if self._job_bytes > QUEUE_BYTES // 2:
            return 0.0
        return min(self._asked_s + QUIET_S, self._waiting_since + PATIENCE_S)

    def _work(self) -> None:
        with self._changed:
            hurry = self._hurried or self._close_at is not None
            job = next(iter(self._jobs.values()), None) if hurry or time.monotonic() >= self._due_s() else None
            self._in_hand = job.segment.key if job else None
            probe, self._wants_probe = self._wants_probe, False
            touched: dict[bytes, float] = {}
            if self._touched and (hurry or time.monotonic() >= self._touched_since + TOUCH_DELAY_S):
                touched, self._touched = self._touched, {}
        shelf = self._shelf
        if shelf is None:
            self._next_scan = time.monotonic() + RESCAN_S
            return
        self._note_use(shelf, touched)
        if probe and time.monotonic() >= self._next_probe:
            self._probe(shelf)
        if job is not None:
            self._write(shelf, job)
        elif time.monotonic() >= self._next_scan:
            self._look_through(shelf)

    def _write(self, shelf: Shelf, job: _Job) -> None:
        segment = job.segment
        need = shelf.file_bytes(segment)
        written: int | None = None
        try:
            limit = self._options.disk_max_bytes
            if self.size_bytes + need > limit or self._written_bytes > limit * RESCAN_SHARE:
                self._scan(shelf)
                self._make_room(shelf, need)
            if need <= limit:
                written = shelf.write(segment, job.state)
        except OSError as error:
            self._stop_writing(error)
        with self._changed:
            self._in_hand = None
            if self._jobs.pop(segment.key, None):
                self._job_bytes -= segment.size_bytes
            if written is None:
                self._index.discard(segment.key)
                return
            self.size_bytes += written
            self._written_bytes += written
            superseded = [shorter for shorter in self._index.superseded(segment) if shorter.key not in self._jobs]
            for shorter in superseded:
                self._index.discard(shorter.key)
        for shorter in superseded:
            delete(shelf.path(shorter.key))

    def _stop_writing(self, error: Exception) -> None:
        with self._changed:
            for key in list(self._jobs):
                self._drop(key)
            if self.writes:
                self.writes = False
                log.warning("The prefix cache writes nothing more to %s: %s", self._folder, error)

    def _look_through(self, shelf: Shelf) -> None:
        try:
            self._scan(shelf)
            self._make_room(shelf, 0)
        except OSError as error:
            self._next_scan = time.monotonic() + RESCAN_S
            self._stop_writing(error)

    def _scan(self, shelf: Shelf) -> None:
        """Looks through the folder: learns new files, forgets vanished ones, deletes what is old, abandoned or unwanted."""
        now = time.time()
        size_bytes = 0
        seen: set[str] = set()
        known = self._known(shelf)
        for file in list_files(self._folder):
            if self._is_unwanted(file, now):
                delete(file.path)
                continue
            if file.kind == "temporary":
                continue
            size_bytes += file.size_bytes
            if file.kind != shelf.kind or file.path.parent != shelf.folder:
                continue
            seen.add(file.path.name)
            if file.path.name not in known and (segment := shelf.learn(file)):
                with self._changed:
                    self._index.add(segment)
        with self._changed:
            for name, segment in known.items():
                if name not in seen and segment.key not in self._jobs:
                    self._index.discard(segment.key)
            self.size_bytes = size_bytes
        self._written_bytes = 0
        self._next_scan = time.monotonic() + RESCAN_S

    def _is_unwanted(self, file: StoredFile, now: float) -> bool:
        if file.kind == "temporary":
            return is_abandoned(file, now)
        if file.kind == "plain" and self._options.key_path:
            return True  # whoever turned encryption on wants nothing readable left
        ttl_s = self._options.disk_ttl_s
        return ttl_s > 0 and file.used_at < now - ttl_s

    def _make_room(self, shelf: Shelf, need: int) -> None:
        """Deletes what was not used for longest, of all models, where the folder would grow over its limit."""
        limit = self._options.disk_max_bytes
        if self.size_bytes + need <= limit:
            return
        with self._changed:
            touched, self._touched = self._touched, {}
        self._note_use(shelf, touched)
        files = sorted((file for file in list_files(self._folder) if file.kind != "temporary"), key=lambda file: file.used_at)
        size_bytes = sum(file.size_bytes for file in files)
        known = self._known(shelf)
        for file in files:
            if size_bytes + need <= LOW_WATER * limit:
                break
            delete(file.path)
            size_bytes -= file.size_bytes
            if file.path.parent == shelf.folder and (segment := known.get(file.path.name)):
                with self._changed:
                    if segment.key not in self._jobs:
                        self._index.discard(segment.key)
        self.size_bytes = size_bytes

    def _known(self, shelf: Shelf) -> dict[str, Segment]:
        """The segments of the index by their files' names."""
        with self._changed:
            segments = list(self._index)
        return {shelf.path(segment.key).name: segment for segment in segments}

    def _note_use(self, shelf: Shelf, touched: dict[bytes, float]) -> None:
        with self._changed:
            used = [(segment, at) for key, at in touched.items() if (segment := self._index.get(key)) and key not in self._jobs]
        gone = [segment.key for segment, at in used if not shelf.touch(segment, at)]
        self._forget(gone)

    def _forget(self, keys: Iterable[bytes]) -> None:
        with self._changed:
            for key in keys:
                if key not in self._jobs:
                    self._index.discard(key)

    def _probe(self, shelf: Shelf) -> None:
        """Measures how fast files are read, by the smallest that is large enough."""
        self._next_probe = time.monotonic() + PROBE_PAUSE_S
        with self._changed:
            large = [
                segment
                for segment in self._index
                if segment.size_bytes >= LEAST_MEASURED_BYTES and segment.key not in self._jobs
            ]
        if large:
            self._load(shelf, min(large, key=lambda segment: segment.size_bytes))
