"""Loads a checkpoint without running any code that it brings, and without copying what can be mapped."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..sequences.folder_vocabulary import read_json
from .backend import LoadError
from .torch_library import AutoModel

_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
"""How torch names what a pickle asks for beside tensors."""


def open_weights(
    folder: Path, device: str, on_progress: Callable[[float], None], *, by: Any = AutoModel, kind: str = "auto"
) -> tuple[Any, tuple[Path, ...]]:
    """Loads a model.

    Args:
        folder: where it lies.
        device: what computes it.
        on_progress: told of parts of the whole.
        by: transformers' class that finds the right one.
        kind: of numbers, by torch's name; "auto" is that of the files.

    Returns:
        transformers' model, and its files.

    Raises:
        LoadError: transformers does not know its architecture, it is damaged, or it holds more than weights.
    """
    files = tuple(sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES and path.is_file()))
    try:
        model = by.from_pretrained(
            str(folder),
            dtype=kind,
            local_files_only=True,
            trust_remote_code=False,
            attn_implementation=None,  # SDPA, or what a model that it cannot compute has in its place
            weights_only=True,
        )
        on_progress(0.9)
        return model.to(device).eval(), files
    except pickle.UnpicklingError as error:
        # Its own words tell how to load the file all the same.
        found = _GLOBAL.search(str(error))
        named = f" ('{found[1]}')" if found else ""
        raise LoadError(f"it holds more than weights, which could be a program{named}; nothing of it was run.") from error
    except Exception as error:  # each library that takes part raises its own
        raise LoadError(_explain(error, folder)) from error


def _explain(error: Exception, folder: Path) -> str:
    kind = read_json(folder / "config.json").get("model_type")
    text = _first_line(error)
    if "does not recognize this architecture" in str(error) or "Unrecognized configuration class" in str(error):
        return f"transformers does not know the architecture '{kind}'. A GGUF conversion of it may be served."
    if "trust_remote_code" in str(error):
        return f"'{kind}' needs code of its own that comes with the model, and such code is never run."
    return f"transformers cannot load it: {text or type(error).__name__}"


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:400]
