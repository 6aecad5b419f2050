"""mlx-lm's models without what scores tokens: for those that are asked for states alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .mlx_library import find_classes

_HEAD = "lm_head"


def find_without_scores(config: Mapping[str, object]) -> tuple[Any, Any]:
    """Finds mlx-lm's classes for a model, as `load_model` asks for them.

    The model takes weights with and without the matrix that scores tokens, under the names of the whole model or of its inner
    half: folders of models for vectors have them in either way.
    """
    base, arguments = find_classes(config)

    def sanitize(model: Any, weights: Mapping[str, Any]) -> dict[str, Any]:
        own: Mapping[str, Any] = model.children()
        inner: Mapping[str, Any] = own["model"].children() if "model" in own else {}
        named: dict[str, Any] = {_full_name(key, own, inner): value for key, value in weights.items()}
        if hasattr(base, "sanitize"):
            named = base.sanitize(model, named)
        own.get("language_model", model).pop(_HEAD, None)
        return {key: value for key, value in named.items() if _HEAD not in key.split(".")}

    return type(base.__name__, (base,), {"sanitize": sanitize}), arguments


def _full_name(key: str, own: Mapping[str, Any], inner: Mapping[str, Any]) -> str:
    first = key.partition(".")[0]
    return f"model.{key}" if first in inner and first not in own else key
