"""What happened: one record per request, newest last, and lines for people."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from .errors import ImpetusError
from .events import Finished, FinishReason, PrefixReport

Stage = Literal["queued", "loading", "prefill", "decode", "done", "failed", "cancelled"]
Origin = Literal["ram", "disk", "computed"]
"""Where a prompt's tokens come from."""
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
    prefix: PrefixReport | None = None
    """Where the prompt's tokens came from, of the first choice; None until it begins to be computed."""
    draft_tokens: int | None = None
    """How many tokens were guessed ahead, of all choices that ended; None before the first of them."""
    accepted_tokens: int | None = None
    """How many of these were kept."""
    load_s: float | None = None
    """How long it waited for its model to be in memory; None while it does."""
    ttft_s: float | None = None
    """Time to first token, from arrival."""
    first_token_s: float | None = None
    """time.monotonic() of the first token."""
    ended_s: float | None = None
    finish_reason: FinishReason | None = None
    error: str | None = None

    @property
    def cached_tokens(self) -> int | None:
        """How many tokens of the prompt were not computed again."""
        return None if self.prefix is None else self.prefix.ram_tokens + self.prefix.disk_tokens

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
        self.tokens_by_model: Counter[str] = Counter()
        """Completion tokens ever handed out, by model id: rises only, so that readers take differences."""
        self.prompt_tokens_by_model: Counter[str] = Counter()
        self.prompt_tokens_by_origin: Counter[tuple[str, Origin]] = Counter()
        """Of the prompts that began to be computed, by model id and origin."""
        self.draft_tokens_by_model: Counter[str] = Counter()
        self.accepted_tokens_by_model: Counter[str] = Counter()
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

    def note_load(self, record: RequestRecord) -> None:
        """Notes that the model is in memory."""
        record.load_s = time.monotonic() - record.started_s

    def note_prefix(self, record: RequestRecord, report: PrefixReport) -> None:
        """Notes where a prompt's tokens come from; the first report holds."""
        if record.prefix is not None:
            return
        record.prefix = report
        self.prompt_tokens_by_origin.update(
            {
                (record.model, "ram"): report.ram_tokens,
                (record.model, "disk"): report.disk_tokens,
                (record.model, "computed"): report.computed_tokens,
            }
        )

    def end_choice(self, record: RequestRecord, finished: Finished) -> None:
        """Notes how a choice ended."""
        record.finish_reason = finished.reason
        record.draft_tokens = (record.draft_tokens or 0) + finished.draft_tokens
        record.accepted_tokens = (record.accepted_tokens or 0) + finished.accepted_tokens
        self.draft_tokens_by_model[record.model] += finished.draft_tokens
        self.accepted_tokens_by_model[record.model] += finished.accepted_tokens

    def count_prompt(self, record: RequestRecord, tokens: int) -> None:
        """Notes how long a prompt is."""
        record.prompt_tokens = tokens
        self.prompt_tokens_by_model[record.model] += tokens

    def count_tokens(self, record: RequestRecord, tokens: int) -> None:
        """Adds completion tokens; the first of them ends the prefill."""
        if record.first_token_s is None:
            record.first_token_s = time.monotonic()
            record.ttft_s = record.first_token_s - record.started_s
            self.move(record, "decode")
        record.completion_tokens += tokens
        self.tokens_by_model[record.model] += tokens

    @contextmanager
    def ending(self, record: RequestRecord) -> Generator[None]:
        """Moves a request to its end, whichever way the block ends that this stands around."""
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            self.move(record, "cancelled")
            raise
        except ImpetusError as error:
            self.move(record, "failed", error=error.message)
            raise
        except Exception as error:
            self.move(record, "failed", error=f"{type(error).__name__}: {error}")
            raise
        self.move(record, "done")

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
