"""LoRA adapters as they lie on the disk, and how a request's names find them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InvalidRequest
from ..formats.adapter import AdapterLayout
from ..request import Adapter, AdapterChoice
from .model import Model

_FOLDERS = frozenset({"mlx", "safetensors", "pytorch"})
"""Formats of models that adapters of mlx-lm and PEFT are made for; whether one fits, its matrices show when they are read."""


@dataclass(frozen=True, slots=True)
class AdapterFile:
    """One adapter that can be named in a request."""

    number: int
    """From 0; stays the same while the program runs."""
    name: str
    path: Path
    architecture: str | None
    """Of the models it was made for; None where it does not say."""
    size_bytes: int
    layout: AdapterLayout = "gguf"

    def fits(self, model: Model) -> bool:
        """Whether it may be put over a model, as far as both say what they are."""
        if self.layout == "gguf":
            return model.header.format == "gguf" and self.architecture == model.header.architecture
        return model.header.format in _FOLDERS


def choose_adapters(
    wanted: Sequence[AdapterChoice], model: Model, files: Sequence[AdapterFile], *, param: str = "lora"
) -> tuple[Adapter, ...]:
    """Finds the files of the adapters that are wanted; those with the scale 0 change nothing and are left out.

    Args:
        wanted: what the request names.
        model: what the adapters are put over.
        files: all there are.
        param: the request's field, for messages.

    Raises:
        InvalidRequest: there is no such adapter, or it was made for another architecture.
    """
    found: dict[str, Adapter] = {}
    for choice in wanted:
        file = _find(choice.name, files, model, param)
        if str(file.path) in found:
            raise InvalidRequest(f"'{param}': the adapter '{file.name}' is named twice.", param=param, code="invalid_value")
        if not file.fits(model):
            raise InvalidRequest(f"'{param}': {_explain(file, model)}", param=param, code="invalid_value")
        found[str(file.path)] = Adapter(str(file.path), choice.scale)
    # In one order, so that the same adapters find what was computed under them.
    return tuple(adapter for _, adapter in sorted(found.items()) if adapter.scale)


def _find(name: str | int, files: Sequence[AdapterFile], model: Model, param: str) -> AdapterFile:
    for file in files:
        if name in (file.number, file.name):
            return file
    folded = [file for file in files if isinstance(name, str) and file.name.casefold() == name.casefold()]
    if len(folded) == 1:
        return folded[0]
    fitting = ", ".join(f"{file.name} ({file.number})" for file in files if file.fits(model))
    there = f"Adapters for '{model.id}': {fitting}." if fitting else f"There is none for '{model.id}' in the models folder."
    raise InvalidRequest(f"'{param}': there is no adapter '{name}'. {there}", param=param, code="adapter_not_found")


def _explain(file: AdapterFile, model: Model) -> str:
    """Says why an adapter does not fit a model."""
    kind = model.header.format
    if file.layout == "gguf" and (kind == "gguf" or kind not in _FOLDERS):
        return (
            f"the adapter '{file.name}' was made for the architecture '{file.architecture}'; "
            f"'{model.id}' is '{model.header.architecture or kind}'."
        )
    made = "GGUF models" if file.layout == "gguf" else "models in folders of SafeTensors, MLX or PyTorch"
    return f"the adapter '{file.name}' was made for {made}; '{model.id}' is '{kind}'."
