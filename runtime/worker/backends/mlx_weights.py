"""Loads a SafeTensors or MLX folder by mlx-lm, and keeps it from reading the folder wrongly."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from ...frames import LoadOptions
from ..prefix.fingerprint import fingerprint_files
from ..sequences.folder_vocabulary import read_json
from .backend import LoadError
from .converted import checkpoint_files, convert_checkpoint, link_beside
from .mlx_library import find_classes, load_model, mx, on_gpu, quantize_model, save_config, save_model, tree_flatten
from .mlx_states import find_without_scores

GROUPS = (64, 32)
"""How many weights share a scale, the better first."""


def prepare_folder(path: Path, options: LoadOptions, on_progress: Callable[[float], None]) -> Path:
    """Gives the folder to load: that of the model, or what was made of it once.

    Raises:
        LoadError: it could not be made.
    """
    cache = None if options.converted_dir is None else Path(options.converted_dir)
    folder = path
    if not any(path.glob("model*.safetensors")) and checkpoint_files(path):
        folder = convert_checkpoint(path, cache, lambda fraction: on_progress(fraction / 2))
    if options.weight_bits is None or _is_quantized(read_json(folder / "config.json")):
        return folder
    if cache is None:
        raise LoadError("it has to be quantized once, and there is no folder for that.")
    return _quantize(folder, cache, options.weight_bits)


def _quantize(folder: Path, cache: Path, bits: int) -> Path:
    target = cache / f"{folder.name}-{bits}bit-{fingerprint_files(sorted(folder.glob('model*.safetensors'))).hex()}"
    if (target / "config.json").is_file():
        return target
    draft = target.with_name(f"{target.name}.{os.getpid()}.new")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        config = read_json(folder / "config.json")
        model, whole = load_model(folder, lazy=True, model_config=rope_settings(config))
        group = next((group for group in GROUPS if _divides(group, model)), GROUPS[-1])
        model, whole = quantize_model(model, whole, group, bits)
        save_model(draft, model, donate_model=True)
        link_beside(folder, draft)
        (draft / "config.json").unlink(missing_ok=True)
        save_config(whole, config_path=draft / "config.json")
        draft.rename(target)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise LoadError(f"it could not be quantized to {bits} bits: {error}") from error
    return target


def _divides(group: int, model: Any) -> bool:
    width = model.layers[0].parameters()
    sizes = {int(value.shape[-1]) for _, value in tree_flatten(width) if value.ndim > 1}
    return all(size % group == 0 for size in sizes)


def open_weights(folder: Path, on_progress: Callable[[float], None], *, scores: bool = True) -> tuple[Any, dict[str, object]]:
    """Loads a model with its weights in memory.

    Args:
        folder: where they lie, as mlx-lm reads them.
        on_progress: is told how far it is, 0 to 1.
        scores: whether tokens are scored; where not, the matrix for that is left out, and may be missing.

    Returns:
        mlx-lm's model, and its whole config.

    Raises:
        LoadError: mlx-lm does not know its architecture, or its files are damaged.
    """
    config = read_json(folder / "config.json")
    try:
        classes = find_classes if scores else find_without_scores
        model, whole = load_model(folder, lazy=True, model_config=rope_settings(config), get_model_classes=classes)
    except Exception as error:  # a damaged config can make mlx-lm raise anything
        raise LoadError(_explain(error, folder, config)) from error
    if not on_gpu() and (_is_quantized(whole) or not scores):
        # A CPU multiplies quantized weights forty times slower where the other numbers have 16 bits; and it has no arithmetic
        # for these, so that vectors take less time with all their digits.
        model.set_dtype(mx.float32)
    layers = list(model.layers)
    try:
        for done, layer in enumerate(layers):
            mx.eval(layer.parameters())
            on_progress((done + 1) / (len(layers) + 1))
        mx.eval(model.parameters())
    except Exception as error:
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
