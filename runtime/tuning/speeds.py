"""Says how fast each model is: as measured here, else as predicted."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from ...hw.profile import CapabilityProfile
from ...hw.sample import Sample
from ...hw.thermal import assume_headroom
from ..models.model import Model, ModelStatus, Speed
from .measured import MeasuredSpeed, Run, SpeedBook, SpeedKey
from .predict import predict_speeds

log = logging.getLogger(__name__)

TYPICAL_CONTEXT: Final = 4096
"""Tokens that shown predictions are for."""


class KnownSpeeds:
    """What is measured, read once from its file, and what is predicted of the rest."""

    def __init__(
        self,
        book: SpeedBook,
        *,
        profile: Callable[[], CapabilityProfile | None],
        choose_engine: Callable[[Model], str],
        sample: Callable[[], Sample | None] = lambda: None,
    ) -> None:
        """Puts it together without touching the disk.

        Args:
            book: where speeds are kept.
            profile: gives the machine.
            choose_engine: names the engine that would compute a model.
            sample: gives the machine's newest reading, of which heat and low-power mode slow predictions down.
        """
        self._book = book
        self._profile = profile
        self._choose_engine = choose_engine
        self._sample = sample
        self._known: dict[SpeedKey, dict[str, MeasuredSpeed]] = {}
        """By key without an engine, then by engine; threads put whole inner ones in their place and change none."""
        self._predicted: dict[str, tuple[object, float, Speed | None, Speed | None]] = {}

    def read(self) -> None:
        """Reads what is measured; blocks."""
        for speed in self._book.read():
            self._keep(speed)

    def note(self, key: SpeedKey, run: Run) -> None:
        """Keeps a run; blocks. A file that cannot be written is told in the log."""
        try:
            self._keep(self._book.note(key, run))
        except (OSError, sqlite3.Error) as error:
            log.warning("the speed of %s cannot be kept: %s", key.model, error)

    def add_to(self, statuses: Sequence[ModelStatus]) -> tuple[ModelStatus, ...]:
        """Adds to each model how fast it is."""
        return tuple(self._add(status) for status in statuses)

    def key(self, status: ModelStatus) -> SpeedKey:
        """Says what a run of a model belongs to; without an engine where it is not loaded."""
        profile = self._profile()
        chip = profile.chip.value if profile is not None and profile.chip is not None else ""
        return SpeedKey(status.model.id, status.model.header.quantization or "", status.engine or "", chip)

    def _add(self, status: ModelStatus) -> ModelStatus:
        if status.model.problem is not None or status.model.header.format == "echo":
            return status
        decode, prefill = self._predict(status.model)
        measured = self._measured(status)
        if measured is not None and measured.decode_tps is not None:
            decode = Speed.measured(measured.decode_tps)
            prefill = prefill if measured.prefill_tps is None else Speed.measured(measured.prefill_tps)
        return replace(status, decode=decode, prefill=prefill)

    def _predict(self, model: Model) -> tuple[Speed | None, Speed | None]:
        """Predicts once for each model, machine and headroom: statuses are asked for several times a second."""
        profile, sample = self._profile(), self._sample()
        headroom = 1.0 if sample is None else assume_headroom(sample.thermal_level, low_power=sample.low_power_mode)
        kept = self._predicted.get(model.id)
        if kept is not None and kept[0] is profile and kept[1] == headroom:
            return kept[2], kept[3]
        engine = self._choose_engine(model)
        decode, prefill, _ = predict_speeds(profile, model.header, TYPICAL_CONTEXT, engine_name=engine, headroom=headroom)
        self._predicted[model.id] = (profile, headroom, decode, prefill)
        return decode, prefill

    def _measured(self, status: ModelStatus) -> MeasuredSpeed | None:
        """The newest settled speed of a model here; of the engine that holds it, once it is loaded."""
        wanted = self.key(status)
        settled = {engine: speed for engine, speed in self._known.get(_without_engine(wanted), {}).items() if speed.is_settled}
        if wanted.engine:
            return settled.get(wanted.engine)
        return max(settled.values(), key=lambda speed: speed.at_epoch_s, default=None)

    def _keep(self, speed: MeasuredSpeed) -> None:
        place = _without_engine(speed.key)
        self._known[place] = {**self._known.get(place, {}), speed.key.engine: speed}


def _without_engine(key: SpeedKey) -> SpeedKey:
    return replace(key, engine="")
