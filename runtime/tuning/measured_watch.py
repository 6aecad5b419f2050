"""Listens to the journal for requests that tell how fast a model is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from ..journal import ENDED, Journal, RequestRecord
from ..models.model import ModelStatus
from .measured import Run
from .speeds import KnownSpeeds

LEAST_DECODE_TOKENS: Final = 16
LEAST_PREFILL_TOKENS: Final = 256
"""Shorter prompts tell of what a step costs besides."""
MOST_GUESSED_SHARE: Final = 0.1
"""Runs of which more tokens were guessed ahead tell of the text, not of the machine."""


class SpeedWatch:
    """Lives as long as its journal is written; the file is read once at the start."""

    def __init__(self, speeds: KnownSpeeds, journal: Journal, find: Callable[[str], ModelStatus | None]) -> None:
        """Puts it together without touching the disk.

        Args:
            speeds: where runs go.
            journal: what is listened to.
            find: gives a model's status by its id.
        """
        self._speeds = speeds
        self._journal = journal
        self._find = find
        self._alone: dict[str, bool] = {}
        """The running requests by id, and whether each was alone all the time."""
        self._writes: set[asyncio.Future[None]] = set()
        self._stop: Callable[[], None] | None = None

    async def __aenter__(self) -> Self:
        """Reads what is known and begins to listen."""
        await asyncio.to_thread(self._speeds.read)
        self._stop = self._journal.listen(self._heard)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stops listening and waits for what is being written."""
        if self._stop is not None:
            self._stop()
        if self._writes:
            await asyncio.wait(self._writes)

    def _heard(self, record: RequestRecord) -> None:
        """Looks at a request that moved on; those that share the machine with others tell nothing."""
        if record.stage not in ENDED:
            if record.stage in ("prefill", "decode"):
                self._alone.setdefault(record.id, True)
            if len(self._alone) > 1:
                self._alone = dict.fromkeys(self._alone, False)
            return
        if not self._alone.pop(record.id, False) or record.stage != "done":
            return
        status = self._find(record.model)
        run = to_run(record)
        if status is None or status.engine is None or status.model.header.format == "echo" or run is None:
            return
        write = asyncio.ensure_future(asyncio.to_thread(self._speeds.note, self._speeds.key(status), run))
        self._writes.add(write)
        write.add_done_callback(self._writes.discard)


def to_run(record: RequestRecord) -> Run | None:
    """Takes from a request what it tells of the speed; None where it is too short for that."""
    decode_tps = record.decode_tps if record.completion_tokens >= LEAST_DECODE_TOKENS else None
    if (record.accepted_tokens or 0) > MOST_GUESSED_SHARE * record.completion_tokens:
        decode_tps = None
    prefill_tps, computed = None, 0
    if record.prefix is not None and record.ttft_s is not None and record.load_s is not None:
        computed = record.prefix.computed_tokens
        waited_s = record.ttft_s - record.load_s
        prefill_tps = computed / waited_s if computed >= LEAST_PREFILL_TOKENS and waited_s > 0 else None
    if decode_tps is None and prefill_tps is None:
        return None
    return Run(
        decode_tps,
        0 if decode_tps is None else record.completion_tokens - 1,
        prefill_tps,
        0 if prefill_tps is None else computed,
    )
