"""What is recommended for this machine, in words for the dashboard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from ..runtime.models.model import ModelStatus
from ..runtime.models.recommended import Task
from ..runtime.tuning.recommend import NOTICEABLE, Recommendation, Upgrade
from ..runtime.tuning.suiting import LEAST_CONTEXT
from .format import NOTHING, context, parameters, percent, size, speed, speeds
from .source import Download
from .widgets.facts import Fact
from .widgets.table import Cell, Row
from .words import DOWNLOADS, Word, model_word

TASKS: Final[Mapping[Task, str]] = {"chat": "Chat", "code": "Code", "embed": "Embeddings"}
_FOR: Final[Mapping[Task, str]] = {"chat": "chat", "code": "code", "embed": "embeddings"}
CONTEXT: Final = f"{context(LEAST_CONTEXT)} tokens of context"


def advice_rows(
    models: Iterable[Recommendation], statuses: Mapping[str, ModelStatus], downloads: Mapping[str, Download]
) -> tuple[Row, ...]:
    """Gives the table of recommended models.

    Args:
        models: the best first.
        statuses: of the models on the disk, by id.
        downloads: the newest of each reference, by the reference in small letters.
    """
    rows: list[Row] = []
    for model in models:
        word, tone = _whereabouts(model, statuses, downloads)
        rows.append(
            Row(
                model.pull,
                (
                    Cell(model.model, "strong" if model.on_disk is not None else ""),
                    Cell(model.quantization, "dim"),
                    Cell(size(model.size_bytes)),
                    Cell(size(model.memory_bytes), "dim"),
                    Cell(speed(model.decode), "strong"),
                    Cell(speed(model.prefill)),
                    Cell(context(model.longest_context), "dim"),
                    Cell(", ".join(model.abilities) or NOTHING, "dim"),
                    Cell(word, tone),
                ),
            )
        )
    return tuple(rows)


def _whereabouts(model: Recommendation, statuses: Mapping[str, ModelStatus], downloads: Mapping[str, Download]) -> Word:
    """Says whether the model is in memory, on the disk, there in another quantisation, or on its way."""
    download = downloads.get(model.pull.casefold())
    if download is not None and download.state not in {"done", "cancelled"}:
        word, tone = DOWNLOADS[download.state]
        if download.state == "downloading" and download.total_bytes:
            word = f"↓ {percent(100 * download.done_bytes / download.total_bytes)}"
        return word, tone
    held = model.on_disk
    status = None if held is None else statuses.get(held.id)
    if held is None or status is None:
        return "⇅ to pull", "dim"
    if held.suits or status.state != "unloaded":
        return model_word(status)
    return f"○ as {held.quantization or status.model.header.format}", "dim"


def advice_facts(model: Recommendation, status: ModelStatus | None, notes: Iterable[str]) -> tuple[Fact, ...]:
    """Gives all that is known of a recommended model: label, text, tone.

    Args:
        model: the recommendation.
        status: of its copy on the disk; None where there is none.
        notes: what was assumed, or why no speed can be told.
    """
    words = [f"{parameters(model.parameters)} parameters"]
    if model.tasks:
        words.append(" and ".join(_FOR[task] for task in model.tasks))
    memory = f"takes {size(model.memory_bytes)} with {CONTEXT}"
    if model.longest_context is not None:
        memory += f", up to {context(model.longest_context)} fit"
    facts = [("model", " · ".join([*words, *([", ".join(model.abilities)] if model.abilities else [])]), "")]
    facts += [_get(model, status), ("memory", memory, "")]
    if model.decode is not None:
        facts.append(("speed", speeds(model.decode, model.prefill), ""))
    if status is not None and status.decode is not None and status.decode.source == "measured":
        facts.append(("", f"{status.model.id} {speeds(status.decode, status.prefill)}", "good"))
    label = "speed" if model.decode is None else "note"
    return (*facts, *((label, f"{note[:1].upper()}{note[1:]}.", "dim") for note in notes))


def _get(model: Recommendation, status: ModelStatus | None) -> Fact:
    """Says how to come by it."""
    pull = f"p pulls {model.pull}"
    if model.on_disk is None or status is None:
        return "not here", f"⇅ {pull}", ""
    here = f"{status.model.id}: l loads it" if status.state in {"unloaded", "failed"} else f"{status.model.id} is in memory"
    return "here", here if model.on_disk.suits else f"{here} · ⇅ {pull}", "good"


def note_facts(notes: Iterable[str]) -> tuple[Fact, ...]:
    """Gives a line for each thing that a search found, but not for this machine."""
    return tuple(("", note, "") for note in notes) or (("", "All that was looked at suits.", "dim"),)


def upgrade_facts(upgrades: Iterable[Upgrade]) -> tuple[Fact, ...]:
    """Gives a line for each other Mac that would bring something: how much faster it is, and the best model that fits."""
    facts: list[Fact] = []
    for upgrade in upgrades:
        faster, gain = upgrade.faster, "holds more"
        if faster is not None and faster >= NOTICEABLE:
            gain = f"{faster:.{0 if faster >= 10 else 1}f}× as fast"
        facts.append((gain, f"{upgrade.machine}: {upgrade.fits}", ""))
    return tuple(facts) or (("", "No other Mac would bring more for this.", "dim"),)
