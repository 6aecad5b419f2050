"""Says what suits this machine, and which of that is on its disk already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from ...hw.profile import CapabilityProfile
from ..models.model import Model
from ..models.quantization import same_quantization
from ..models.recommended import Task
from ..models.variants import base_name, base_names
from .recommend import OnDisk, Recommendation, Recommendations, recommend


def recommend_here(
    models: Iterable[Model], profile: CapabilityProfile | None, task: Task | None, *, models_percent: float
) -> Recommendations:
    """Recommends models of the shipped list; takes about a tenth of a second, and the first call reads the list.

    Args:
        models: what lies on the disk.
        profile: the machine; None while it has not been read.
        task: what for; None is for any.
        models_percent: what the settings give to models here; 0 leaves it to the machine.
    """
    return mark_on_disk(recommend(profile, task, models_percent=models_percent), models)


def mark_on_disk(found: Recommendations, models: Iterable[Model]) -> Recommendations:
    """Says of each recommended model which copy of it is on the disk: the recommended one, else the best of the others."""
    servable = [model for model in models if model.problem is None]
    marked = [msgspec.structs.replace(each, on_disk=_find_copy(each, servable)) for each in found.models]
    return msgspec.structs.replace(found, models=marked)


def _find_copy(wanted: Recommendation, models: Sequence[Model]) -> OnDisk | None:
    """Finds a model by the repository it is from or by what it is called."""
    repo, name = wanted.pull.partition(":")[0].casefold(), base_name(wanted.model).casefold()
    copies = [model for model in models if (model.repo or "").casefold() == repo or name in base_names(model.id)]
    suiting = [model for model in copies if same_quantization(model.header.quantization, wanted.quantization)]
    best = next(iter(suiting or copies), None)
    return None if best is None else OnDisk(best.id, best.header.quantization, bool(suiting))
