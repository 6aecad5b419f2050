"""An engine without a model: it repeats the last thing the user said, at a steady speed.

For tests, for a demonstration, and for measuring what everything around an engine costs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from ...events import PrefixReport
from ...frames import LoadOptions
from ...questions import Count, Counted, Question
from ...request import ChatPrompt, FillPrompt, GenerateRequest, TextPrompt, TokenPrompt
from .backend import Admission, Begun, Loaded, Occupancy, PromptTooLong, Refusal, StepOutcome, Work
from .playing import VOCABULARY_SIZE, Playing, as_words, read_words, split_words

CONTEXT_LENGTH = 131_072
TOKENS_PER_STEP = 512
"""The most tokens of one step where no speed is set; a frame stays near 10 KB."""
_NOTHING = "nothing"
"""What is repeated where the user said nothing."""


class EchoBackend:
    """Repeats; deterministic."""

    def __init__(self) -> None:
        self._tps = 0.0
        self._context_length = CONTEXT_LENGTH
        self._sequences: dict[int, Playing] = {}
        self._reports: dict[int, PrefixReport] = {}

    def load(self, path: str, options: LoadOptions, on_progress: Callable[[float], None]) -> Loaded:
        """Loads nothing."""
        del path
        self._tps = options.echo_tps
        self._context_length = options.context_length or CONTEXT_LENGTH
        on_progress(1.0)
        return Loaded(self._context_length, options.max_sequences, VOCABULARY_SIZE, "echo")

    def admit(self, request: GenerateRequest) -> Admission:
        """Counts the prompt's words."""
        if request.echo_tps is not None and not 0 <= request.echo_tps < float("inf"):
            raise Refusal("invalid", f"echo_tps must be 0 or more, not {request.echo_tps}.", param="echo_tps")
        if request.constraint is not None:
            raise Refusal("invalid", "The model 'echo' repeats, and keeps to no form.", param=request.constraint.param or None)
        ids = read_words(request.prompt)
        if len(ids) >= self._context_length:
            raise PromptTooLong(len(ids), self._context_length)
        return Admission(ids)

    def answer(self, question: Question) -> Work:
        """Counts a prompt's words; it knows nothing else."""
        if isinstance(question, Count):
            return Counted(len(read_words(question.prompt)))
        raise Refusal("invalid", "The engine of this model only writes text.")
        yield  # what makes this a piece of work, though it is done in one slice

    def start(self, sequence: int, admission: Admission, request: GenerateRequest) -> None:
        """Begins to speak."""
        self.play(
            Playing(
                sequence,
                split_words(_last_words(request)) or [_NOTHING],
                tps=self._tps if request.echo_tps is None else request.echo_tps,
                top_logprobs=request.top_logprobs,
                repeats=request.max_tokens is not None,
            ),
            sequence,
            PrefixReport(0, 0, len(admission.token_ids)),
        )

    def play(self, playing: Playing, sequence: int, report: PrefixReport) -> None:
        """Lets a sequence speak, and says where its prompt comes from."""
        self._sequences[sequence] = playing
        self._reports[sequence] = report

    def step(self) -> StepOutcome:
        """Gives every token that is due."""
        began_s = time.monotonic()
        outcome = StepOutcome()
        speaking = [(sequence, echo) for sequence, echo in self._sequences.items() if not echo.held]
        most = max(1, TOKENS_PER_STEP // max(1, len(speaking)))
        for sequence, echo in speaking:
            if not echo.begun:
                echo.begun = True
                outcome.begun.append(Begun(sequence, self._reports[sequence]))
                outcome.prefill_tokens += self._reports[sequence].computed_tokens
            outcome.tokens += echo.take(began_s, most)
        outcome.compute_s = time.monotonic() - began_s
        return outcome

    def rest(self) -> bool:
        """Nothing can wait here."""
        return False

    def interrupt(self, cancelled: Collection[int]) -> None:
        """A step is over before it could be ended."""

    def wait_s(self) -> float | None:
        """How long until the next token of any sequence is due."""
        due_s = min((echo.due_s for echo in self._sequences.values() if not echo.held), default=None)
        if due_s is None:
            return None
        wait_s = due_s - time.monotonic()
        return max(0, wait_s)

    def hold(self, sequence: int, held: bool) -> None:
        """Falls silent, or goes on."""
        if (echo := self._sequences.get(sequence)) is not None:
            if held:
                echo.held = True
            else:
                echo.release()

    def drop(self, sequence: int) -> None:
        """Forgets a sequence."""
        self._sequences.pop(sequence, None)
        self._reports.pop(sequence, None)

    def occupancy(self) -> Occupancy:
        """Counts the prompts; there is no real memory."""
        prompts = (report.ram_tokens + report.disk_tokens + report.computed_tokens for report in self._reports.values())
        return Occupancy(sum(prompts), self._context_length)

    def close(self) -> None:
        """Has nothing to give back."""


def _last_words(request: GenerateRequest) -> str:
    match request.prompt:
        case ChatPrompt(messages):
            return next((message.text for message in reversed(messages) if message.role == "user"), "")
        case TextPrompt(text):
            return text
        case TokenPrompt(token_ids):
            return as_words(token_ids)
        case FillPrompt(prefix):
            return prefix
