"""What an engine's library has to do, and no more: compute tokens behind others, and hold what it computed.

Prompts, samplers, forms, the memory of earlier prompts and the order of work are `SequenceBackend`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ...frames import LoadOptions
from ..adapters import Adapters
from ..sampling.sampler import Draw

Logits = NDArray[np.float32]


class State(Protocol):
    """What was computed of one sequence; made, changed and read by its runner alone."""

    @property
    def length(self) -> int:
        """How many tokens."""
        ...


S = TypeVar("S", bound=State)


@dataclass(frozen=True, slots=True)
class Opened:
    """A model that was loaded."""

    folder: Path
    """Where its tokenizer, template and config.json lie."""
    files: tuple[Path, ...]
    """Its weights, in order; they tell it from other models."""
    rows: int
    """How many scores it gives for each place."""
    context_length: int
    """The most tokens of one sequence."""
    engine: str
    """Name and version."""
    cuttable: bool
    """Whether a state can be cut back to any length, and read by positions; if not, it is kept and put back as a whole."""
    copyable: bool = True
    """Whether a state can be copied and its bytes be read; if not, only what goes on from an ended sequence uses it again."""
    precision: str = ""
    """What shapes the numbers of states, besides the files: the type that it computes and keeps in."""
    warm: bool = False
    """Whether a token was computed in full already, which takes far longer the first time."""
    most_sequences: int | None = None
    """How many can be computed at a time; None sets no bound."""
    details: dict[str, str] = field(default_factory=dict[str, str])
    """What is worth a line in the log."""


@dataclass(frozen=True, slots=True)
class Turn(Generic[S]):
    """A sequence whose next token is to be found."""

    state: S
    token: int
    """Its newest token, which is not computed yet."""
    draw: Draw | None
    """How the runner may choose the next token by itself, if it can; None asks for the scores."""


@dataclass(frozen=True, slots=True)
class Part(Generic[S]):
    """A piece of a prompt that is to be computed."""

    state: S
    tokens: Sequence[int]


class Runner(Protocol[S]):
    """One engine with one model. All methods are called from one thread, the one that opens it.

    Whatever they raise besides what is said ends the sequences that they were called for.
    """

    def open(self, path: Path, options: LoadOptions, on_progress: Callable[[float], None]) -> Opened:
        """Loads the model.

        Raises:
            LoadError: it cannot; nothing is held then.
        """
        ...

    def begin(self) -> S:
        """Makes the state of an empty sequence."""
        ...

    def extend(self, state: S, tokens: Sequence[int], wanted: Literal["none", "last", "all"]) -> Logits | None:
        """Computes tokens behind a sequence.

        Args:
            state: of the sequence; it is that much longer afterwards.
            tokens: one or more, all known.
            wanted: whose scores are given.

        Returns:
            Scores of what may follow, shape (rows,) for the last token, (tokens, rows) for all; None for none.
        """
        ...

    def decode(self, turns: Sequence[Turn[S]]) -> Sequence[Logits | int]:
        """Computes one token of each of some sequences, at once where that is quicker.

        A runner that chooses may be ahead: the next call's token is what it chose, if the sequence goes on at all.

        Returns:
            For each turn the scores, shape (rows,), or, only where it has a `draw`, the token that was chosen.
        """
        ...

    def fork(self, state: S, length: int) -> S:
        """Makes a state of its own of a sequence's first tokens; `length` is the state's own unless states can be cut."""
        ...

    def cut(self, state: S, length: int) -> None:
        """Forgets what is behind the first tokens; only where states can be cut."""
        ...

    def read(self, state: S, begin: int, end: int) -> bytes:
        """Gives what was computed of positions [begin, end); all of it where states cannot be cut."""
        ...

    def write(self, state: S, data: bytes, begin: int, end: int, *, skip: int = 0) -> None:
        """Puts what `read` gave behind a state of `begin + skip` tokens, so that it has `end` of them.

        Args:
            state: to be prolonged.
            data: of positions [begin, whatever it was read to), at least to `end`.
            begin: the position of its first token.
            end: what is behind it is left out.
            skip: so many of its tokens the state has already.

        Raises:
            ValueError: the bytes are none of this model's states.
        """
        ...

    def release(self, state: S) -> None:
        """Frees what a state holds; it is not used any more."""
        ...

    def close(self) -> None:
        """Gives everything back."""
        ...


@runtime_checkable
class PromptRunner(Runner[S], Protocol[S]):
    """A runner that computes pieces of several prompts at once; the last token of each prompt is then computed by `decode`."""

    def fill(self, parts: Sequence[Part[S]]) -> None:
        """Computes tokens behind sequences, at once where that is quicker; nobody wants their scores.

        Args:
            parts: each of another sequence, with one token or more; each state is that much longer afterwards.
        """
        ...


@runtime_checkable
class AdapterRunner(Runner[S], Protocol[S]):
    """A runner that puts LoRA adapters over its model's weights."""

    def open_adapter(self, path: Path) -> Sequence[Path]:
        """Reads an adapter, which stays open.

        Returns:
            Its files; they tell it from others.

        Raises:
            LoadError: there is none, it is damaged, or it does not fit the model.
        """
        ...

    def use_adapters(self, adapters: Adapters) -> None:
        """Puts opened adapters over the weights for the computations that follow, in place of those before."""
        ...
