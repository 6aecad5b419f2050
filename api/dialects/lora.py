"""LoRA adapters on the wire: how a request names them, and the list of those there are.

After `lora` and `/lora-adapters` in https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md, plus names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from ...runtime.errors import InvalidRequest
from ...runtime.formats.adapter import AdapterLayout
from ...runtime.models.adapter import AdapterFile
from ...runtime.request import AdapterChoice


class AdapterBody(msgspec.Struct, frozen=True):
    """One adapter that a request wants."""

    name: str | None = None
    id: int | None = None
    """Its number, where it is not named."""
    scale: Annotated[float, Meta(ge=-100, le=100)] = 1.0


AdapterBodies = Annotated[list[AdapterBody], Meta(max_length=16)]


class AdapterEntry(msgspec.Struct, frozen=True):
    """One adapter of the list."""

    id: int
    name: str
    path: str
    """The name of its file or folder."""
    architecture: str | None
    """Of the models it was made for; null where it does not say."""
    format: AdapterLayout
    """A GGUF file, or a folder of mlx-lm or of PEFT."""
    scale: float = 0.0
    """Where a request does not say otherwise."""


def to_choices(bodies: Sequence[AdapterBody] | None) -> tuple[AdapterChoice, ...] | None:
    """Translates what a request wants; raises InvalidRequest."""
    return None if bodies is None else tuple(_choice(body, f"lora[{at}]") for at, body in enumerate(bodies))


def to_entries(files: Iterable[AdapterFile]) -> list[AdapterEntry]:
    """Lists adapters."""
    return [AdapterEntry(file.number, file.name, file.path.name, file.architecture, file.layout) for file in files]


def _choice(body: AdapterBody, place: str) -> AdapterChoice:
    name = body.id if body.name is None else body.name
    if name is None or (body.id is not None and body.name is not None):
        raise InvalidRequest(f"'{place}': an adapter has either a 'name' or an 'id'.", param=place, code="invalid_value")
    return AdapterChoice(name, body.scale)
