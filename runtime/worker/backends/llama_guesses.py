"""What the answers of a step guess ahead, by lookup or by a draft model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...frames import LoadOptions
from ...request import GenerateRequest
from ..draft.cost import StepCost
from ..draft.guesser import Guesser
from .llama_draft import DraftModel, DraftWant
from .llama_model import LlamaModel
from .llama_sequence import Generating


def open_draft_model(options: LoadOptions, on_progress: Callable[[float], None]) -> DraftModel | None:
    """Opens the draft model that the options name, or none; raises LoadError."""
    if options.draft != "model" or options.draft_path is None:
        return None
    return DraftModel(options.draft_path, options, on_progress)


class Guesses:
    """Fills in each answer's guess before a step.

    Args:
        options: whether, by whom and how many tokens are guessed.
        model: the one that checks them.
        drafter: a smaller one that guesses where lookup has no guess; None is lookup alone.
        limit_s: how long a step may take that others wait for.
    """

    def __init__(self, options: LoadOptions, model: LlamaModel, drafter: DraftModel | None, *, limit_s: float) -> None:
        self._most = options.draft_tokens if options.draft != "off" and model.cuttable else 0
        self._spare = model.spare_outputs
        self._drafter = drafter
        self._limit_s = limit_s
        self._cost = StepCost()

    def begin(self, sequence: Generating, request: GenerateRequest) -> None:
        """Gives a new sequence its guesser, where guessing may pay and cannot be seen in what a seed gives."""
        most = min(self._spare, self._most if request.draft_tokens is None else request.draft_tokens)
        if self._most and most > 0 and not sequence.repeatable:
            sequence.guesser = Guesser(most, self._cost, model=self._drafter is not None)

    def fill(self, answering: Sequence[Generating], room: int) -> None:
        """Guesses for all answers of a step.

        Args:
            answering: the sequences that get their next token in it.
            room: how many guessed tokens the batch can take.
        """
        room = min(room, self._spare)
        tokens = len(answering)
        wants: list[tuple[Generating, DraftWant]] = []
        for sequence in answering:
            sequence.guess = []
            guesser = sequence.guesser
            most = min(room, sequence.room - len(sequence.tokens) - 1)
            if guesser is None or most <= 0 or not sequence.sampler.may_draft:
                continue
            limit_s = self._limit_s if len(answering) > 1 else None
            guess = guesser.guess(sequence.tokens, others=tokens - 1, room=most, limit_s=limit_s)
            if guess:
                sequence.guess = guess[: sequence.sampler.draft_prefix(guess)]
            elif self._drafter is not None:
                most = guesser.wanted(others=tokens - 1, room=most, limit_s=limit_s, token_s=self._drafter.token_s)
                if most > 0:
                    wants.append((sequence, DraftWant(sequence.number, sequence.tokens, most)))
                    room -= most
            tokens += len(sequence.guess)
            room -= len(sequence.guess)
        if wants and self._drafter is not None:
            guesses = self._drafter.draft_many([want for _, want in wants])
            for (sequence, _), guess in zip(wants, guesses, strict=True):
                sequence.guess = guess[: sequence.sampler.draft_prefix(guess)]
                if sequence.guesser is not None:
                    sequence.guesser.use(sequence.guess)

    def note_step(self, tokens: int, took_s: float) -> None:
        """Learns how long a step of nothing but answers took."""
        if self._most:
            self._cost.note(tokens, took_s)

    def drop(self, number: int) -> None:
        """Notes the end of a sequence."""
        if self._drafter is not None:
            self._drafter.drop(number)

    def close(self) -> None:
        """Frees the draft model."""
        if self._drafter is not None:
            self._drafter.close()
