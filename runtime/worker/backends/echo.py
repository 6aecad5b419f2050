"""An engine without a model: it repeats the last thing the user said, at a steady speed.

For tests, for a demonstration, and for measuring what everything around an engine costs.
"""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Callable, Collection, Sequence

from ...events import PrefixReport, TokenLogprob, TopLogprob
from ...frames import LoadOptions
from ...questions import Count, Counted, Question
from ...request import ChatPrompt, FillPrompt, GenerateRequest, Prompt, TextPrompt, TokenPrompt
from .backend import Admission, Begun, Loaded, Occupancy, PromptTooLong, Refusal, Sampled, StepOutcome, Work

CONTEXT_LENGTH = 131_072
VOCABULARY_SIZE = 1 << 16
TOKENS_PER_STEP = 512
"""The most tokens of one step where no speed is set; a frame stays near 10 KB."""
SLACK_S = 0.002
"""Streams that are due within this go out together, so that many of them do not mean as many frames."""
_PIECE = re.compile(r"\s*\w+|\s*[^\w\s]+|\s+")
_NOTHING = "nothing"
"""What is repeated where the user said nothing."""


def split_words(text: str) -> list[str]:
    """Cuts text into word-like pieces, which joined are the text again."""
    return _PIECE.findall(text)


def token_id(piece: str) -> int:
    """Gives a piece its number; two pieces may share one."""
    return zlib.crc32(piece.encode()) % VOCABULARY_SIZE


class _Echo:
    """One sequence: what it repeats, and when its next token is due."""

    def __init__(self, sequence: int, pieces: Sequence[str], request: GenerateRequest, tps: float) -> None:
        again = [pieces[0] if pieces[0][:1].isspace() else f" {pieces[0]}", *pieces[1:]]
        self._first = [_sampled(sequence, piece, request.top_logprobs) for piece in pieces]
        self._again = [_sampled(sequence, piece, request.top_logprobs) for piece in again]
        self._ends = request.max_tokens is None
        self._end = Sampled(sequence, b"", end=True)
        self._given = 0
        self._tps = tps
        self._due_from_s = time.monotonic()
        self._due_from_token = 0
        self.held = False
        self.begun = False

    @property
    def due_s(self) -> float:
        """When the next token is due; in the past for one that has no set speed."""
        return self._due_from_s + (self._given - self._due_from_token) / self._tps if self._tps else 0.0

    def take(self, now_s: float, most: int) -> list[Sampled]:
        """Gives the tokens that are due."""
        if not self._tps:
            return self._next(most)
        due = int((now_s + SLACK_S - self._due_from_s) * self._tps) + 1 - (self._given - self._due_from_token)
        return self._next(min(due, most)) if due > 0 else []

    def release(self) -> None:
        """Goes on from now, without making up for the time it was held."""
        self.held = False
        self._due_from_s = time.monotonic()
        self._due_from_token = self._given

    def _next(self, count: int) -> list[Sampled]:
        size = len(self._first)
        if self._given < size or self._ends:
            tokens = self._first[self._given : self._given + count]
            self._given += len(tokens)
            return tokens or [self._end]
        at = self._given % size
        tokens = self._again[at : at + count]
        self._given += len(tokens)
        return tokens


class EchoBackend:
    """Repeats; deterministic."""

    def __init__(self) -> None:
        self._tps = 0.0
        self._context_length = CONTEXT_LENGTH
        self._sequences: dict[int, _Echo] = {}
        self._prompt_tokens: dict[int, int] = {}

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
        ids = _tokens(request.prompt)
        if len(ids) >= self._context_length:
            raise PromptTooLong(len(ids), self._context_length)
        return Admission(ids)

    def answer(self, question: Question) -> Work:
        """Counts a prompt's words; it knows nothing else."""
        if isinstance(question, Count):
            return Counted(len(_tokens(question.prompt)))
        raise Refusal("invalid", "The model 'echo' only repeats.")
        yield  # what makes this a piece of work, though it is done in one slice

    def start(self, sequence: int, admission: Admission, request: GenerateRequest) -> None:
        """Begins to repeat."""
        tps = self._tps if request.echo_tps is None else request.echo_tps
        self._sequences[sequence] = _Echo(sequence, split_words(_last_words(request)) or [_NOTHING], request, tps)
        self._prompt_tokens[sequence] = len(admission.token_ids)

    def step(self) -> StepOutcome:
        """Gives every token that is due."""
        began_s = time.monotonic()
        outcome = StepOutcome()
        speaking = [(sequence, echo) for sequence, echo in self._sequences.items() if not echo.held]
        most = max(1, TOKENS_PER_STEP // max(1, len(speaking)))
        for sequence, echo in speaking:
            if not echo.begun:
                echo.begun = True
                outcome.begun.append(Begun(sequence, PrefixReport(0, 0, self._prompt_tokens[sequence])))
                outcome.prefill_tokens += self._prompt_tokens[sequence]
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
        self._prompt_tokens.pop(sequence, None)

    def occupancy(self) -> Occupancy:
        """Counts the prompts; there is no real memory."""
        return Occupancy(sum(self._prompt_tokens.values()), self._context_length)

    def close(self) -> None:
        """Has nothing to give back."""


def _tokens(prompt: Prompt) -> list[int]:
    match prompt:
        case ChatPrompt(messages):
            texts = [message.text for message in messages]
        case TextPrompt(text):
            texts = [text]
        case TokenPrompt(token_ids):
            if any(not 0 <= token < VOCABULARY_SIZE for token in token_ids):
                raise Refusal("invalid", f"Token ids are 0 to {VOCABULARY_SIZE - 1}.", param="prompt")
            texts = [_as_words(token_ids)]
        case FillPrompt(prefix, suffix):
            texts = [prefix, suffix]
    return [token_id(piece) for text in texts for piece in split_words(text)]


def _last_words(request: GenerateRequest) -> str:
    match request.prompt:
        case ChatPrompt(messages):
            return next((message.text for message in reversed(messages) if message.role == "user"), "")
        case TextPrompt(text):
            return text
        case TokenPrompt(token_ids):
            return _as_words(token_ids)
        case FillPrompt(prefix):
            return prefix


def _as_words(token_ids: Sequence[int]) -> str:
    return " ".join(map(str, token_ids))


def _sampled(sequence: int, piece: str, top_logprobs: int | None) -> Sampled:
    text = piece.encode()
    if top_logprobs is None:
        return Sampled(sequence, text)
    number = token_id(piece)
    top = (TopLogprob(number, text, 0.0),) if top_logprobs else ()
    return Sampled(sequence, text, logprob=TokenLogprob(number, text, 0.0, top))
