"""Loads a SafeTensors or MLX folder by mlx-lm, and keeps it from reading the folder wrongly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from ..sequences.folder_vocabulary import read_json
from .backend import LoadError
from .mlx_library import load_model, mx, on_gpu


def open_weights(folder: Path, on_progress: Callable[[float], None]) -> tuple[Any, dict[str, object]]:
    """Loads a model with its weights in memory.

    Returns:
        mlx-lm's model, and its whole config.

    Raises:
        LoadError: mlx-lm does not know its architecture, or its files are damaged.
    """
    config = read_json(folder / "config.json")
    try:
        model, whole = load_model(folder, lazy=True, model_config=rope_settings(config))
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, OSError) as error:
        raise LoadError(_explain(error, folder, config)) from error
    if not on_gpu() and _is_quantized(whole):
        # A CPU multiplies quantized weights forty times slower where the other numbers have 16 bits.
        model.set_dtype(mx.float32)
    layers = list(model.layers)
    try:
        for done, layer in enumerate(layers):
            mx.eval(layer.parameters())
            on_progress((done + 1) / (len(layers) + 1))
        mx.eval(model.parameters())
    except (RuntimeError, ValueError) as error:
        raise LoadError(f"its weights cannot be read: {error}. Download it again.") from error
    return model, cast("dict[str, object]", whole)


def rope_settings(config: Mapping[str, object]) -> dict[str, object]:
    """Gives the settings of rotary positions under the names that mlx-lm reads.

    transformers 5 writes them under `rope_parameters` alone, and most of mlx-lm's models then take 10000 as the base without a
    word: the text looks sound and is wrong.

    Args:
        config: of the model, as in config.json.
    """
    found = _rope_of(config)
    text = config.get("text_config")
    if isinstance(text, dict):
        inner = cast("dict[str, object]", text)
        more = _rope_of(inner)
        if more:
            found["text_config"] = inner | more
    return found


def _rope_of(config: Mapping[str, object]) -> dict[str, object]:
    parameters = config.get("rope_parameters")
    if not isinstance(parameters, dict):
        return {}
    parameters = cast("dict[str, object]", parameters)
    found: dict[str, object] = {}
    whole, window = parameters.get("full_attention"), parameters.get("sliding_attention")
    if isinstance(whole, dict):
        found |= _plain(cast("dict[str, object]", whole))
        if isinstance(window, dict):
            found["rope_local_base_freq"] = cast("dict[str, object]", window).get("rope_theta")
    else:
        found |= _plain(parameters)
    return {key: value for key, value in found.items() if value is not None and config.get(key) is None}


def _plain(parameters: Mapping[str, object]) -> dict[str, object]:
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    scaling = {key: value for key, value in parameters.items() if key != "rope_theta"}
    return {
        "rope_theta": parameters.get("rope_theta"),
        "partial_rotary_factor": parameters.get("partial_rotary_factor"),
        "rope_scaling": None if kind == "default" else scaling | {"type": kind, "rope_type": kind},
    }


def _is_quantized(config: Mapping[str, object]) -> bool:
    return bool(config.get("quantization") or config.get("quantization_config"))


def _explain(error: Exception, folder: Path, config: Mapping[str, object]) -> str:
    kind = config.get("model_type")
    text = str(error)
    if "not supported" in text:
        return f"mlx-lm does not know the architecture '{kind}'. A GGUF conversion of it may be served."
    if isinstance(error, FileNotFoundError):
        return f"no weights were found in '{folder.name}': mlx-lm reads files named model*.safetensors. Download it again."
    return f"mlx-lm cannot load it: {text or type(error).__name__}"
