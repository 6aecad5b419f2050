"""The blocking half of a download: room, transfer, check, and the one step that makes it a model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import DownloadError
from .hub import read_metadata
from .offer import HubFile, Listing, RemoteFile
from .stores import PARTIAL_DIR, PLACING_SUFFIX
from .transfer import Source, StopSwitch, fetch, verify

GB = 10**9
MARGIN_BYTES = GB
MARGIN_SHARE = 0.05
"""Of what is downloaded; the larger of both margins stays free on the disk."""


@dataclass(frozen=True, slots=True)
class _Part:
    source: Source
    partial: Path
    """Where it grows."""
    target: Path
    """Where it belongs."""


class DownloadJob:
    """Brings one model into the models folder; `run` blocks, the rest may be read from any thread."""

    def __init__(
        self,
        models_dir: Path,
        listing: Listing,
        file: HubFile,
        *,
        endpoint: str | None,
        read_free_bytes: Callable[[Path], int],
    ) -> None:
        self._models_dir = models_dir
        self._listing = listing
        self._file = file
        self._endpoint = endpoint
        self._read_free_bytes = read_free_bytes
        self.switch = StopSwitch()
        self.total_bytes = file.size_bytes
        self.done_bytes = 0
        """On the disk so far."""
        self.checking = True
        """True while no bytes are awaited: before the transfer, and while its result is verified."""
        self.placed = False
        """True once the model is where the registry finds it."""

    def run(self) -> None:
        """Downloads what is missing, verifies it and puts it in its place.

        Raises:
            Stopped: the switch was used.
            DownloadError: no room, or not what the Hub announced.
            Exception: from huggingface_hub, its client or the disk; partial files are kept.
        """
        parts = [self._prepare(file) for file in self._file.parts]
        self.total_bytes = sum(part.source.size_bytes for part in parts)
        self._drop_stale(parts)
        waiting = [
            part for part in parts if not (part.target.is_file() and verify(part.source, part.target, switch=self.switch))
        ]
        self.done_bytes = self.total_bytes - sum(part.source.size_bytes for part in waiting)
        self._make_sure_of_room(waiting)
        for part in waiting:
            self._fetch(part)
        self._place(waiting)
        self.placed = True
        self._drop_empty_folders()

    def _place(self, waiting: list[_Part]) -> None:
        """Puts files where they belong; a mark keeps the folder from being taken for a model before the last one is there."""
        mark = self._partial_dir / f"{self._tag}{PLACING_SUFFIX}" if self._tag else None
        if mark is not None and waiting:
            mark.touch()
        # What makes it a model comes last: the first shard, the config or the graph.
        for part in reversed(waiting):
            part.target.parent.mkdir(parents=True, exist_ok=True)
            part.partial.replace(part.target)
        if mark is not None:
            # Also where nothing was waiting: an earlier pull may have ended just before it took its mark away.
            mark.unlink(missing_ok=True)

    @property
    def _tag(self) -> str:
        """Tells one model's files from those of another of the same repository, where both need the same; "" for GGUF."""
        if self._file.format == "gguf":
            return ""
        return f"{self._file.format}-{self._file.name.replace('/', '--')}"

    @property
    def _partial_dir(self) -> Path:
        return self._models_dir / PARTIAL_DIR / self._listing.repo

    def _prepare(self, file: RemoteFile) -> _Part:
        repo, commit = self._listing.repo, self._listing.commit
        names = PurePosixPath(file.path)
        if names.is_absolute() or any(name.startswith(".") or "\\" in name for name in (*repo.split("/"), *names.parts)):
            raise DownloadError(f"'{repo}' has a file with a name that is not safe here: {file.path!r}.")
        self.switch.check()
        if file.size_bytes is None:
            file = read_metadata(repo, commit, file, endpoint=self._endpoint)
        if file.size_bytes is None:
            raise DownloadError(f"The Hub does not say how large {file.path} is, so it cannot be downloaded safely.")
        from huggingface_hub import hf_hub_url

        url = hf_hub_url(repo, file.path, revision=commit, endpoint=self._endpoint)
        identity = (file.sha256 or file.blob_id or commit)[:16]
        partial = self._partial_dir / self._tag / f"{file.path.replace('/', '--')}.{identity}.part"
        source = Source(url, file.size_bytes, file.sha256, file.blob_id)
        return _Part(source, partial, self._models_dir / repo / file.path)

    def _drop_stale(self, parts: list[_Part]) -> None:
        """Removes what an earlier version of the same files left half-done."""
        for part in parts:
            stem = part.partial.name.removesuffix(".part").rpartition(".")[0]
            for other in part.partial.parent.glob("*.part"):
                if other != part.partial and other.name.removesuffix(".part").rpartition(".")[0] == stem:
                    other.unlink(missing_ok=True)

    def _make_sure_of_room(self, parts: list[_Part]) -> None:
        needed = sum(part.source.size_bytes - min(_size(part.partial), part.source.size_bytes) for part in parts)
        if not needed:
            return
        self._models_dir.mkdir(parents=True, exist_ok=True)
        margin = max(MARGIN_BYTES, int(needed * MARGIN_SHARE))
        free = self._read_free_bytes(self._models_dir)
        if needed + margin > free:
            raise DownloadError(
                f"There is no room for {self._file.name}: it needs {needed / GB:.1f} GB and {margin / GB:.1f} GB should stay "
                f"free, but {self._models_dir} has {free / GB:.1f} GB left. Free some space, or choose a smaller quantisation."
            )

    def _fetch(self, part: _Part) -> None:
        before = self.done_bytes

        def note(size: int) -> None:
            self.done_bytes = before + size
            self.checking = False

        fetch(part.source, part.partial, switch=self.switch, on_size=note)
        self.checking = True
        if not verify(part.source, part.partial, switch=self.switch):
            part.partial.unlink(missing_ok=True)
            raise DownloadError(f"{part.target.name} arrived damaged: its checksum is not the Hub's. Pull it again.")

    def _drop_empty_folders(self) -> None:
        with suppress(OSError):
            if self._tag:
                (self._partial_dir / self._tag).rmdir()
            for folder in (self._partial_dir, self._partial_dir.parent, self._partial_dir.parent.parent):
                folder.rmdir()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
