"""The worker's ends of the pipes: frames come in by a thread, and go out whole."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import BinaryIO

import msgspec

from ..frames import Cancel, FromEngine, Step, ToEngine, encode, read_to_engine

FRAME_S = 1 / 30
"""Tokens that come within so long of others travel together: more often hardly a terminal or an editor draws."""

log = logging.getLogger(__name__)


class Inbox(SimpleQueue[ToEngine]):
    """The frames that came, in order."""

    on_cancel: Callable[[int], None] | None = None
    """Told of each Cancel as soon as it comes, in the thread that reads: the one that serves may be deep in a computation."""


class Outlet:
    """Where frames leave; a full pipe blocks the sender, so that an unread frame never costs more memory than the pipe has."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._held: Step | None = None
        self._sent_s = 0.0
        self._stepped_s = 0.0

    def send(self, frame: FromEngine) -> None:
        """Writes one frame, after what is held back; raises BrokenPipeError when nobody reads any more."""
        self.flush()
        self._write(frame)

    def send_step(self, step: Step, *, now_s: float, more: bool) -> None:
        """Writes what a step gave, or keeps it for the next one's frame.

        Readers and their clients wake up for each frame; where tokens come faster than eyes can follow, that takes a good part
        of the machine from those who compute them.

        Args:
            step: what it gave.
            now_s: by `time.monotonic`.
            more: whether another step follows at once, as short as this one.
        """
        if self._held is not None:
            held, self._held = self._held, None
            step = Step([*held.deltas, *step.deltas], step.done, held.tokens + step.tokens, step.begun)
        step_s, self._stepped_s = now_s - self._stepped_s, now_s
        if more and not step.done and not step.begun and now_s + step_s - self._sent_s < FRAME_S:
            self._held = step
            return
        self._sent_s = now_s
        self._write(step)

    def flush(self) -> None:
        """Writes what is held back."""
        if self._held is not None:
            held, self._held = self._held, None
            self._write(held)

    def _write(self, frame: FromEngine) -> None:
        body = encode(frame)
        written = os.write(self._descriptor, body)
        while written < len(body):
            body = body[written:]
            written = os.write(self._descriptor, body)


def take_over_pipes() -> tuple[BinaryIO, Outlet]:
    """Keeps stdin and stdout for frames alone: whatever a library prints goes to stderr, and it finds no input to read."""
    source = os.fdopen(os.dup(0), "rb", buffering=1 << 18)
    outlet = Outlet(os.dup(1))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return source, outlet


def start_reader(source: BinaryIO) -> Inbox:
    """Starts the thread that fills the inbox; it ends the process when the other side is gone."""
    inbox = Inbox()
    threading.Thread(target=_read_frames, args=(source, inbox), name="frames", daemon=True).start()
    return inbox


def _read_frames(source: BinaryIO, inbox: Inbox) -> None:
    code = 0
    try:
        while (frame := read_to_engine(source)) is not None:
            inbox.put(frame)
            if isinstance(frame, Cancel) and inbox.on_cancel is not None:
                inbox.on_cancel(frame.id)
    except OSError:
        code = 0
    except msgspec.DecodeError as error:
        log.critical("what came in is no frame: %s", error)
        code = 70
    # The main thread may be deep in native code for long, and nothing is left to be done: no clean-up, out at once.
    sys.stderr.flush()
    os._exit(code)
