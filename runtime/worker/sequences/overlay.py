"""The adapters that lie over a model's weights, and the sequences that are computed under them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Generic

from ..adapters import Adapters, choose_turn
from ..backends.backend import LoadError, Refusal
from ..prefix.fingerprint import fingerprint_files
from .runner import AdapterRunner, Runner, S
from .sequence import Sequence


class Overlay(Generic[S]):
    """Opens adapters when they are first asked for, and puts them over the weights step by step.

    Args:
        runner: the engine; one that puts no adapters over its model refuses them.
    """

    def __init__(self, runner: Runner[S]) -> None:
        self._runner: AdapterRunner[S] | None = runner if isinstance(runner, AdapterRunner) else None
        self._prints: dict[str, bytes] = {}
        """What tells an opened adapter from others, by its path."""
        self._now: Adapters = ()

    def open(self, adapters: Adapters) -> None:
        """Makes sure that the engine has these.

        Raises:
            Refusal: one is missing, damaged or for another model, or the engine takes none.
        """
        for adapter in adapters:
            if self._runner is None:
                raise Refusal("invalid", "This engine takes no adapters; MLX and llama.cpp do.", param="lora")
            if adapter.path in self._prints:
                continue
            try:
                self._prints[adapter.path] = fingerprint_files(self._runner.open_adapter(Path(adapter.path)))
            except (LoadError, OSError) as error:
                raise Refusal("invalid", str(error), param="lora") from error

    def identify(self, adapters: Adapters) -> bytes:
        """Gives bytes that tell opened adapters and their scales from others, wherever their files lie."""
        return b"".join(self._prints[one.path] + struct.pack("<d", one.scale) for one in adapters)

    def take_turn(self, sequences: list[Sequence[S]]) -> list[Sequence[S]]:
        """Chooses those that can be computed together, and puts their adapters over the weights; the others' turn comes."""
        if not sequences:
            return sequences
        chosen = choose_turn([sequence.adapters for sequence in sequences], self._now)
        if chosen != self._now and self._runner is not None:
            self._runner.use_adapters(chosen)
            self._now = chosen
        return [sequence for sequence in sequences if sequence.adapters == chosen]
