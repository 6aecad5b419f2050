"""What happened: one record per request, newest last, and lines for people."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from .events import FinishReason

Stage = Literal["queued", "loading", "prefill", "decode", "done", "failed", "cancelled"]
ENDED: frozenset[Stage] = frozenset({"done", "failed", "cancelled"})


@dataclass(slots=True, eq=False)
class RequestRecord:
    """One request from its arrival to its end; written by the runtime, read by dashboard and API."""

    id: str
    model: str
    """As asked for; the served id once it is known."""
    client: str
    """The user agent's first word, or "dashboard"."""
    route: str
    """As "/v1/chat/completions"."""
    at_epoch_s: float
    """Wall clock, for display only."""
    started_s: float
    """time.monotonic() at arrival."""
    stage: Stage = "queued"
    prompt_tokens: int | None = None
    completion_tokens: int = 0
    cached_tokens: int | None = None
    ttft_s: float | None = None
    """Time to first token, from arrival."""
    first_token_s: float | None = None
    """time.monotonic() of the first token."""
    ended_s: float | None = None
    finish_reason: FinishReason | None = None
    error: str | None = None

    @property
    def decode_tps(self) -> float | None:
        """Tokens per second after the first one; None before the second."""
        if self.first_token_s is None or self.completion_tokens < 2:
            return None
        elapsed_s = (self.ended_s or time.monotonic()) - self.first_token_s
        return (self.completion_tokens - 1) / elapsed_s if elapsed_s > 0 else None


class Journal:
    """Keeps the newest requests and counts tokens per model; tells listeners at each change of stage.

    Token counts change far more often than stages; who shows them reads them at its own pace.
    """

    def __init__(self, *, capacity: int = 500, new_id: Callable[[], str] | None = None) -> None:
        self._records: deque[RequestRecord] = deque(maxlen=capacity)
        self._listeners: list[Callable[[RequestRecord], None]] = []
        self._counter = itertools.count(1)
        self._new_id = new_id or (lambda: f"req-{next(self._counter):06d}")
        self.tokens_by_model: dict[str, int] = {}
        """Completion tokens ever handed out, by model id: rises only, so that readers take differences."""
        self.prompt_tokens_by_model: dict[str, int] = {}
        self.ended_by_stage: dict[Stage, int] = {}

    def open(self, *, model: str, client: str, route: str) -> RequestRecord:
        """Begins a record."""
        record = RequestRecord(
            id=self._new_id(), model=model, client=client, route=route, at_epoch_s=time.time(), started_s=time.monotonic()
        )
        self._records.append(record)
        self._tell(record)
        return record

    def move(self, record: RequestRecord, stage: Stage, *, error: str | None = None) -> None:
        """Notes that a request came to another stage; an ended one stays as it is."""
        if record.stage == stage or record.stage in ENDED:
            return
        record.stage = stage
        if stage in ENDED:
            record.ended_s = time.monotonic()
            record.error = error
            self.ended_by_stage[stage] = self.ended_by_stage.get(stage, 0) + 1
        self._tell(record)

    def count_tokens(self, record: RequestRecord, tokens: int) -> None:
        """Adds completion tokens; the first of them ends the prefill."""
        if record.first_token_s is None:
            record.first_token_s = time.monotonic()
            record.ttft_s = record.first_token_s - record.started_s
            self.move(record, "decode")
        record.completion_tokens += tokens
        self.tokens_by_model[record.model] = self.tokens_by_model.get(record.model, 0) + tokens

    def listen(self, listener: Callable[[RequestRecord], None]) -> Callable[[], None]:
        """Adds a listener; gives the function that removes it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def newest(self, count: int) -> list[RequestRecord]:
        """The newest records, newest first."""
        return list(itertools.islice(reversed(self._records), count))

    def find(self, record_id: str) -> RequestRecord | None:
        """The record of this id, if it is still kept."""
        return next((record for record in self._records if record.id == record_id), None)

    def __iter__(self) -> Iterator[RequestRecord]:
        """All kept records, oldest first."""
        return iter(tuple(self._records))

    def _tell(self, record: RequestRecord) -> None:
        for listener in tuple(self._listeners):
            listener(record)
