"""The shipped list of models worth knowing: what each can do, and its header as if it were here."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final, Literal

import msgspec

from ..formats.config_facts import with_config, with_weights
from ..formats.config_weights import ConfigWeights, count_weights
from ..formats.header import Ability, Header

FILE_NAME: Final = "recommended.toml"
Task = Literal["chat", "code", "embed"]
ModelAbility = Literal["tools", "thinking", "vision", "fill"]
"""Calls tools, thinks before it answers, takes pictures, fills gaps in code."""


class ListedModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model of the list."""

    name: str
    pull: str
    """What `impetus pull` takes, without the quantisation."""
    tasks: list[Task]
    abilities: list[ModelAbility]
    context: int
    """What it was trained for, in tokens."""
    quantizations: list[str]
    """The most precise first."""
    config: dict[str, int | str | bool]
    """The keys of its config.json that its size and speed follow from."""
    bits: dict[str, float] = {}
    """Bits a weight where they are others than those of the whole list."""

    def count(self) -> ConfigWeights:
        """Counts its weights."""
        counted = count_weights(self.config)
        if counted is None:
            raise ValueError(f"{self.name}: its config lacks what its weights are counted by")
        return counted

    def header(self, quantization: str, usual_bits: Mapping[str, float]) -> Header:
        """Gives the header that a file of this quantisation has about."""
        size_bytes = int(self.count().parameters * {**usual_bits, **self.bits}[quantization] / 8)
        ability: Ability = "embedding" if "embed" in self.tasks else "text"
        header = Header(format="gguf", size_bytes=size_bytes, name=self.name, quantization=quantization, ability=ability)
        return replace(with_weights(with_config(header, self.config), self.config), context_length=self.context)


class ModelList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole list."""

    as_of: str
    """The day somebody last looked through it."""
    bits: dict[str, float]
    """Bits a weight, by quantisation."""
    models: list[ListedModel]
    """The best of each task first."""


@cache
def read_list() -> ModelList:
    """Reads the shipped list; blocks at the first call."""
    text = Path(__file__).with_name(FILE_NAME).read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), ModelList)
