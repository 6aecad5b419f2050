"""Finds copies of one model in several formats or precisions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from .model import Model
from .quantization import preference

_FORM = re.compile(
    r"[-_. ]+(?:gguf|ggml|mlx|onnx|coreml|hf|safetensors|pytorch|torch|genai|web|\d[-_]?bits?|u?int[48]|w[48]a(?:8|16)|awq|gptq"
    r"|dwq|(?:ud[-_])?i?q\d(?:_(?:0|1|k|nl|xxs|xs|s|m|l|xl))*|q4f16|bnb4|quantized|tq[12]_0|[mn][xv]fp4(?:_moe)?|bf16|fp?16|fp?32|fp?8|i1|imatrix)$",
    re.IGNORECASE,
)
"""The last word of a name that tells how a model is stored, not which one it is."""


def base_name(name: str) -> str:
    """Gives a model's name without how it is stored: "Qwen3-8B-MLX-4bit" is "Qwen3-8B"."""
    return _shorten(name)[-1]


def base_names(name: str) -> list[str]:
    """Gives in small letters what a model may be called for short: "qwen3-8b-mlx" and "qwen3-8b" are "Qwen3-8B-MLX-4bit"."""
    return [shorter.casefold() for shorter in _shorten(name)]


def _shorten(name: str) -> list[str]:
    names = [name.rpartition("/")[2].partition("@")[0]]
    while (shorter := _FORM.sub("", names[-1])) != names[-1]:
        names.append(shorter)
    return names


def gather_variants(models: Iterable[Model], rank: Callable[[Model], int]) -> list[Model]:
    """Puts the copies of one model together.

    Args:
        models: all there are.
        rank: how well a model is served here; the lowest is the best.

    Returns:
        All models by name, the best copy of each first, the others behind it and with its id in `variant_of`.
    """
    families: dict[tuple[str, str], list[list[Model]]] = {}
    for model in sorted(models, key=lambda model: (_shape(model) is None, model.id.casefold(), model.id)):
        groups = families.setdefault((base_name(model.id).casefold(), model.header.ability), [])
        # Where nothing is known of a model's layers, its name decides alone.
        group = next((group for group in groups if _shape(model) in (None, _shape(group[0]))), None)
        if group is None:
            groups.append([model])
        else:
            group.append(model)

    def order(model: Model) -> tuple[bool, int, int, int, str]:
        header = model.header
        return model.problem is not None, rank(model), preference(header.quantization), header.size_bytes, model.id

    found: list[list[Model]] = []
    for groups in families.values():
        for group in groups:
            best, *others = sorted(group, key=order)
            found.append([replace(best, variant_of=None), *(replace(other, variant_of=best.id) for other in others)])
    return [model for group in sorted(found, key=lambda group: (group[0].id.casefold(), group[0].id)) for model in group]


def _shape(model: Model) -> tuple[int, int] | None:
    """What copies of one model have in common; None where it is not known."""
    header = model.header
    if model.store == "builtin" or header.layers is None or header.embedding_length is None:
        return None
    return header.layers, header.embedding_length
