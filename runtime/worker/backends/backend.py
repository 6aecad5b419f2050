"""What every engine offers to the worker's loop.

A backend knows tokens: it turns a prompt into ids, computes, samples, and says what came out. Text, stop strings, limits
and queues are the loop's. All methods are called from one thread, the one that loaded the model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import msgspec

from ...events import PrefixReport, TokenLogprob
from ...frames import LoadOptions, ToolSupport
from ...questions import Answer, Question
from ...request import GenerateRequest
from ..constraint.matcher import Matcher
from ..output.pieces import Parser

RefusalKind = Literal["invalid", "overflow", "overloaded", "failed"]


class LoadError(Exception):
    """The engine cannot hold the model; the text says why, for the user."""


class Refusal(Exception):
    """A generation cannot be served."""

    def __init__(self, kind: RefusalKind, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.kind: RefusalKind = kind
        self.message = message
        self.param = param
        """The request's field at fault, or None."""


class PromptTooLong(Refusal):
    """The prompt does not fit into the context."""

    def __init__(self, prompt_tokens: int, context_length: int, *, param: str = "messages") -> None:
        super().__init__("overflow", f"{prompt_tokens} tokens do not fit into a context of {context_length}.", param=param)
        self.prompt_tokens = prompt_tokens
        self.context_length = context_length


@dataclass(frozen=True, slots=True)
class Loaded:
    """How a model is held."""

    context_length: int
    """The most tokens of prompt and reply together, for one generation."""
    max_sequences: int
    """How many generations may be started at a time."""
    vocabulary_size: int
    engine: str
    """Name and version."""
    details: dict[str, str] = field(default_factory=dict[str, str])
    """What is worth a line in the log."""
    tools: ToolSupport | None = None
    """How tools are described to the model; None where it is not spoken with."""
    thinks: bool = False
    """Whether the model is known to think before it answers."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A prompt as the engine takes it."""

    token_ids: Sequence[int]
    stop: tuple[str, ...] = ()
    """Stop strings that the prompt's form asks for, besides the caller's own."""
    form: Matcher | None = None
    """What holds the answer to a form; None leaves it free."""
    parser: Parser | None = None
    """What tells reasoning and tool calls apart in the answer, used up by it; None takes all of it as text."""


class Sampled(msgspec.Struct, frozen=True, gc=False):
    """One token of one sequence."""

    sequence: int
    piece: bytes
    """The token's bytes; not always whole UTF-8."""
    end: bool = False
    """The model ended; the token has no text and does not count."""
    logprob: TokenLogprob | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """A sequence's prompt began to be computed."""

    sequence: int
    report: PrefixReport
    """Where its tokens come from."""

    @property
    def cached_tokens(self) -> int:
        """How many of them are known already and are not computed again."""
        return self.report.ram_tokens + self.report.disk_tokens


@dataclass(frozen=True, slots=True)
class Lost:
    """A sequence cannot go on; the backend has dropped it already."""

    sequence: int
    kind: Literal["overloaded", "failed"]
    why: str


@dataclass(frozen=True, slots=True)
class Drafted:
    """Tokens of a sequence were guessed, and checked in one step."""

    sequence: int
    tokens: int
    accepted: int
    """How many of them the model chose too."""


@dataclass(slots=True)
class StepOutcome:
    """What one step gave."""

    tokens: list[Sampled] = field(default_factory=list[Sampled])
    """Usually one for each sequence that is past its prompt; in the order of the sequence where there are several."""
    begun: list[Begun] = field(default_factory=list[Begun])
    lost: list[Lost] = field(default_factory=list[Lost])
    drafted: list[Drafted] = field(default_factory=list[Drafted])
    prefill_tokens: int = 0
    """Prompt tokens computed in this step."""
    aside_tokens: int = 0
    """Prompt tokens that were computed beside the steps, and came in with this one."""
    aside_s: float = 0.0
    """How long that took."""
    compute_s: float = 0.0
    """How long the engine's own compute call took."""


@dataclass(frozen=True, slots=True)
class Occupancy:
    """How full the engine's memory for contexts is."""

    used_tokens: int
    """By what runs."""
    size_tokens: int
    kept_tokens: int = 0
    """By what ended sequences left; it gives way."""
    prefix_bytes: int = 0
    """What is kept of computed prompts in memory beside it."""


class Backend(Protocol):
    """One engine that holds one model."""

    def load(self, path: str, options: LoadOptions, on_progress: Callable[[float], None]) -> Loaded:
        """Loads the model.

        Raises:
            LoadError: it cannot; nothing is held then.
        """
        ...

    def admit(self, request: GenerateRequest) -> Admission:
        """Turns a request's prompt into tokens and checks what only the engine can check.

        Raises:
            Refusal: the request is at fault, or its prompt does not fit (PromptTooLong).
        """
        ...

    def start(self, sequence: int, admission: Admission, request: GenerateRequest) -> None:
        """Takes a sequence in; the loop never has more than `max_sequences` started and picks a fresh number each time."""
        ...

    def step(self) -> StepOutcome:
        """Computes once for all sequences that are not held; it is called only while one is started."""
        ...

    def rest(self) -> bool:
        """Does a short piece of what can wait; called while nothing runs, until it gives False for "nothing is left"."""
        ...

    def interrupt(self, cancelled: Collection[int]) -> None:
        """Ends the running step early if all its sequences are among these; called from another thread at any time."""
        ...

    def wait_s(self) -> float | None:
        """How long until `step` has something to do: 0 is now, None until a sequence is started or released."""
        ...

    def hold(self, sequence: int, held: bool) -> None:
        """Keeps a sequence but gives it no tokens, or lets it go on."""
        ...

    def drop(self, sequence: int) -> None:
        """Forgets a sequence and frees what it held; an unknown one is ignored."""
        ...

    def occupancy(self) -> Occupancy:
        """Reads how full the context memory is."""
        ...

    def close(self) -> None:
        """Gives everything back."""
        ...


@runtime_checkable
class Shrinking(Protocol):
    """A backend that keeps computed prompts in memory, and can do with less room for them."""

    def shrink(self, share: float) -> None:
        """Lets them take this share, 0..1, of the room that was planned from now on; what is over goes at once."""
        ...


Work = Generator[None, None, Answer]
"""An answer in the making: each `next` does one slice of it, and the generator's return value is the answer.

A slice takes about as long as a step. The first one or any other raises Refusal where the question cannot be answered; one
that nobody waits for any more is closed.
"""


@runtime_checkable
class Answerer(Protocol):
    """A backend that also answers questions, between the steps of its generations."""

    def answer(self, question: Question) -> Work:
        """Begins with an answer; nothing is computed before the first `next`."""
        ...


@runtime_checkable
class LongAnswerer(Answerer, Protocol):
    """One whose slices may take long."""

    def abandon(self) -> None:
        """Ends the running slice early, as nobody waits for any answer; called from another thread at any time."""
        ...
