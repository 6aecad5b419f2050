"""Says which of the models that a search on the Hub finds suit a machine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from ...hw.profile import CapabilityProfile
from ..errors import DownloadError
from ..formats.header import Header
from ..models.hub import Hub
from ..models.hub_header import read_remote_header
from ..models.offer import HubFile
from .predict import Prediction, predict
from .recommend import LEAST_CONTEXT, LEAST_TPS, PLEASANT_TPS, Recommendation

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


async def recommend_search(hub: Hub, profile: CapabilityProfile | None, words: str) -> Found:
    """Searches, reads the beginning of a model of each repository, and keeps what suits; raises DownloadError."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def look(repo: str) -> Recommendation | str:
        async with gate:
            try:
                files = await hub.files(repo)
                header = await asyncio.to_thread(read_remote_header, repo, endpoint=hub.endpoint, rank=hub.rank)
            except DownloadError as error:
                return error.message
        return choose_offer(profile, repo, files, header)

    repos = [model.repo for model in await hub.search(words, limit=MOST_REPOSITORIES)]
    looked = await asyncio.gather(*(look(repo) for repo in repos))
    notes = [one for one in looked if isinstance(one, str)]
    if not repos:
        notes.append(f"the Hub finds nothing for '{words}'")
    return Found(tuple(one for one in looked if isinstance(one, Recommendation)), tuple(notes))


def choose_offer(
    profile: CapabilityProfile | None, repo: str, files: Sequence[HubFile], header: Header
) -> Recommendation | str:
    """Takes the largest of a repository's models that writes pleasantly fast, else the fastest that is bearable.

    Args:
        profile: the machine.
        repo: as "owner/name".
        files: what it offers.
        header: of one of them; the others differ from it by their sizes.

    Returns:
        The recommendation, or why there is none.
    """
    alike = [file for file in files if file.format == header.format and file.size_bytes]
    fitting: list[tuple[HubFile, Prediction]] = []
    for file in sorted(alike, key=lambda file: -(file.size_bytes or 0)):
        prediction = predict(profile, _resize(header, file), min(LEAST_CONTEXT, header.context_length or LEAST_CONTEXT))
        if prediction.fits is True:
            fitting.append((file, prediction))
    if not fitting:
        return f"{repo}: nothing of it fits with {LEAST_CONTEXT:,} tokens of context"
    speeds = [prediction.decode for _, prediction in fitting]
    pleasant = [at for at, speed in enumerate(speeds) if speed is None or speed.tps >= PLEASANT_TPS]
    at = pleasant[0] if pleasant else len(fitting) - 1
    file, prediction = fitting[at]
    if prediction.decode is not None and prediction.decode.tps < LEAST_TPS:
        return f"{repo}: it would write {prediction.decode.tps:.1f} tokens a second at most"
    return Recommendation(
        model=repo,
        quantization=file.quantization or file.format,
        pull=f"{repo}:{file.quantization}" if file.quantization else repo,
        tasks=["embed"] if header.ability == "embedding" else [],
        abilities=["fill"] if header.fills_gaps else [],
        parameters=header.parameters or 0,
        size_bytes=file.size_bytes or 0,
        memory_bytes=prediction.memory_bytes,
        longest_context=prediction.longest_context,
        decode=prediction.decode,
        prefill=prediction.prefill,
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
