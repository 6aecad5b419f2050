"""Ends a computation of llama.cpp from another thread."""

from __future__ import annotations

import ctypes

from llama_cpp import llama_cpp as native


class AbortFlag:
    """A flag that llama.cpp looks at before every node of its graph."""

    def __init__(self) -> None:
        self._byte = ctypes.create_string_buffer(2)
        # Asked thousands of times a second, so it must not be Python: the first byte tells, as the length of a string does.
        self._is_raised = ctypes.cast(ctypes.CDLL(None).strlen, native.ggml_abort_callback)

    def watch(self, context: native.llama_context_p) -> None:
        """Lets a context look at it for as long as the context lives."""
        native.llama_set_abort_callback(context, self._is_raised, ctypes.cast(self._byte, ctypes.c_void_p))

    def raise_(self) -> None:
        """Asks the computation that runs to end at once; from any thread."""
        self._byte[0] = b"\1"

    def lower(self) -> None:
        """Lets the next one run."""
        self._byte[0] = b"\0"
