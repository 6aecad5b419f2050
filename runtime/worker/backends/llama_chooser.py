"""What the logits of a step become: the next tokens of the answers, and what held of their guesses."""

from __future__ import annotations

from .backend import Drafted, Sampled, StepOutcome
from .llama_beginning import Beginnings
from .llama_model import LlamaModel
from .llama_sampler import read_logprob
from .llama_sequence import Generating, Part
from .llama_vocab import Vocabulary


class Chooser:
    """Chooses the tokens of all sequences of a model, each by its own sampler.

    Both methods raise ConstraintFailed where the form of an answer allows nothing more.
    """

    def __init__(self, model: LlamaModel, vocabulary: Vocabulary, beginnings: Beginnings) -> None:
        self._model = model
        self._vocabulary = vocabulary
        self._beginnings = beginnings

    def check_guess(self, sequence: Generating, part: Part, outcome: StepOutcome) -> None:
        """Chooses token after token as without a guess, as long as each is what was guessed."""
        guess = sequence.guess
        accepted = 0
        for offset in range(part.count):
            sequence.in_cache += 1
            token = self.choose(sequence, part.first + offset, outcome)
            if token is None or offset == len(guess) or token != guess[offset]:
                break
            accepted += 1
        if not guess:
            return
        sequence.guess = []
        outcome.drafted.append(Drafted(sequence.number, len(guess), accepted))
        if accepted < len(guess):
            self._model.memory.cut(sequence.slot, sequence.in_cache)

    def choose(self, sequence: Generating, index: int, outcome: StepOutcome) -> int | None:
        """Chooses a sequence's next token; None where the model ended."""
        context, vocabulary = self._model.context, self._vocabulary
        if len(sequence.tokens) == sequence.prompt_tokens:
            self._beginnings.computed(sequence)
        token = sequence.sampler.sample(context, index)
        sequence.tokens.append(token)
        if token in vocabulary.ends:
            outcome.tokens.append(Sampled(sequence.number, b"", end=True))
            return None
        top = sequence.top_logprobs
        logprob = None if top is None else read_logprob(context, index, vocabulary, token=token, top=top)
        piece = vocabulary.bytes_of(token) if token in sequence.shown else vocabulary.piece(token)
        outcome.tokens.append(Sampled(sequence.number, piece, logprob=logprob))
        return token
