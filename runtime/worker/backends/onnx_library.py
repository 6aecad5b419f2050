"""The parts of ONNX Runtime that are used, under one roof: it says too little of its types to be checked."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime as _onnxruntime  # pyright: ignore[reportMissingTypeStubs]

from ...frames import LoadOptions
from .backend import LoadError

onnxruntime = cast("Any", _onnxruntime)

ENGINE = f"ONNX Runtime {version('onnxruntime')}"
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def available_providers() -> list[str]:
    """Lists what this ONNX Runtime can compute on, by its own names."""
    return list(onnxruntime.get_available_providers())


def open_session(graph: Path, options: LoadOptions, providers: Sequence[str] = ("CPUExecutionProvider",)) -> Any:
    """Loads a graph; raises LoadError."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads or 0
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(graph), settings, providers=list(providers))
    except Exception as error:  # its errors share no class
        raise LoadError(_explain(error, graph)) from error


def _explain(error: Exception, graph: Path) -> str:
    text = " ".join(str(error).split())
    if "External data path" in text or "escapes" in text or "outside" in text:
        return f"'{graph.name}' names data outside of its folder, which is never read: {text[:300]}"
    return f"ONNX Runtime cannot load '{graph.name}': {text[:400]}"
