"""Searches the Hugging Face Hub and lists what a repository there holds; needs the internet."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from ..errors import DownloadError
from ..formats.gguf import SHARD_NAME
from .hub_errors import to_download_error
from .quantization import find_quantization, preference
from .threads import start_in_thread

T = TypeVar("T")

ANSWER_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 8.0
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NOT_MODELS = re.compile(r"(^|[-_./])(mmproj|imatrix)([-_.]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HubModel:
    """One repository a search found."""

    repo: str
    """As "owner/name"."""
    downloads: int | None
    """In the last month."""
    likes: int | None
    updated: datetime | None
    quantizations: tuple[str, ...]
    """Which ones it offers, as far as its files' names say, the ones we would take first."""
    gated: bool
    """True where its owner wants something accepted first."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a repository."""

    path: str
    """In the repository."""
    size_bytes: int | None
    sha256: str | None
    """None where the Hub does not state it."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """One model of a repository that can be pulled: a file, or a set of shards."""

    name: str
    """Its path in the repository; of a set of shards that of the first."""
    size_bytes: int | None
    """Of all shards together."""
    quantization: str | None
    parts: tuple[RemoteFile, ...]

    @property
    def shards(self) -> int:
        """How many files it has."""
        return len(self.parts)


@dataclass(frozen=True, slots=True)
class Listing:
    """What a repository holds at one commit."""

    repo: str
    """As the Hub writes it."""
    commit: str
    files: tuple[HubFile, ...]


class Hub:
    """The Hub, asked through huggingface_hub with the user's own login."""

    def __init__(self, *, endpoint: str | None = None) -> None:
        self.endpoint = endpoint
        """None is huggingface_hub's own choice, which heeds HF_ENDPOINT."""

    async def search(self, query: str, *, limit: int = 30) -> list[HubModel]:
        """Finds repositories with GGUF models, the most downloaded first; raises DownloadError."""
        return await self._ask(lambda: self._search(query, limit), repo=None)

    async def files(self, repo: str) -> list[HubFile]:
        """Lists the models in a repository, the one we would take first; raises DownloadError."""
        listing = await self._ask(lambda: self.read_listing(repo), repo=repo)
        return sorted(listing.files, key=lambda file: (preference(file.quantization), file.size_bytes or 0, file.name))

    async def listing(self, repo: str) -> Listing:
        """Reads what a repository holds now; raises DownloadError."""
        return await self._ask(lambda: self.read_listing(repo), repo=repo)

    def read_listing(self, repo: str) -> Listing:
        """Asks for a repository's files; blocks, and raises what huggingface_hub raises."""
        # Imported here, as a start without downloads should not pay for it.
        from huggingface_hub import HfApi

        info = HfApi(endpoint=self.endpoint).model_info(repo, files_metadata=True, timeout=ANSWER_TIMEOUT_S)
        files = [
            RemoteFile(sibling.rfilename, sibling.size, str(sibling.lfs.sha256) if sibling.lfs is not None else None)  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
            for sibling in info.siblings or ()
        ]
        return Listing(info.id, info.sha or "main", group_shards(files))

    def _search(self, query: str, limit: int) -> list[HubModel]:
        from huggingface_hub import HfApi, constants, get_session

        # The search tries again for half a minute where there is no network; one look tells that at once.
        get_session().head(self.endpoint or constants.ENDPOINT, timeout=CONNECT_TIMEOUT_S, follow_redirects=False)
        found = HfApi(endpoint=self.endpoint).list_models(
            search=query or None, filter="gguf", sort="downloads", limit=limit, full=True
        )
        return [
            HubModel(
                repo=info.id,
                downloads=info.downloads,
                likes=info.likes,
                updated=info.last_modified,
                quantizations=_quantizations([sibling.rfilename for sibling in info.siblings or ()]),
                gated=bool(info.gated),
            )
            for info in found
        ]

    async def _ask(self, work: Callable[[], T], *, repo: str | None) -> T:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await start_in_thread(work, name=f"hub {repo or 'search'}")
        except Exception as error:
            raise to_download_error(error, repo=repo, endpoint=self.endpoint) from error


def group_shards(files: Sequence[RemoteFile]) -> tuple[HubFile, ...]:
    """Makes models of a repository's files: GGUF only, each set of shards as one, and only whole sets."""
    models: dict[str, list[RemoteFile]] = {}
    counts: dict[str, int] = {}
    for file in sorted(files, key=lambda file: file.path):
        if not file.path.lower().endswith(".gguf") or _NOT_MODELS.search(file.path):
            continue
        shard = SHARD_NAME.fullmatch(file.path)
        key = f"{shard['stem']}/{shard['count']}" if shard else file.path
        models.setdefault(key, []).append(file)
        counts[key] = int(shard["count"]) if shard else 1
    return tuple(
        HubFile(
            name=parts[0].path,
            size_bytes=_sum([part.size_bytes for part in parts]),
            quantization=find_quantization(parts[0].path),
            parts=tuple(parts),
        )
        for key, parts in models.items()
        if len(parts) == counts[key]
    )


def choose_file(listing: Listing, wanted: str | None) -> HubFile:
    """Finds the model a reference means.

    Args:
        listing: what there is.
        wanted: a file's name or path, a quantisation, or None for the best bargain.

    Raises:
        DownloadError: there is no such one; says what there is.
    """
    files = listing.files
    if not files:
        raise DownloadError(f"'{listing.repo}' has no GGUF model, and other formats cannot be pulled yet.")
    if wanted is None:
        return min(files, key=lambda file: (preference(file.quantization), file.size_bytes or 0, file.name))
    low = wanted.lower()
    for same in (
        [file for file in files if any(part.path.lower() == low for part in file.parts)],
        [file for file in files if any(part.path.lower().rpartition("/")[2] in (low, f"{low}.gguf") for part in file.parts)],
        [file for file in files if (file.quantization or "").lower() == low],
        # "Q4_K_XL" means "UD-Q4_K_XL" where that is the only one.
        [file for file in files if (file.quantization or "").lower() == f"ud-{low}"],
    ):
        if same:
            return min(same, key=lambda file: (file.size_bytes or 0, file.name))
    have = _quantizations([file.name for file in files])
    there = f"Quantisations there: {', '.join(have)}." if have else f"Files there: {', '.join(file.name for file in files)}."
    raise DownloadError(f"'{listing.repo}' has no file or quantisation '{wanted}'. {there}")


def read_metadata(repo: str, commit: str, file: RemoteFile, *, endpoint: str | None) -> RemoteFile:
    """Asks for what a listing left out of a file, its size and checksum; blocks, and raises what huggingface_hub raises."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url  # pyright: ignore[reportUnknownVariableType]

    url = hf_hub_url(repo, file.path, revision=commit, endpoint=endpoint)
    metadata = get_hf_file_metadata(url, endpoint=endpoint)
    # Of large files the tag is their checksum; of small ones it is git's.
    tag = metadata.etag if metadata.etag and _SHA256.fullmatch(metadata.etag) else None
    return RemoteFile(file.path, metadata.size, file.sha256 or tag)


def _sum(sizes: Sequence[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def _quantizations(names: Sequence[str]) -> tuple[str, ...]:
    found = {find_quantization(name) for name in names if name.lower().endswith(".gguf") and not _NOT_MODELS.search(name)}
    return tuple(sorted((name for name in found if name), key=lambda name: (preference(name), name)))
