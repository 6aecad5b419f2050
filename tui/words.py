"""What states are called and which sign stands before them: the colour is never the only difference."""

from __future__ import annotations

from typing import Final

from ..hw.sample import MemoryPressure, ThermalLevel
from ..runtime.events import MissCause
from ..runtime.journal import Stage
from ..runtime.models.model import ModelState, ModelStatus, StoreName
from .format import percent

Word = tuple[str, str]
"""The text with its sign, and the tone."""

STAGES: Final[dict[Stage, Word]] = {
    "queued": ("○ queued", "dim"),
    "loading": ("◔ loading", "warn"),
    "prefill": ("◑ prefill", "accent"),
    "decode": ("▸ decode", "accent"),
    "done": ("✓ done", "good"),
    "failed": ("✗ failed", "bad"),
    "cancelled": ("⊘ cancelled", "dim"),
}
MODELS: Final[dict[ModelState, Word]] = {
    "unloaded": ("○ on disk", "dim"),
    "loading": ("◔ loading", "warn"),
    "ready": ("● ready", "good"),
    "unloading": ("◌ leaving", "warn"),
    "failed": ("✗ failed", "bad"),
}
SERVER: Final[dict[str, Word]] = {
    "starting": ("◌ starting", "warn"),
    "serving": ("● serving", "good"),
    "failed": ("✗ not serving", "bad"),
    "stopped": ("○ stopped", "dim"),
}
DOWNLOADS: Final[dict[str, Word]] = {
    "queued": ("○ queued", "dim"),
    "checking": ("◌ checking", "warn"),
    "downloading": ("↓ downloading", "accent"),
    "done": ("✓ done", "good"),
    "failed": ("✗ failed", "bad"),
    "cancelled": ("⊘ cancelled", "dim"),
}
STORES: Final[dict[StoreName, str]] = {
    "impetus": "the models folder",
    "huggingface": "the Hugging Face cache",
    "starter": "the starter package",
    "builtin": "Impetus itself",
}
THERMAL: Final[dict[ThermalLevel, Word]] = {
    "nominal": ("✓ nominal", "good"),
    "moderate": ("▲ moderate", "warn"),
    "heavy": ("▲▲ heavy", "bad"),
    "trapping": ("✗ trapping", "bad"),
    "sleeping": ("✗ sleeping", "bad"),
}
PRESSURE: Final[dict[MemoryPressure, Word]] = {
    "normal": ("✓ normal", "good"),
    "warn": ("▲ high", "warn"),
    "critical": ("✗ critical", "bad"),
}
CAUSES: Final[dict[MissCause, str]] = {
    "header": "a line before the prompt that changes from turn to turn",
    "timestamp": "a date, a time, an id or a number",
    "tools": "another list of tools",
    "system_prompt": "another system prompt",
    "history": "an earlier message that changed",
    "evicted": "no room to keep it",
    "settings": "other settings",
    "model_state": "a model whose memory cannot be cut back",
    "unknown": "another text",
}
PORTS: Final[dict[str, Word]] = {
    "listening": ("● answers", "good"),
    "waiting": ("▲ taken", "warn"),
    "off": ("○ off", "dim"),
}
UNKNOWN: Final[Word] = ("? unknown", "dim")


def model_word(status: ModelStatus) -> Word:
    """Gives a model's state; what cannot be served here says so."""
    if status.model.problem is not None and status.state == "unloaded":
        return "⊘ unusable", "dim"
    text, tone = MODELS[status.state]
    if status.state == "loading" and status.progress is not None:
        return f"{text} {percent(status.progress * 100)}", tone
    return text, tone


def load_tone(share_percent: float, quiet: str) -> str:
    """Gives the tone of a load: its own while it is quiet, another where there is little left."""
    return quiet if share_percent < 80 else "warn" if share_percent < 95 else "bad"
