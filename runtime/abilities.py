"""Whether a model can do what is asked of it, said before it is loaded."""

from __future__ import annotations

from collections.abc import Iterable

from .errors import InvalidRequest
from .formats.header import Ability
from .models.model import Model
from .models.registry import SCRIPTED
from .questions import Embed, Question, Rank

_GIVES: dict[Ability, str] = {"text": "writes text", "embedding": "gives embeddings", "rerank": "scores documents"}
_WANTED: dict[Ability, str] = {"text": "write text", "embedding": "give embeddings", "rerank": "score documents"}
_EXAMPLES: dict[Ability, str] = {
    "text": "HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF",
    "embedding": "nomic-ai/nomic-embed-text-v1.5-GGUF",
    "rerank": "gpustack/bge-reranker-v2-m3-GGUF",
}


def check_ability(model: Model, wanted: Ability, models: Iterable[Model]) -> None:
    """Refuses what a model was not made for.

    Raises:
        InvalidRequest: it gives something else; the message names the models here that can.
    """
    given = model.header.ability
    # The scripted engine stands in for models of every kind.
    if given == wanted or (model.id == SCRIPTED.id and wanted != "rerank"):
        return
    servable = [other for other in models if other.problem is None and other.store != "builtin"]
    able = ", ".join(other.id for other in servable if other.header.ability == wanted)
    here = f"Models here that do: {able}." if able else f"None here does; `impetus pull {_EXAMPLES[wanted]}` gets one."
    raise InvalidRequest(
        f"'{model.id}' {_GIVES[given]}; it does not {_WANTED[wanted]}. {here}", param="model", code="model_lacks_ability"
    )


def ability_for(question: Question) -> Ability | None:
    """What a model must be able to do to answer; None where every one can."""
    match question:
        case Embed():
            return "embedding"
        case Rank():
            return "rerank"
        case _:
            return None
