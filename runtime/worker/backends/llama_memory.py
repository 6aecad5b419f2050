"""llama.cpp's context memory: which cells belong to which sequence, and their state as bytes."""

from __future__ import annotations

import ctypes
from typing import cast

from llama_cpp import llama_cpp as native

_BYTE = ctypes.c_uint8
_TO_THE_END = -1
# The binding declares its C type, but ctypes takes a plain int.
_WHOLE = cast("native.llama_state_seq_flags", native.LLAMA_STATE_SEQ_FLAGS_NONE)


class ContextMemory:
    """The cells of one context. A slot is the engine's number of a sequence."""

    def __init__(self, context: native.llama_context_p, memory: native.llama_memory_t) -> None:
        self._context = context
        self._memory = memory

    def share(self, source: int, target: int, begin: int, end: int) -> None:
        """Lets a slot have the cells of another one at positions [begin, end); nothing is copied."""
        native.llama_memory_seq_cp(self._memory, source, target, begin, end)

    def cut(self, slot: int, begin: int) -> bool:
        """Frees a slot's cells from a position on; False where the engine cannot go back to there."""
        return native.llama_memory_seq_rm(self._memory, slot, begin, _TO_THE_END)

    def free(self, slot: int) -> None:
        """Frees all cells of a slot that no other one has."""
        native.llama_memory_seq_rm(self._memory, slot, _TO_THE_END, _TO_THE_END)

    def clear(self) -> None:
        """Frees everything; what the cells held stays in them, unread."""
        native.llama_memory_clear(self._memory, False)

    def length(self, slot: int) -> int:
        """One more than the highest position a slot has cells of."""
        return native.llama_memory_seq_pos_max(self._memory, slot) + 1

    def read_state(self, slot: int) -> bytes:
        """The keys, values and states of a slot, in the engine's own form; b"" where it gives none."""
        number = cast("native.llama_seq_id", slot)
        size = native.llama_state_seq_get_size_ext(self._context, number, _WHOLE)
        buffer = bytearray(size)
        view = (_BYTE * size).from_buffer(buffer)
        written = native.llama_state_seq_get_data_ext(self._context, view, size, number, _WHOLE)
        del view
        return bytes(memoryview(buffer)[:written])

    def write_state(self, slot: int, state: bytes) -> bool:
        """Puts a state into a slot, whose cells it replaces; False where there is no room or it does not fit this model."""
        number = cast("native.llama_seq_id", slot)
        data = cast("ctypes.Array[ctypes.c_uint8]", ctypes.cast(ctypes.c_char_p(state), ctypes.POINTER(_BYTE)))
        done = native.llama_state_seq_set_data_ext(self._context, data, len(state), number, _WHOLE)
        if done != len(state):
            self.free(slot)
            return False
        return True
