"""From an engine's name to its backend."""

from __future__ import annotations

from collections.abc import Callable

from .backend import Backend, LoadError


def find_backend(name: str) -> Callable[[], Backend]:
    """Imports the backend of this name; raises LoadError where there is none or its library is missing."""
    # Each engine's library is heavy or may be missing here: only the one that is asked for is imported.
    try:
        if name == "llama":
            from .llama import LlamaBackend

            return LlamaBackend
        if name == "llama-embedding":
            from .llama_embedding import open_backend as open_llama_embedding

            return open_llama_embedding
        if name == "mlx":
            from .mlx import open_backend as open_mlx

            return open_mlx
        if name == "onnx":
            from .onnx import open_backend as open_onnx

            return open_onnx
        if name == "coreml":
            from .coreml import open_backend as open_coreml

            return open_coreml
        if name == "torch":
            from .torch import open_backend as open_torch

            return open_torch
        if name == "torch-embedding":
            from .torch_embedding import open_backend as open_torch_embedding

            return open_torch_embedding
        if name == "mlx-embedding":
            from .mlx_embedding import open_backend as open_mlx_embedding

            return open_mlx_embedding
        if name == "onnx-embedding":
            from .onnx_embedding import open_backend as open_onnx_embedding

            return open_onnx_embedding
        if name == "echo":
            from .echo import EchoBackend

            return EchoBackend
        if name == "scripted":
            from .scripted import ScriptedBackend

            return ScriptedBackend
    except ImportError as error:
        raise LoadError(f"the library of the engine '{name}' cannot be imported: {error}") from error
    raise LoadError(f"there is no engine named '{name}'.")
