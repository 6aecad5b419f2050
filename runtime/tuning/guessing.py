"""Decides who guesses tokens ahead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..config import EngineConfig
from ..formats.header import Format
from ..frames import MOST_VOCABULARY_DIFFERENCE
from ..models.model import Model

_FORMATS: dict[str, frozenset[Format]] = {
    "llama": frozenset({"gguf"}),
    "mlx": frozenset({"mlx", "safetensors", "pytorch"}),
    "torch": frozenset({"safetensors", "pytorch"}),
    "onnx": frozenset({"onnx"}),
}
"""The engines that check several tokens at once, and what a model that guesses for theirs may lie in."""


@dataclass(frozen=True, slots=True)
class DraftModel:
    """The model that guesses for others, or why there is none."""

    model: Model | None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Guessing:
    """Who guesses, and why."""

    by: Literal["off", "lookup", "model"]
    why: str
    model: Model | None = None
    """The one that guesses, with "model"."""

    @property
    def path(self) -> str | None:
        """Where it lies; None for no model."""
        return None if self.model is None else str(self.model.path)


def choose_guessing(model: Model, config: EngineConfig, draft: DraftModel | None, engine_name: str) -> Guessing:
    """Decides who guesses tokens ahead; what the settings want of a model that cannot is done by lookup.

    Args:
        model: what the tokens are guessed for.
        config: the settings.
        draft: what `engine.draft_model` stands for; None where it names nothing.
        engine_name: what computes the model.
    """
    if config.speculative == "off":
        return Guessing("off", "nothing is guessed ahead, as the settings say")
    if engine_name not in _FORMATS:
        return Guessing("off", "nothing is guessed ahead: this engine checks one token at a time")
    if config.speculative == "lookup":
        return Guessing("lookup", "tokens are guessed ahead from prompt and answer")
    problem = _problem(model, draft, _FORMATS[engine_name])
    if problem is None and draft is not None and draft.model is not None:
        return Guessing("model", f"'{draft.model.id}' guesses tokens ahead", draft.model)
    return Guessing("lookup", f"tokens are guessed ahead from prompt and answer, not by a model: {problem}")


def _problem(model: Model, draft: DraftModel | None, formats: frozenset[Format]) -> str | None:
    """Says why a model cannot guess for another; None where it can."""
    if draft is None or draft.model is None:
        return draft.problem if draft is not None and draft.problem else "the settings name no draft model"
    guesser = draft.model
    if guesser.problem is not None:
        return guesser.problem
    if guesser.id == model.id:
        return "it would guess for itself"
    if guesser.header.format not in formats:
        return f"'{guesser.id}' is {guesser.header.format}, which the engine of '{model.id}' does not compute"
    sizes = guesser.header.vocabulary_size, model.header.vocabulary_size
    if sizes != (None, None) and (None in sizes or abs((sizes[0] or 0) - (sizes[1] or 0)) > MOST_VOCABULARY_DIFFERENCE):
        return f"'{guesser.id}' has another vocabulary"
    return None
