"""Counts what a generation gives, in the journal and for the curves."""

from __future__ import annotations

from collections.abc import Iterable

from .events import Admitted, CallBegun, CallDelta, Event, Finished, ReasoningDelta, TextDelta
from .journal import Journal, RequestRecord
from .throughput import Throughput


def count_batch(
    journal: Journal, throughput: Throughput, record: RequestRecord, batch: Iterable[Event], counted: list[int]
) -> None:
    """Counts a batch's tokens: one for each delta, and at a choice's end those that gave no text of their own.

    Args:
        journal: where the record is.
        throughput: the curves.
        record: of the request.
        batch: what arrived.
        counted: how many tokens of each choice were counted so far; it is brought up to date.
    """
    tokens = 0
    for event in batch:
        match event:
            case TextDelta() | ReasoningDelta() | CallDelta():
                tokens += 1
                counted[event.index] += 1
            case CallBegun():
                pass
            case Finished():
                tokens += max(0, event.completion_tokens - counted[event.index])
                journal.end_choice(record, event)
            case Admitted():
                journal.move(record, "prefill")
                journal.count_prompt(record, event.prompt_tokens)
    if tokens:
        journal.count_tokens(record, tokens)
        throughput.note(record.model, tokens)
