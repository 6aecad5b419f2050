"""The weights of a GGUF file, opened by llama.cpp."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

from llama_cpp import llama_cpp as native

from ...frames import LoadOptions
from .backend import LoadError
from .llama_log import LlamaLog

log = logging.getLogger(__name__)


def open_weights(path: str, options: LoadOptions, on_progress: Callable[[float], None], said: LlamaLog) -> native.llama_model_p:
    """Opens a model; the caller frees it. Raises LoadError with the engine's own words."""
    if not Path(path).is_file():
        raise LoadError(f"there is no file {path}.")

    def progress(fraction: float, _data: object) -> bool:
        on_progress(fraction)
        return True

    params = native.llama_model_default_params()
    params.n_gpu_layers = options.gpu_layers
    params.progress_callback = native.llama_progress_callback(progress)
    if has_amx_trap(native.llama_print_system_info().decode()):
        # Compiled by GCC 12, the AMX kernels read a tile configuration that was never stored, and crash.
        params.use_extra_bufts = False
        log.info("this build knows AMX; its special weight layouts stay off")
    said.forget()
    model = native.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        raise LoadError(said.why() or "llama.cpp gave no reason.")
    return model


def describe_weights(model: native.llama_model_p) -> str:
    """Says what a model is, as "bert 33M Q8_0, 33 M parameters, 34 MiB"."""
    buffer = ctypes.create_string_buffer(256)
    native.llama_model_desc(model, cast("bytes", buffer), len(buffer))
    name = buffer.value.decode("utf-8", "replace")
    parameters, size = native.llama_model_n_params(model), native.llama_model_size(model)
    return f"{name}, {parameters / 1e6:.0f} M parameters, {size / 2**20:.0f} MiB"


def read_fact(model: native.llama_model_p, key: str) -> str | None:
    """Reads one value of the file's metadata as text; None where there is no such key."""
    buffer = ctypes.create_string_buffer(512)
    length = native.llama_model_meta_val_str(model, key.encode(), cast("bytes", buffer), len(buffer))
    return buffer.value.decode("utf-8", "replace") if length >= 0 else None


def count_usable_cores() -> int:
    """How many cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_amx_trap(system_info: str) -> bool:
    """Whether an engine that says this of itself may have AMX kernels that crash."""
    return sys.platform == "linux" and platform.machine() == "x86_64" and "AMX" in system_info
