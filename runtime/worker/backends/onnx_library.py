"""The parts of ONNX Runtime that are used, under one roof: it says too little of its types to be checked."""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime as _onnxruntime  # pyright: ignore[reportMissingTypeStubs]

from ...formats.onnx_tied import Tied, find_tied
from ...frames import LoadOptions
from .backend import LoadError
from .onnx_trial import CPU

onnxruntime = cast("Any", _onnxruntime)

ENGINE = f"ONNX Runtime {version('onnxruntime')}"
FOLD_LIMIT = "optimization.constant_folding_max_output_size_in_bytes"
"""Larger constants are not computed when a graph is loaded."""
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def available_providers() -> list[str]:
    """Lists what this ONNX Runtime can compute on, by its own names."""
    return list(onnxruntime.get_available_providers())


def open_session(graph: Path, options: LoadOptions, providers: Sequence[str] = (CPU,)) -> Any:
    """Loads a graph; raises LoadError."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads or 0
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    rows = None
    if list(providers) == [CPU] and (rows := map_rows(graph)) is not None:
        # The matrix is multiplied with as it lies there, not turned round into a copy first; all other constants are smaller.
        settings.add_session_config_entry(FOLD_LIMIT, str(rows.tied.size_bytes - 1))
        settings.add_initializer(rows.tied.name, rows.value)
    try:
        session = onnxruntime.InferenceSession(str(graph), settings, providers=list(providers))
    except Exception as error:  # its errors share no class
        raise LoadError(_explain(error, graph)) from error
    if rows is not None:
        rows.leave()
        session.rows = rows  # which it takes, but does not keep
    return session


def map_rows(graph: Path) -> MappedRows | None:
    """Maps the matrix that a graph looks tokens up in and scores them with; None where no file that can be read holds it."""
    tied = find_tied(graph)
    try:
        return None if tied is None else MappedRows(tied)
    except (OSError, ValueError, OverflowError):  # ONNX Runtime will say what is wrong with the file
        return None


class MappedRows:
    """A file's matrix in memory, as far as somebody looks at it."""

    def __init__(self, tied: Tied) -> None:
        """Maps it.

        Raises:
            OSError: the file cannot be read.
            ValueError: it ends before the matrix does.
        """
        self.tied = tied
        begin = tied.offset // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        skipped = tied.offset - begin
        with tied.data.open("rb") as file:
            self._mapping = mmap.mmap(file.fileno(), skipped + tied.size_bytes, access=mmap.ACCESS_READ, offset=begin)
        numbers = np.frombuffer(self._mapping, np.float32, math.prod(tied.shape), skipped).reshape(tied.shape)
        self.value = onnxruntime.OrtValue.ortvalue_from_numpy(numbers)
        """The same memory, as ONNX Runtime has it."""

    def leave(self) -> None:
        """Lets go of what was read of it; rows that are looked up are read again, from the system's cache of the file."""
        self._mapping.madvise(mmap.MADV_DONTNEED)


def _explain(error: Exception, graph: Path) -> str:
    text = " ".join(str(error).split())
    if "External data path" in text or "escapes" in text or "outside" in text:
        return f"'{graph.name}' names data outside of its folder, which is never read: {text[:300]}"
    return f"ONNX Runtime cannot load '{graph.name}': {text[:400]}"
