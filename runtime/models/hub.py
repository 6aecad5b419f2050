"""Searches the Hugging Face Hub and lists what a repository there holds; needs the internet."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar, cast

from ..formats.folder import VECTOR_TAGS, tell_ability
from ..formats.header import Format
from .hub_choice import Rank, sort_files
from .hub_errors import to_download_error
from .offer import Facts, HubFile, Listing, RemoteFile
from .quantization import find_quantization, preference
from .repository import explain_nothing, find_models
from .threads import start_in_thread

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

T = TypeVar("T")

ANSWER_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 8.0
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BITS = re.compile(r"(?<![a-z0-9])([2-8])[-_]?bits?(?![a-z0-9])", re.IGNORECASE)
_SERVED = frozenset({
    None, "text-generation", "image-text-to-text", "any-to-any", "feature-extraction", "sentence-similarity", "text-ranking",
})  # fmt: skip
"""What the Hub says models do that are served here; of many it says nothing."""
_LOOKED_THROUGH = 4
"""So many times as many as are wanted are asked for, as others are among them."""


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
    formats: tuple[Format, ...] = ()
    """Which formats it has whole models in."""


class Hub:
    """The Hub, asked through huggingface_hub with the user's own login."""

    def __init__(self, *, endpoint: str | None = None, rank: Rank = lambda _: 0) -> None:
        self.endpoint = endpoint
        """None is huggingface_hub's own choice, which heeds HF_ENDPOINT."""
        self.rank = rank
        """How well a model would be served here; the lowest is the best. It may block."""

    async def search(self, query: str, *, limit: int = 30) -> list[HubModel]:
        """Finds repositories with models in a format that is served, the most downloaded first; raises DownloadError."""
        return await self._ask(lambda: self._search(query, limit), repo=None)

    async def files(self, repo: str) -> list[HubFile]:
        """Lists the models in a repository, the one we would take first; raises DownloadError."""
        return await self._ask(lambda: sort_files(self.read_listing(repo).files, self.rank), repo=repo)

    async def listing(self, repo: str) -> Listing:
        """Reads what a repository holds now; raises DownloadError."""
        return await self._ask(lambda: self.read_listing(repo), repo=repo)

    def read_listing(self, repo: str) -> Listing:
        """Asks for a repository's files; blocks, and raises what huggingface_hub raises."""
        # Imported here, as a start without downloads should not pay for it.
        from huggingface_hub import HfApi

        info = HfApi(endpoint=self.endpoint).model_info(repo, files_metadata=True, timeout=ANSWER_TIMEOUT_S)
        files = _remote_files(info)
        models = find_models(files, _facts(info))
        return Listing(info.id, info.sha or "main", models, None if models else explain_nothing(files))

    def _search(self, query: str, limit: int) -> list[HubModel]:
        from huggingface_hub import HfApi, constants, get_session

        # The search tries again for half a minute where there is no network; one look tells that at once.
        get_session().head(self.endpoint or constants.ENDPOINT, timeout=CONNECT_TIMEOUT_S, follow_redirects=False)
        found = HfApi(endpoint=self.endpoint).list_models(
            search=query or None, sort="downloads", limit=limit * _LOOKED_THROUGH, full=True
        )
        offers = [(info, find_models(_remote_files(info), _facts(info))) for info in found if info.pipeline_tag in _SERVED]
        return [
            HubModel(
                repo=info.id,
                downloads=info.downloads,
                likes=info.likes,
                updated=info.last_modified,
                quantizations=_quantizations(models),
                gated=bool(info.gated),
                formats=tuple(dict.fromkeys(model.format for model in sort_files(models, self.rank))),
            )
            for info, models in offers
            if models
        ][:limit]

    async def _ask(self, work: Callable[[], T], *, repo: str | None) -> T:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await start_in_thread(work, name=f"hub {repo or 'search'}")
        except Exception as error:
            raise to_download_error(error, repo=repo, endpoint=self.endpoint) from error


def read_metadata(repo: str, commit: str, file: RemoteFile, *, endpoint: str | None) -> RemoteFile:
    """Asks for what a listing left out of a file, its size and checksum; blocks, and raises what huggingface_hub raises."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url  # pyright: ignore[reportUnknownVariableType]

    url = hf_hub_url(repo, file.path, revision=commit, endpoint=endpoint)
    metadata = get_hf_file_metadata(url, endpoint=endpoint)
    # Of large files the tag is their checksum; of small ones it is git's.
    tag = metadata.etag if metadata.etag and _SHA256.fullmatch(metadata.etag) else None
    return RemoteFile(file.path, metadata.size, file.sha256 or tag, file.blob_id)


def _remote_files(info: ModelInfo) -> list[RemoteFile]:
    return [
        RemoteFile(
            sibling.rfilename,
            sibling.size,
            _checksum(sibling.lfs),
            # Of a large file that is the name of a pointer to it.
            sibling.blob_id if sibling.lfs is None else None,
        )
        for sibling in info.siblings or ()
    ]


def _checksum(lfs: object) -> str | None:
    """The checksum of a large file; huggingface_hub leaves open of what type it is."""
    checksum: object = getattr(lfs, "sha256", None)
    return None if checksum is None else str(checksum)


def _facts(info: ModelInfo) -> Facts:
    """Gathers what the Hub read out of a repository's files."""
    config = cast("Mapping[str, object]", info.config or {})
    kind = config.get("model_type") or cast("Mapping[str, object]", info.gguf or {}).get("architecture")
    is_mlx = info.library_name == "mlx" or "mlx" in (info.tags or ())
    has_stages = any(sibling.rfilename == "modules.json" for sibling in info.siblings or ())
    # As the folder will say once it is here.
    has_stages = has_stages or (is_mlx and not VECTOR_TAGS.isdisjoint(info.tags or ()))
    return Facts(
        architecture=kind if isinstance(kind, str) else None,
        library="mlx" if is_mlx else info.library_name,
        quantization=_stored_as(info, config),
        ability=tell_ability(config, has_stages=has_stages),
    )


def _stored_as(info: ModelInfo, config: Mapping[str, object]) -> str | None:
    """Says how a repository's weights are stored: as its config or its name says, else the type of most of its numbers."""
    stated = config.get("quantization_config") or config.get("quantization")
    if isinstance(stated, dict):
        facts = cast("dict[str, object]", stated)
        method, bits = facts.get("quant_method"), facts.get("bits")
        if isinstance(method, str):
            return method.upper()
        if isinstance(bits, int):
            return f"{bits}-bit"
    if (bits_named := _BITS.search(info.id.rpartition("/")[2])) is not None:
        return f"{bits_named[1]}-bit"
    counts = info.safetensors.parameters if info.safetensors is not None else {}
    return max(counts, key=lambda kind: counts[kind]) if counts else find_quantization(info.id)


def _quantizations(models: Sequence[HubFile]) -> tuple[str, ...]:
    found = {model.quantization for model in models if model.quantization}
    return tuple(sorted(found, key=lambda name: (preference(name), name)))
