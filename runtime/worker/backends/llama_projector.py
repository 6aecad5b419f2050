"""What a projector beside a model makes of pictures, by llama.cpp's mtmd.

The tokens of pictures have no ids in the vocabulary. Here each gets a negative one, made of what picture and projector hold,
so that the same picture is found again in the cache and another one is not.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Sequence
from hashlib import blake2b, shake_128
from pathlib import Path
from typing import cast

import numpy as np
from llama_cpp import llama_cpp as native
from llama_cpp import mtmd_cpp as mtmd

from ...request import ImagePart
from ..picture import KINDS, MOST_PIXELS, read_size
from ..prefix.fingerprint import fingerprint_files
from .backend import Refusal
from .llama_log import LlamaLog
from .llama_picture import Encoded, PictureFailed

MOST_BYTES = 32 << 20
_NEGATIVE = -(2**31)
_FLOATS = ctypes.POINTER(ctypes.c_float)


class Chunk:
    """A stretch of a picture, ready to be computed."""

    def __init__(self, handle: mtmd.mtmd_input_chunk_p, ids: list[int]) -> None:
        self.handle = handle
        self.ids = ids
        """One for each of its tokens."""

    def __del__(self) -> None:
        mtmd.mtmd_input_chunk_free(self.handle)


class Projector:
    """Owns what looks at pictures; it is opened with the first of them, as most models never see one.

    Args:
        path: the projector's file.
        context: of the model that it belongs to.
        threads: how many it may use.
        gpu: whether it may use the GPU.
    """

    def __init__(self, path: str, context: native.llama_context_p, *, threads: int, gpu: bool) -> None:
        self._path = path
        self._context = context
        self._threads = threads
        self._gpu = gpu
        self._model = cast("native.llama_model_p", native.llama_get_model(context))
        self._log = LlamaLog(mtmd.mtmd_helper_log_set)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        self._opened: mtmd.mtmd_context_p | None = None
        self._problem: str | None = None
        self._print = b""
        self._marker = mtmd.mtmd_default_marker()

    def read(self, picture: ImagePart) -> list[list[int] | Chunk]:
        """Cuts a picture into stretches, and the tokens that the model wants before, between and behind them.

        Raises:
            Refusal: it is no picture, too large, or the projector cannot be opened.
        """
        _check(picture.data)
        opened = self._open()
        self._log.forget()
        buffer = (ctypes.c_uint8 * len(picture.data)).from_buffer_copy(picture.data)
        bitmap = mtmd.mtmd_helper_bitmap_init_from_buf(opened, buffer, len(picture.data), False)
        if not bitmap:
            raise _refuse("A picture cannot be decoded: its file is damaged.")
        chunks = cast("mtmd.mtmd_input_chunks_p", mtmd.mtmd_input_chunks_init())
        try:
            text = mtmd.mtmd_input_text(self._marker, len(self._marker), False, True)
            bitmaps = (mtmd.mtmd_bitmap_p_ctypes * 1)(bitmap)
            code = mtmd.mtmd_tokenize(opened, chunks, ctypes.byref(text), bitmaps, 1)  # pyright: ignore[reportArgumentType]
            if code != 0:
                raise _refuse(f"A picture cannot be prepared for this model. {self._log.why()}".strip())
            return self._take(chunks, blake2b(picture.data, digest_size=16).digest())
        finally:
            mtmd.mtmd_input_chunks_free(chunks)
            mtmd.mtmd_bitmap_free(bitmap)

    def encode(self, chunk: Chunk) -> tuple[Encoded, float]:
        """Computes what a stretch shows; gives that, and how long it took in seconds.

        Raises:
            PictureFailed: it cannot.
        """
        opened = self._open()
        self._log.forget()
        began_s = time.perf_counter()
        code = mtmd.mtmd_encode_chunk(opened, chunk.handle)
        found = mtmd.mtmd_get_output_embd(opened)
        if code != 0 or not found:
            raise PictureFailed(f"A picture could not be computed. {self._log.why()}".strip())
        width = native.llama_model_n_embd_inp(self._model)
        # The engine's memory is overwritten by the next one.
        encoded = np.ctypeslib.as_array(ctypes.cast(found, _FLOATS), (len(chunk.ids), width)).copy()
        return encoded, time.perf_counter() - began_s

    def decode(self, chunk: Chunk, encoded: Encoded, *, slot: int, begin: int) -> int:
        """Computes a stretch's cells behind those before it; gives llama_decode's code."""
        end = native.llama_pos(0)
        code = mtmd.mtmd_helper_decode_image_chunk(  # pyright: ignore[reportUnknownMemberType]
            self._open(),
            self._context,
            chunk.handle,
            encoded.ctypes.data_as(_FLOATS),  # pyright: ignore[reportArgumentType]
            cast("native.llama_pos", begin),
            cast("native.llama_seq_id", slot),
            native.llama_n_batch(self._context),
            ctypes.byref(end),  # pyright: ignore[reportArgumentType]
            mtmd.mtmd_helper_post_decode_callback(),
            ctypes.c_void_p(),
        )
        native.llama_synchronize(self._context)
        return code

    def close(self) -> None:
        """Gives its memory back."""
        if self._opened is not None:
            mtmd.mtmd_free(self._opened)
            self._opened = None

    def _take(self, chunks: mtmd.mtmd_input_chunks_p, picture_print: bytes) -> list[list[int] | Chunk]:
        taken: list[list[int] | Chunk] = []
        for at in range(mtmd.mtmd_input_chunks_size(chunks)):
            handle = cast("mtmd.mtmd_input_chunk_p", mtmd.mtmd_input_chunks_get(chunks, at))
            count = mtmd.mtmd_input_chunk_get_n_tokens(handle)
            if mtmd.mtmd_input_chunk_get_type(handle) == mtmd.MTMD_INPUT_CHUNK_TYPE_TEXT:
                taken.append(_read_words(handle))
                continue
            self._check_chunk(handle, count)
            seed = b"%s%s%d" % (self._print, picture_print, at)
            ids = np.frombuffer(shake_128(seed).digest(4 * count), "<i4") | np.int32(_NEGATIVE)
            copy = mtmd.mtmd_input_chunk_copy(handle)
            if not copy:
                raise Refusal("overloaded", "There is no memory for a picture.")
            taken.append(Chunk(copy, cast("list[int]", ids.tolist())))
        return taken

    def _check_chunk(self, handle: mtmd.mtmd_input_chunk_p, count: int) -> None:
        if mtmd.mtmd_input_chunk_get_n_pos(handle) != count:
            raise _refuse("This model gives pictures places in rows and columns (M-RoPE), which is not served yet.")
        # A picture whose tokens all look at each other has to be computed at once; the engine ends itself otherwise.
        most = native.llama_n_ubatch(self._context)
        if mtmd.mtmd_decode_use_non_causal(self._open(), handle) and count > most:
            raise _refuse(
                f"A picture of {count} tokens does not fit into a step of {most}; `engine.batch_tokens` in the settings "
                "makes it larger, up to 512."
            )

    def _open(self) -> mtmd.mtmd_context_p:
        if self._opened is not None:
            return self._opened
        if self._problem is None:
            self._opened = self._try()
            if self._opened is not None:
                return self._opened
        raise Refusal("failed", f"The model's file for pictures, {Path(self._path).name}, cannot be used: {self._problem}")

    def _try(self) -> mtmd.mtmd_context_p | None:
        params = mtmd.mtmd_context_params_default()
        params.use_gpu = self._gpu
        params.n_threads = self._threads
        params.print_timings = False
        params.warmup = False
        self._log.forget()
        try:
            self._print = fingerprint_files([Path(self._path)])
        except OSError as error:
            self._problem = error.strerror or str(error)
            return None
        opened = mtmd.mtmd_init_from_file(os.fsencode(self._path), self._model, params)
        if opened is None:
            self._problem = self._log.why() or "llama.cpp gave no reason."
        elif not mtmd.mtmd_support_vision(opened):
            mtmd.mtmd_free(opened)
            opened = None
            self._problem = "it is not for pictures."
        return opened


def _read_words(handle: mtmd.mtmd_input_chunk_p) -> list[int]:
    count = ctypes.c_size_t(0)
    tokens = mtmd.mtmd_input_chunk_get_tokens_text(handle, ctypes.byref(count))  # pyright: ignore[reportArgumentType]
    return list(cast("Sequence[int]", tokens)[: count.value]) if tokens else []


def _check(data: bytes) -> None:
    size = read_size(data)
    if size is None:
        raise _refuse(f"A picture is none of {KINDS}, or damaged.")
    if size[0] * size[1] > MOST_PIXELS or len(data) > MOST_BYTES:
        raise _refuse(
            f"A picture of {size[0]} x {size[1]} and {len(data) / 2**20:.1f} MiB is too large; "
            f"{MOST_PIXELS // 10**6} million pixels and {MOST_BYTES >> 20} MiB are the most."
        )


def _refuse(why: str) -> Refusal:
    return Refusal("invalid", why, param="messages")
