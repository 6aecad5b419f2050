"""Pure functions from a request's prefix report to what widgets show."""

from __future__ import annotations

from ..runtime.journal import RequestRecord
from .format import NOTHING, count, percent
from .widgets.sides import Side
from .words import CAUSES


def cached_share(record: RequestRecord) -> str:
    """Writes how much of a prompt was not computed again."""
    if record.prefix is None or record.cached_tokens is None:
        return NOTHING
    total = record.cached_tokens + record.prefix.computed_tokens
    # Rounded down, as 100 % would say that nothing at all was computed.
    return percent(100 * record.cached_tokens // max(1, total))


def prefix_facts(record: RequestRecord) -> tuple[tuple[str, str, str], ...]:
    """Gives what is known of where a request's prompt came from: label, text, tone."""
    report = record.prefix
    if report is None:
        words = "it ended before its prompt was computed" if record.ended_s is not None else "its prompt waits to be computed"
        return (("reused", words, "dim"),)
    total = report.ram_tokens + report.disk_tokens + report.computed_tokens
    facts = [("reused", f"{count(record.cached_tokens)} of {count(total)} tokens, {cached_share(record)}", "strong")]
    if report.miss is None:
        facts.append(("why", "as much as could be hoped for", "good"))
    else:
        facts.append(("cause", f"▲ {CAUSES[report.miss.cause]}", "warn"))
        facts.append(("why", report.miss.why, ""))
    if record.draft_tokens and record.accepted_tokens is not None:
        share = percent(100 * record.accepted_tokens / record.draft_tokens)
        facts.append(("guessed", f"{count(record.draft_tokens)} tokens ahead, {share} of them were kept", ""))
    return tuple(facts)


def prefix_sides(record: RequestRecord) -> tuple[Side, ...]:
    """Gives the texts around the place from which on a request's prompt was computed again."""
    miss = None if record.prefix is None else record.prefix.miss
    if miss is None:
        return ()
    if not miss.expected:
        return (Side(f"The prompt around token {count(miss.at)}", miss.found),)
    return Side("Earlier prompt", miss.expected), Side(f"This prompt, around token {count(miss.at)}", miss.found)
