"""The process of one model: frames in, frames out. Started as `python -m impetus.runtime.worker`."""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import cast

from ..frames import Load, LoadRefused, Prepare, Prepared, Progress, Ready, Shutdown
from .backends.backend import Backend, Loaded, LoadError
from .backends.choose import find_backend
from .loop import WorkerLoop
from .memory_limit import limit_memory
from .pipe import Inbox, Outlet, start_reader, take_over_pipes

PROGRESS_EVERY_S = 0.1
READ_SHARE = 0.95
"""As far as reading goes; the rest is memory for contexts and the first computation."""

LIBRARIES = {"TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"}
"""Read by the engines' libraries when they are imported: no bars in a log that nobody watches, no look at the internet."""
HIDDEN = {"mlx": ("torch",), "mlx-embedding": ("torch",)}
"""What an engine's libraries import where they find it, and do not need: torch would cost MLX 200 MB and three seconds."""

log = logging.getLogger("impetus.worker")


def main() -> None:
    """Loads the model that it is told to, and serves it until it is told to leave."""
    os.environ.update(LIBRARIES)
    source, outlet = take_over_pipes()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    inbox = start_reader(source)
    code = 0
    try:
        _serve(inbox, outlet)
    except BrokenPipeError:
        log.info("nobody reads any more")
    except Exception:
        log.exception("the worker cannot go on")
        code = 1
    logging.shutdown()
    # Interpreter and libraries would take a while to say goodbye, with a thread still inside read.
    os._exit(code)


def _serve(inbox: Inbox, outlet: Outlet) -> None:
    load = _stand_by(inbox, outlet)
    if load is None:
        return
    began_s = time.monotonic()
    limited = limit_memory(load.options.memory_limit_bytes)
    try:
        hide_unneeded(load.backend)
        backend = find_backend(load.backend)()
        loaded = _load(backend, load, LoadProgress(outlet))
    except LoadError as error:
        outlet.send(LoadRefused(str(error)))
        return
    except MemoryError:
        outlet.send(LoadRefused(f"it wants more memory than {'its worker may take' if limited else 'there is'}."))
        return
    try:
        outlet.send(
            Ready(
                context_length=loaded.context_length,
                max_sequences=loaded.max_sequences,
                vocabulary_size=loaded.vocabulary_size,
                load_s=time.monotonic() - began_s,
                engine=loaded.engine,
                details=loaded.details,
                tools=loaded.tools,
                thinks=loaded.thinks,
            )
        )
        # What is there by now stays: a collection that went through it all would hold up every answer.
        gc.freeze()
        WorkerLoop(backend, loaded, inbox, outlet, end_loops=load.options.end_loops).run()
    finally:
        _close(backend)


def _stand_by(inbox: Inbox, outlet: Outlet) -> Load | None:
    """Waits for a model, and imports an engine meanwhile where it is told to; None where it is to leave."""
    while True:
        match inbox.get():
            case Load() as load:
                return load
            case Shutdown():
                return None
            case Prepare(backend):
                hide_unneeded(backend)
                with suppress(LoadError):
                    find_backend(backend)
                gc.collect()
                outlet.send(Prepared())
            case other:
                raise TypeError(f"{type(other).__name__} came before Load")


def hide_unneeded(backend: str) -> None:
    """Keeps an engine's libraries from finding what they would import for nothing; this process serves no other engine."""
    for name in HIDDEN.get(backend, ()):
        sys.modules.setdefault(name, cast("ModuleType", None))


def _load(backend: Backend, load: Load, progress: LoadProgress) -> Loaded:
    path = Path(load.path)
    if not path.exists():
        return backend.load(load.path, load.options, progress)
    from .reading import ReadingWatch  # here, as it needs numpy, and a worker without a model is to stay light

    with ReadingWatch(path, progress.note_cached):
        return backend.load(load.path, load.options, progress)


def _close(backend: Backend) -> None:
    try:
        backend.close()
    except Exception:
        log.exception("the engine did not close")


class LoadProgress:
    """Reports how far loading has come, not oftener than a dashboard can show; it never goes back."""

    def __init__(self, outlet: Outlet, *, every_s: float = PROGRESS_EVERY_S) -> None:
        self._outlet = outlet
        self._every_s = every_s
        self._lock = threading.Lock()
        self._next_s = 0.0
        self._cached: float | None = None
        self._shown = 0.0

    def __call__(self, fraction: float) -> None:
        """Takes what the engine says; it may have mapped what it has yet to read, so that what the system says goes first."""
        with self._lock:
            self._show(fraction if self._cached is None else min(fraction, self._cached))

    def note_cached(self, share: float) -> None:
        """Takes how much of the model's files is in memory."""
        with self._lock:
            self._cached = share
            self._show(share)

    def _show(self, fraction: float) -> None:
        now_s = time.monotonic()
        shown = max(self._shown, min(fraction, READ_SHARE))
        if now_s >= self._next_s:
            self._next_s, self._shown = now_s + self._every_s, shown
            self._outlet.send(Progress(shown))


if __name__ == "__main__":
    main()
