"""Says which of the models that a search on the Hub finds suit a machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from ...hw.profile import CapabilityProfile
from ..errors import DownloadError
from ..formats.header import Header
from ..models.hub import Hub
from ..models.hub_header import read_remote_header
from ..models.offer import HubFile, Listing
from ..models.recommended import Task
from .recommend import Recommendation, Recommendations, name_machine, to_recommendation
from .suiting import choose_suiting

MOST_REPOSITORIES: Final = 8
"""So many of the most downloaded ones are looked at: each takes two or three requests."""
_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Found:
    """What a search brought."""

    models: tuple[Recommendation, ...]
    """Those that suit, the most downloaded first."""
    notes: tuple[str, ...]
    """Why others do not, or could not be told."""


async def recommend_found(
    hub: Hub, profile: CapabilityProfile | None, words: str, task: Task | None = None, *, models_percent: float = 0.0
) -> Recommendations:
    """Recommends from what the Hub finds for some words.

    Args:
        hub: where they are searched.
        profile: the machine; without one nothing is asked.
        words: what to look for.
        task: what for; None is for any. Only models for embeddings are known by their headers, so all others chat and code.
        models_percent: what the settings give to models; 0 leaves it to the machine.

    Raises:
        DownloadError: the Hub does not answer.
    """
    found = Found((), ("this machine has not been looked at yet",))
    if profile is not None:
        found = await recommend_search(hub, profile, words, models_percent=models_percent)
    models = [model for model in found.models if task is None or ("embed" in model.tasks) == (task == "embed")]
    notes = [*found.notes, *(f"{model.model}: not for {task}" for model in found.models if model not in models)]
    return Recommendations(time.strftime("%Y-%m-%d"), name_machine(profile), task, models, [], notes, "the Hub on")


async def recommend_search(hub: Hub, profile: CapabilityProfile | None, words: str, *, models_percent: float = 0.0) -> Found:
    """Searches, reads the beginning of a model of each repository, and keeps what suits; raises DownloadError."""
    gate = asyncio.Semaphore(_AT_ONCE)

    def choose(repo: str, listing: Listing) -> Recommendation | str:
        header = read_remote_header(repo, endpoint=hub.endpoint, rank=hub.rank, listing=listing)
        return choose_offer(profile, repo, listing.files, header, models_percent=models_percent)

    async def look(repo: str) -> Recommendation | str:
        async with gate:
            try:
                return await asyncio.to_thread(choose, repo, await hub.listing(repo))
            except DownloadError as error:
                return error.message

    repos = [model.repo for model in await hub.search(words, limit=MOST_REPOSITORIES)]
    looked = await asyncio.gather(*(look(repo) for repo in repos))
    notes = [one for one in looked if isinstance(one, str)]
    if not repos:
        notes.append(f"the Hub finds nothing for '{words}'")
    return Found(tuple(one for one in looked if isinstance(one, Recommendation)), tuple(notes))


def choose_offer(
    profile: CapabilityProfile | None, repo: str, files: Sequence[HubFile], header: Header, *, models_percent: float = 0.0
) -> Recommendation | str:
    """Takes the largest of a repository's models that writes pleasantly fast, else the fastest that is bearable.

    Args:
        profile: the machine.
        repo: as "owner/name".
        files: what it offers.
        header: of one of them; the others differ from it by their sizes.
        models_percent: what the settings give to models; 0 leaves it to the machine.

    Returns:
        The recommendation, or why there is none.
    """
    alike = [file for file in files if file.format == header.format and file.size_bytes]
    largest_first = sorted(alike, key=lambda file: -(file.size_bytes or 0))
    headers = (_resize(header, file) for file in largest_first)
    suiting = choose_suiting(profile, headers, models_percent=models_percent)
    if isinstance(suiting, str):
        return f"{repo}: {suiting}"
    return to_recommendation(
        suiting,
        model=repo,
        pull=f"{repo}:{suiting.header.quantization}" if suiting.header.quantization else repo,
        tasks=["embed"] if header.ability == "embedding" else [],
        abilities=["fill"] if header.fills_gaps else [],
    )


def _resize(header: Header, file: HubFile) -> Header:
    """The header of another quantisation of the same model: its weights are larger or smaller by the files' ratio."""
    size = file.size_bytes or 0
    share = size / header.size_bytes if header.size_bytes else 1.0
    active = header.active
    return replace(
        header,
        size_bytes=size,
        quantization=file.quantization,
        active=None if active is None else replace(active, size_bytes=int(active.size_bytes * share)),
    )
