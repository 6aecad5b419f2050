"""What llama.cpp says: the important lines to our log, the rest kept for when something goes wrong."""

from __future__ import annotations

import ctypes
import logging
import re
from collections.abc import Callable
from typing import ClassVar

from llama_cpp import llama_cpp as native

log = logging.getLogger("llama.cpp")

# The levels of ggml.h; the engine's CONT (5) goes on with the line before and takes its level.
_LEVELS = {1: logging.DEBUG, 2: logging.DEBUG, 3: logging.INFO, 4: logging.ERROR}
_SPEAKER = re.compile(r"^(?:\w+: )+(?:error loading model: )?(?:\w+: )*")
_EXPECTED = re.compile(r"failed to find \d+ available cells")
"""A state that finds no room is put back once something else has left."""
_SAYS_NOTHING = re.compile(r"failed to load model(?: from .*)?$|failed to initialize the context$")


class LlamaLog:
    """Receives llama.cpp's log until the next one does."""

    _listening: ClassVar[dict[str, LlamaLog]] = {}
    """Kept: the engine has bare pointers to their callbacks, and may speak after the model that opened it is gone."""

    def __init__(self, listen: Callable[..., None] = native.llama_log_set) -> None:
        """Begins to listen; `listen` is the library's function for that."""
        self._errors: list[str] = []
        self._level = logging.DEBUG
        self._callback = native.llama_log_callback(self._take)
        listen(self._callback, ctypes.c_void_p(0))
        LlamaLog._listening[getattr(listen, "__name__", "")] = self

    def forget(self) -> None:
        """Begins to collect errors anew."""
        self._errors.clear()

    def why(self) -> str:
        """Puts the errors since then into one line for the user; "" if there were none."""
        told = [text for text in self._errors if not _SAYS_NOTHING.search(text)] or self._errors
        return "; ".join(dict.fromkeys(told))

    def _take(self, level: int, text: bytes, _data: object) -> None:
        if level in _LEVELS:
            self._level = _LEVELS[level]
        line = text.decode("utf-8", "replace").strip()
        if not line or line == ".":
            return
        if _EXPECTED.search(line):
            log.debug("%s", line)
            return
        if self._level >= logging.ERROR:
            self._errors.append(_SPEAKER.sub("", line, count=1) or line)
        log.log(self._level, "%s", line)
