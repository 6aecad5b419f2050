"""Says which models of the shipped list suit a machine, and what another Mac would bring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from ...hw.chips import CHIPS, parse_brand
from ...hw.profile import CapabilityProfile, Reading
from ..models.model import Speed
from ..models.recommended import ListedModel, ModelAbility, ModelList, Task, read_list
from .memory_budget import GIB
from .predict import predict_speeds
from .suiting import LEAST_CONTEXT, Suiting, choose_suiting

_CANDIDATES: Final = (
    ("Apple M4", 32), ("Apple M5", 32), ("Apple M4 Pro", 48), ("Apple M5 Pro", 64), ("Apple M4 Max", 64), ("Apple M4 Max", 128),
    ("Apple M5 Max", 128), ("Apple M3 Ultra", 256),
)  # fmt: skip
"""Chips with the best of their GPUs and the memory they are sold with, as upgrades; by what they cost."""
_MOST_UPGRADES: Final = 3
_WORTHWHILE: Final = 1.3
"""A Mac that holds nothing better has to be so many times as fast."""
NOTICEABLE: Final = 1.05
"""A Mac that is less than so many times as fast is not called faster."""
_WORKING_SET_SHARE: Final = 0.75


class OnDisk(msgspec.Struct, frozen=True):
    """A copy of a recommended model that needs no download."""

    id: str
    """What requests and `impetus load` call it."""
    quantization: str | None
    """Its own, which may be another than the recommended one."""
    suits: bool
    """Whether it is the recommended one."""


class Recommendation(msgspec.Struct, frozen=True):
    """One model in the quantisation that suits best; null is unknown."""

    model: str
    quantization: str
    pull: str
    """What `impetus pull` takes."""
    tasks: list[Task]
    abilities: list[ModelAbility]
    parameters: int
    size_bytes: int
    memory_bytes: int
    """With a context of 16,384 tokens."""
    longest_context: int | None
    decode: Speed | None
    """With 16,384 tokens of context."""
    prefill: Speed | None
    on_disk: OnDisk | None = None
    """Null where no copy of it is on this machine."""


class Upgrade(msgspec.Struct, frozen=True):
    """What another Mac would bring."""

    machine: str
    """As "M4 Max 64 GB"."""
    faster: float | None
    """How many times as fast it writes with the best model that fits here too."""
    fits: str
    """The best model that fits there, with its quantisation."""
    decode: Speed | None
    """Of that model there."""
    words: str
    """As "M4 Max 64 GB: 2.9 times as fast, fits Llama-3.3-70B-Instruct Q4_K_M"."""


class Recommendations(msgspec.Struct, frozen=True):
    """What `impetus recommend --json` prints."""

    as_of: str
    """The day of the list, or of the search."""
    machine: str
    task: Task | None
    models: list[Recommendation]
    """The best first."""
    upgrades: list[Upgrade]
    notes: list[str]
    source: str = "a list of"
    """In words that the day follows."""


@dataclass(frozen=True, slots=True)
class _Choice:
    listed: ListedModel
    suiting: Suiting


def recommend(
    profile: CapabilityProfile | None,
    task: Task | None = None,
    listed: ModelList | None = None,
    *,
    models_percent: float = 0.0,
) -> Recommendations:
    """Recommends models for a machine.

    Args:
        profile: the machine; None while it has not been read.
        task: what for; None is for any.
        listed: the list; None is the shipped one, which is read at the first call.
        models_percent: what the settings give to models here; 0 leaves it to the machine.
    """
    listed = listed or read_list()
    models = [model for model in listed.models if task is None or task in model.tasks]
    choices = [choice for model in models if (choice := _choose(profile, model, listed, models_percent)) is not None]
    notes = list(choices[0].suiting.prediction.reasons if choices else ())
    if profile is None:
        notes = ["this machine has not been looked at yet"]
    elif not choices:
        notes.append(f"none of the listed models fits with {LEAST_CONTEXT:,} tokens of context")
    return Recommendations(
        as_of=listed.as_of,
        machine=name_machine(profile),
        task=task,
        models=[_recommend_listed(choice) for choice in choices],
        upgrades=[] if profile is None else _upgrades(models, listed, choices),
        notes=notes,
    )


def _choose(
    profile: CapabilityProfile | None, model: ListedModel, listed: ModelList, models_percent: float = 0.0
) -> _Choice | None:
    headers = (model.header(quantization, listed.bits) for quantization in model.quantizations)
    suiting = choose_suiting(profile, headers, models_percent=models_percent)
    return None if isinstance(suiting, str) else _Choice(model, suiting)


def _recommend_listed(choice: _Choice) -> Recommendation:
    model = choice.listed
    pull = f"{model.pull}:{choice.suiting.header.quantization}"
    return to_recommendation(choice.suiting, model=model.name, pull=pull, tasks=model.tasks, abilities=model.abilities)


def to_recommendation(
    suiting: Suiting, *, model: str, pull: str, tasks: list[Task], abilities: list[ModelAbility]
) -> Recommendation:
    """Recommends what suits, by its name and by what is known of it besides."""
    header, prediction = suiting.header, suiting.prediction
    return Recommendation(
        model=model,
        quantization=header.quantization or header.format,
        pull=pull,
        tasks=tasks,
        abilities=abilities,
        parameters=header.parameters or 0,
        size_bytes=header.size_bytes,
        memory_bytes=prediction.memory_bytes,
        longest_context=prediction.longest_context,
        decode=prediction.decode,
        prefill=prediction.prefill,
    )


def _upgrades(models: Sequence[ListedModel], listed: ModelList, here: Sequence[_Choice]) -> list[Upgrade]:
    """The Macs that are faster or hold a better model than this one, the first few of them."""
    found: list[Upgrade] = []
    for chip, gib in _CANDIDATES:
        other = to_profile(chip, gib)
        there = [choice for model in models if (choice := _choose(other, model, listed)) is not None]
        if not there:
            continue
        faster = _ratio(other, here)
        better = not here or models.index(there[0].listed) < models.index(here[0].listed)
        slower = faster is not None and faster < 1
        if slower or (not better and (faster is None or faster < _WORTHWHILE)):
            continue
        best = f"{there[0].listed.name} {there[0].suiting.header.quantization}"
        name = name_machine(other)
        times = f"{faster:.1f} times as fast, " if faster is not None and faster >= NOTICEABLE else ""
        words = f"{name}: {times}fits {best}"
        found.append(Upgrade(name, faster, best, there[0].suiting.prediction.decode, words))
    if len(found) <= _MOST_UPGRADES:
        return found
    return [found[0], found[len(found) // 2], found[-1]]


def _ratio(other: CapabilityProfile, here: Sequence[_Choice]) -> float | None:
    """How many times as fast another machine is with the best model of this one."""
    for choice in here:
        prediction = choice.suiting.prediction
        if prediction.decode is not None:
            decode = predict_speeds(other, choice.suiting.header, prediction.context)[0]
            return None if decode is None else round(decode.tps / prediction.decode.tps, 2)
    return None


def to_profile(chip: str, gib: int) -> CapabilityProfile:
    """Makes the profile of a Mac with the best GPU of a known chip that is sold with so much memory."""
    bins = [each for each in CHIPS[chip].bins if each.takes(gib * GIB)] or list(CHIPS[chip].bins)
    best = max(bins, key=lambda each: (each.gpu_cores, each.bandwidth_gbs))
    name, source = parse_brand(chip), "table of chips"
    return CapabilityProfile(
        host="",
        system="macOS",
        architecture="arm64",
        chip=Reading(chip, source),
        generation=Reading(name.generation, source) if name is not None and name.generation is not None else None,
        tier=Reading(name.tier, source) if name is not None else None,
        gpu_cores=Reading(best.gpu_cores, source),
        memory_bytes=Reading(gib * GIB, source),
        memory_bandwidth_gbs=Reading(best.bandwidth_gbs, source),
        working_set_bytes=Reading(int(gib * GIB * _WORKING_SET_SHARE), "share of the memory", estimated=True),
    )


def name_machine(profile: CapabilityProfile | None) -> str:
    """Names a machine by chip and memory, as "M4 Max 64 GB"."""
    if profile is None:
        return "this machine"
    memory = profile.memory_bytes
    return profile.tier_name + (f" {round(memory.value / GIB)} GB" if memory is not None else "")
