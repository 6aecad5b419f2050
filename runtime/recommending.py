"""Recommends models while a runtime is open: of the shipped list, or of what the Hub finds.

Apart from the runtime and imported late, as a start should not pay for what is asked rarely.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..hw.profile import CapabilityProfile
from .models.hub import Hub
from .models.model import Model

if TYPE_CHECKING:
    from .models.recommended import Task
    from .tuning.recommend import Recommendations


async def recommend_models(
    hub: Hub,
    models: Iterable[Model],
    profile: CapabilityProfile | None,
    task: Task | None,
    search: str | None,
    *,
    models_percent: float,
) -> Recommendations:
    """Says which models suit a machine; asks the internet only where there are words to search for.

    Args:
        hub: where they are searched.
        models: what lies on the disk.
        profile: the machine; None while it has not been read.
        task: what for; None is for any.
        search: what to look for on the Hub; None is for the shipped list.
        models_percent: what the settings give to models here; 0 leaves it to the machine.

    Raises:
        DownloadError: the Hub does not answer.
    """
    if search is None:
        return await asyncio.to_thread(_recommend_listed, models, profile, task, models_percent)
    recommend_found, mark_on_disk = await asyncio.to_thread(_prepare_search)
    found = await recommend_found(hub, profile, search, task, models_percent=models_percent)
    return await asyncio.to_thread(mark_on_disk, found, models)


def _recommend_listed(
    models: Iterable[Model], profile: CapabilityProfile | None, task: Task | None, models_percent: float
) -> Recommendations:
    from .tuning.recommend_here import recommend_here

    return recommend_here(models, profile, task, models_percent=models_percent)


def _prepare_search():
    """Imports what a search takes, in a thread: that reads files."""
    from .tuning.recommend_here import mark_on_disk
    from .tuning.recommend_search import recommend_found

    return recommend_found, mark_on_disk
