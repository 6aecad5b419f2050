"""Downloads models from the Hub into the models folder; needs the internet."""

from __future__ import annotations

import asyncio
import itertools
import logging
import shutil
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from .download_job import DownloadJob
from .hub import Hub
from .hub_choice import Rank, choose_file
from .hub_errors import to_download_error
from .reference import Reference, parse_reference
from .threads import start_in_thread

log = logging.getLogger(__name__)

DownloadState = Literal["queued", "checking", "downloading", "done", "failed", "cancelled"]

AT_ONCE = 2
"""How many downloads run side by side; the others are queued."""
LOOK_S = 0.25
"""How often progress is looked at and told."""
RATE_WINDOW_S = 5.0
STOP_TIMEOUT_S = 1.0
"""How long a cancelled download may take to let go of its files before it is left to itself."""


@dataclass(frozen=True, slots=True)
class Download:
    """Where one download stands."""

    id: str
    reference: str
    """What was asked for."""
    repo: str
    file: str | None = None
    """Its path in the repository; of several files that of the first with weights. None until it is chosen."""
    total_bytes: int | None = None
    done_bytes: int = 0
    """On the disk, those of earlier tries too."""
    rate_bytes_per_s: float | None = None
    """Over the last seconds; None while nothing is transferred."""
    state: DownloadState = "queued"
    error: str | None = None
    """Why it failed, in words for the user."""
    started_epoch_s: float | None = None
    """When it was asked for, by the wall clock, for display only."""
    ended_epoch_s: float | None = None
    """When it was over; None until then."""

    @property
    def is_over(self) -> bool:
        """True once it will not go on by itself."""
        return self.state in ("done", "failed", "cancelled")


class _Entry:
    """A download and what drives it."""

    def __init__(self, download: Download, reference: Reference) -> None:
        self.download = download
        self.reference = reference
        self.task: asyncio.Task[None] | None = None
        self.over = asyncio.Event()
        self.same_as: str | None = None
        """The id of the download that turned out to fetch the same file."""
        self.sizes: deque[tuple[float, int]] = deque()
        """When how much was on the disk, over the last seconds."""


class Downloads:
    """Owns every download of a session: an async context manager that ends them with it."""

    def __init__(
        self,
        models_dir: Path,
        *,
        endpoint: str | None = None,
        on_change: Callable[[], None] | None = None,
        rank: Rank = lambda _: 0,
        read_free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        """Touches neither disk nor network.

        Args:
            models_dir: where models go, as `owner/repo/…`.
            endpoint: the Hub; None is huggingface_hub's own choice, which heeds HF_ENDPOINT.
            on_change: called in the loop when a download began, moved on or ended.
            rank: how well a model would be served here, the lowest best; decides where a reference leaves it open. It may
                block.
            read_free_bytes: how much room there is around a folder.
        """
        self._models_dir = models_dir
        self._hub = Hub(endpoint=endpoint, rank=rank)
        self._on_change = on_change or (lambda: None)
        self._read_free_bytes = read_free_bytes
        self._entries: dict[str, _Entry] = {}
        self._ids = itertools.count(1)
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._targets: dict[tuple[str, str], str] = {}
        """Which download fetches which file of which repository now."""

    async def __aenter__(self) -> Self:
        """Opens; nothing is downloaded yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Cancels what still runs; partial files are kept for the next session."""
        tasks = [entry.task for entry in self._entries.values() if entry.task is not None and not entry.task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def pull(self, reference: str) -> Download:
        """Starts to download a model, or joins the download that already does.

        Args:
            reference: `owner/repo`, or that with a quantisation, a format or a file behind it: `owner/repo:Q4_K_M`,
                `owner/repo:onnx`, `owner/repo:file.gguf`.

        Raises:
            DownloadError: the reference is none of these. What goes wrong later is told in the download itself.
        """
        parsed = parse_reference(reference)
        for id_, entry in tuple(self._entries.items()):
            if entry.reference.key == parsed.key and entry.same_as is None:
                if not entry.download.is_over:
                    return entry.download
                del self._entries[id_]
        id_ = f"download-{next(self._ids)}"
        entry = _Entry(Download(id=id_, reference=reference, repo=parsed.repo, started_epoch_s=time.time()), parsed)
        self._entries[id_] = entry
        entry.task = asyncio.create_task(self._run(entry), name=f"{id_} {reference}")
        entry.task.add_done_callback(lambda _: self._ended(entry))
        self._on_change()
        return entry.download

    def all(self) -> tuple[Download, ...]:
        """The downloads of this session, oldest first; of tries at the same thing only the last."""
        return tuple(entry.download for entry in self._entries.values() if entry.same_as is None)

    def get(self, download_id: str) -> Download | None:
        """Gives a download as it stands now; None where there is none by this id."""
        entry = self._find(download_id)
        return entry.download if entry is not None else None

    def cancel(self, download_id: str) -> None:
        """Ends a download; what came so far is kept for the next try."""
        entry = self._find(download_id)
        if entry is not None and entry.task is not None:
            entry.task.cancel()

    async def wait(self, download_id: str) -> Download:
        """Waits until a download is over; raises KeyError where there is none by this id."""
        entry = self._entries[download_id]
        await entry.over.wait()
        if entry.same_as is not None:
            return await self.wait(entry.same_as)
        return entry.download

    def _find(self, download_id: str) -> _Entry | None:
        entry = self._entries.get(download_id)
        while entry is not None and entry.same_as is not None:
            entry = self._entries.get(entry.same_as)
        return entry

    async def _run(self, entry: _Entry) -> None:
        """Takes a download from its start to its end; only a cancel comes out of it."""
        job: DownloadJob | None = None
        target: tuple[str, str] | None = None
        try:
            async with self._slots:
                self._change(entry, state="checking")
                listing = await self._hub.listing(entry.reference.repo)
                # To rank is to look which engines are installed.
                file = await asyncio.to_thread(choose_file, listing, entry.reference.wanted, self._hub.rank)
                if (other := self._targets.get((listing.repo, file.name))) is not None:
                    entry.same_as = other
                    return
                target = (listing.repo, file.name)
                self._targets[target] = entry.download.id
                self._change(entry, repo=listing.repo, file=file.name, total_bytes=file.size_bytes)
                job = DownloadJob(
                    self._models_dir, listing, file, endpoint=self._hub.endpoint, read_free_bytes=self._read_free_bytes
                )
                await self._follow(entry, job)
            self._change(entry, state="done", done_bytes=job.done_bytes, rate_bytes_per_s=None)
        except asyncio.CancelledError:
            placed = job is not None and job.placed
            self._change(entry, state="done" if placed else "cancelled", rate_bytes_per_s=None)
            raise
        except Exception as error:  # whatever it was, the user reads it in the list of downloads
            failure = to_download_error(error, repo=entry.reference.repo, endpoint=self._hub.endpoint)
            log.warning("%s: %s", entry.download.reference, failure.message)
            self._change(entry, state="failed", error=failure.message, rate_bytes_per_s=None)
        finally:
            if target is not None:
                del self._targets[target]

    def _ended(self, entry: _Entry) -> None:
        if not entry.download.is_over and entry.same_as is None:
            # Cancelled before its task came to its first step.
            entry.download = replace(entry.download, state="cancelled")
        entry.over.set()
        self._on_change()

    async def _follow(self, entry: _Entry, job: DownloadJob) -> None:
        """Runs the blocking half and tells its progress; a cancel stops it."""
        running = start_in_thread(job.run, name=entry.download.id)
        # Looked at here, as nobody awaits a job that did not stop in time.
        running.add_done_callback(lambda future: future.cancelled() or future.exception())
        try:
            while not running.done():
                await asyncio.wait([running], timeout=LOOK_S)
                self._note(entry, job)
        except asyncio.CancelledError:
            job.switch.stop()
            await asyncio.wait([running], timeout=STOP_TIMEOUT_S)
            raise
        running.result()

    def _note(self, entry: _Entry, job: DownloadJob) -> None:
        now, done_bytes = time.monotonic(), job.done_bytes
        if job.checking:
            entry.sizes.clear()
        entry.sizes.append((now, done_bytes))
        while entry.sizes[0][0] < now - RATE_WINDOW_S:
            entry.sizes.popleft()
        first_s, first_bytes = entry.sizes[0]
        rate = (done_bytes - first_bytes) / (now - first_s) if now > first_s else None
        self._change(
            entry,
            state="checking" if job.checking else "downloading",
            total_bytes=job.total_bytes,
            done_bytes=done_bytes,
            rate_bytes_per_s=rate,
        )

    def _change(self, entry: _Entry, **fields: object) -> None:
        changed = replace(entry.download, **fields)  # pyright: ignore[reportArgumentType] - the callers stand above
        if changed != entry.download:
            entry.download = replace(changed, ended_epoch_s=time.time()) if changed.is_over else changed
            self._on_change()
