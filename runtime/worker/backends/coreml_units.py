"""Chooses where a Core ML model computes: by a trial on each of the compute units, held to what the CPU alone gives.

The GPU is what a model gets unless the Neural Engine is faster and right: that rounds to 16 bits between all layers, and
published models have been seen to write other tokens there.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import coremltools as _coremltools  # pyright: ignore[reportMissingTypeStubs]
import numpy as np

from ..prefix.fingerprint import fingerprint_files
from ..sequences.folder_vocabulary import read_json
from ..sequences.runner import Logits
from .coreml_pipeline import Pipeline

coremltools = cast("Any", _coremltools)
REFERENCE = "CPU_ONLY"
USUAL = "CPU_AND_GPU"
WITH_ENGINE = ("CPU_AND_NE", "ALL")
TRIAL_PROMPT, TRIAL_TOKENS = tuple(range(1, 17)), tuple(range(17, 25))
MOST_DEVIATION = 0.03
"""How far scores may lie from those of the CPU, as a share of their range. To round every result to 16 bits moves those of the
starter model by 1.2 % at most; a single token that is not seen moves a small model's by more than 3 %."""
LEAST_GAIN = 0.05
"""So much faster the Neural Engine has to be: within that the same trial comes out differently from time to time."""
_NAMES = {"MLNeuralEngineComputeDevice": "Neural Engine", "MLGPUComputeDevice": "GPU", "MLCPUComputeDevice": "CPU"}


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of computing on some units."""

    units: str
    took_s: float
    """Of the quickest single token."""
    scores: Logits
    """Of the prompt's last token and all single ones, shape (tokens, rows)."""


def try_out(
    pipeline: Pipeline, extend: Callable[[Sequence[int]], Logits], clock: Callable[[], float] = time.perf_counter
) -> Trial:
    """Computes a short prompt and some tokens.

    Args:
        pipeline: what `extend` computes with.
        extend: computes tokens behind those before, and gives the last one's scores, shape (rows,).
        clock: gives seconds.
    """
    found = [extend(TRIAL_PROMPT)]
    quickest_s = float("inf")
    for token in TRIAL_TOKENS:
        began_s = clock()
        found.append(extend([token]))
        quickest_s = min(quickest_s, clock() - began_s)
    return Trial(pipeline.units, quickest_s, np.stack(found))


def choose_units(tried: Sequence[Trial | tuple[str, str]]) -> tuple[str, str]:
    """Chooses among trials.

    Args:
        tried: the CPU's first; of units that cannot compute it, their name and why.

    Returns:
        The units, and what was found, in words for the log.
    """
    reference = next(one for one in tried if isinstance(one, Trial) and one.units == REFERENCE)
    spread = max(1e-6, float(np.ptp(reference.scores)))
    right: dict[str, Trial] = {}
    told: list[str] = []
    for one in tried:
        if isinstance(one, tuple):
            told.append(f"{one[0]} failed: {one[1]}")
            continue
        off = float(np.abs(one.scores - reference.scores).max()) / spread
        told.append(f"{one.units} {one.took_s * 1000:.3g} ms{'' if one is reference else f', {off:.1%} off'}")
        # A comparison with what is not a number is False, and such scores are wrong.
        if off <= MOST_DEVIATION:
            right[one.units] = one
    best = right.get(USUAL, reference)
    for units in WITH_ENGINE:
        if units in right and right[units].took_s < best.took_s * (1 - LEAST_GAIN):
            best = right[units]
    return best.units, f"{best.units} ({'; '.join(told)})"


class Remembered:
    """Keeps what trials gave: to try a model out, it is compiled anew for each of the units, which takes minutes.

    Args:
        folder: where the file with it lies; None keeps nothing.
        files: of the model.
    """

    def __init__(self, folder: Path | None, files: Sequence[Path]) -> None:
        self._path = None if folder is None else folder / "coreml-units.json"
        self._key = f"{fingerprint_files(files).hex()} {platform.mac_ver()[0]} {platform.machine()}"

    def read(self) -> tuple[str, str] | None:
        """Gives the units and what was found; None where this model was not tried on this system."""
        found = {} if self._path is None else read_json(self._path)
        entry = found.get(self._key)
        if not isinstance(entry, list):
            return None
        units, told = [*map(str, cast("list[object]", entry)), "", ""][:2]
        return (units, told) if units in (REFERENCE, USUAL, *WITH_ENGINE) else None

    def write(self, units: str, told: str) -> None:
        """Keeps an outcome; where that cannot be, the next load tries again."""
        if self._path is None:
            return
        entries = read_json(self._path) | {self._key: [units, told]}
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(entries), encoding="utf-8")
            draft.replace(self._path)
        except OSError:
            draft.unlink(missing_ok=True)


def plan_of(compiled: Sequence[str], units: str) -> Any:
    """Gives macOS' plans for compiled models; raises whatever coremltools does where there are none."""
    plan = coremltools.models.compute_plan.MLComputePlan
    return [plan.load_from_path(path, coremltools.ComputeUnit[units]) for path in compiled]


def tell_plans(plans: Sequence[Any]) -> str:
    """Says which share of the work runs where, by macOS' own estimates; "" where it does not tell."""
    shares: dict[str, float] = {}
    for plan in plans:
        program = plan.model_structure.program
        for function in program.functions.values() if program is not None else ():
            for operation in function.block.operations:
                usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
                cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
                if usage is None or cost is None:
                    continue
                device = type(usage.preferred_compute_device).__name__
                shares[_NAMES.get(device, device)] = shares.get(_NAMES.get(device, device), 0.0) + cost.weight
    whole = sum(shares.values())
    ranked = sorted(shares.items(), key=lambda share: -share[1])
    return ", ".join(f"{name} {share / whole:.0%}" for name, share in ranked) if whole > 0 else ""
