"""A small model that guesses ahead for a larger one, both by the same engine."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence as Tokens
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic

import msgspec
import numpy as np

from ...frames import MOST_VOCABULARY_DIFFERENCE, LoadOptions, PrefixOptions
from ..backends.backend import LoadError
from ..draft.drafter import (
    CATCH_UP_TOKENS,
    FIRST_COMPARED,
    LEAST_PROBABILITY,
    LEAST_SHARED,
    SPEED_RATE,
    DraftWant,
)
from ..prefix.sharing import common_prefix
from .folder_vocabulary import FolderVocabulary
from .runner import Logits, Runner, S

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Held(Generic[S]):
    """What the small model knows of one sequence."""

    state: S
    tokens: list[int] = field(default_factory=list[int])
    """Those in its state, guessed ones at the end among them."""
    sure: int = 0
    """So many of them are known to be the sequence's own."""


class DraftModel(Generic[S]):
    """Holds a second model with the same vocabulary.

    Args:
        runner: the engine; it has no model yet.
        path: of the small model.
        options: of the larger one.

    Raises:
        LoadError: it cannot be held, or cannot guess for another.
    """

    def __init__(
        self, runner: Runner[S], path: Path, options: LoadOptions, *, least_probability: float = LEAST_PROBABILITY
    ) -> None:
        self._runner = runner
        self._path = path
        self._least_probability = least_probability
        own = msgspec.structs.replace(
            options, draft="off", draft_path=None, prefix=PrefixOptions(), weight_bits=None, cache_type="f16"
        )
        try:
            opened = runner.open(path, own, lambda _: None)
        except LoadError as error:
            raise LoadError(f"{path.name} cannot guess for another model: {error}") from error
        try:
            if not opened.cuttable:
                raise LoadError(f"{path.name} cannot guess for another model: its memory cannot go back to an earlier token.")
            self._context_length = min(opened.context_length, options.context_length or opened.context_length)
            self._vocabulary = FolderVocabulary(opened.folder, rows=opened.rows)
            self._shared_size = self._vocabulary.size
            """The ids below are those of the larger model, too."""
            self._held: dict[int, _Held[S]] = {}
            self._ended: list[_Held[S]] = []
            """The oldest first."""
            self.token_s = 0.0
            """How long it takes for each token it guesses."""
            self._try_out()
        except BaseException:
            runner.close()
            raise

    def check_vocabulary(self, vocabulary: FolderVocabulary, name: str) -> None:
        """Makes sure that a token means the same to both models.

        Args:
            vocabulary: the larger model's.
            name: its name, for the message.

        Raises:
            LoadError: it does not; the model is closed then.
        """
        own = self._vocabulary
        self._shared_size = min(own.size, vocabulary.size)
        if abs(own.size - vocabulary.size) > MOST_VOCABULARY_DIFFERENCE:
            why = f"their vocabularies have {vocabulary.size} and {own.size} tokens"
        elif (token := vocabulary.first_difference(own, begin=FIRST_COMPARED)) is not None:
            shown = [one.bytes_of(token).decode("utf-8", "replace") for one in (vocabulary, own)]
            why = f"in their vocabularies token {token} is {shown[0]!r} and {shown[1]!r}"
        else:
            return
        self.close()
        raise LoadError(f"{self._path.name} cannot guess for {name}: {why}.")

    def draft_many(self, wants: Tokens[DraftWant], *, catch_up: int = CATCH_UP_TOKENS) -> list[list[int]]:
        """Guesses how sequences go on, each as far as the model is sure enough.

        A sequence that it does not know yet is computed first, at most `catch_up` tokens a call; its guess is empty until that
        is done. It is empty as well where there is no room.
        """
        return [self._draft(want, catch_up) for want in wants]

    def drop(self, number: int) -> None:
        """Notes the end of a sequence, which is kept for prompts that begin as it did; an unknown one is ignored."""
        if (held := self._held.pop(number, None)) is None:
            return
        self._ended.append(held)
        # One context is what a plan counts for a model that guesses.
        while sum(len(one.tokens) for one in self._ended) > self._context_length:
            self._runner.release(self._ended.pop(0).state)

    def close(self) -> None:
        """Frees everything."""
        self._held.clear()
        self._ended.clear()
        self._runner.close()

    def _draft(self, want: DraftWant, catch_up: int) -> list[int]:
        guess: list[int] = []
        if want.most < 1 or not want.tokens or len(want.tokens) + want.most >= self._context_length:
            return guess
        try:
            held = self._hold(want)
            begin = held.state.length
            end = min(len(want.tokens), begin + catch_up)
            scores = self._compute(held, want.tokens[begin:end], wanted=end == len(want.tokens))
            while scores is not None and (token := self._choose(scores)) is not None:
                guess.append(token)
                if len(guess) == want.most:
                    break
                began_s = time.perf_counter()
                scores = self._compute(held, [token], wanted=True)
                self.token_s += SPEED_RATE * (time.perf_counter() - began_s - self.token_s)
        except Exception:  # whatever ails it, the larger model goes on by itself
            log.warning("the draft model does not compute", exc_info=True)
            if (lost := self._held.pop(want.number, None)) is not None:
                self._runner.release(lost.state)
        return guess

    def _hold(self, want: DraftWant) -> _Held[S]:
        """Gives what is known of a sequence, without what was guessed wrong and at least one token short of it all."""
        tokens = want.tokens
        held = self._held.get(want.number)
        if held is None:
            held = self._held[want.number] = self._begin(tokens)
        held.sure += common_prefix(held.tokens[held.sure :], tokens[held.sure :])
        held.sure = min(held.sure, len(tokens) - 1)
        if held.sure < len(held.tokens):
            self._runner.cut(held.state, held.sure)
            del held.tokens[held.sure :]
        return held

    def _begin(self, tokens: Tokens[int]) -> _Held[S]:
        """Begins with a sequence: with what another one that begins the same has computed."""
        known = [*self._ended, *self._held.values()]
        shared, place = max(((common_prefix(one.tokens, tokens), at) for at, one in enumerate(known)), default=(0, 0))
        if shared < LEAST_SHARED:
            return _Held(self._runner.begin())
        donor = known[place]
        if place >= len(self._ended):
            return _Held(self._runner.fork(donor.state, shared), list(tokens[:shared]), shared)
        self._ended.remove(donor)
        donor.sure = shared
        return donor

    def _compute(self, held: _Held[S], tokens: Tokens[int], *, wanted: bool) -> Logits | None:
        """Computes tokens that both models know; gives the scores behind them if they are wanted."""
        if max(tokens) >= self._shared_size:
            return None
        scores = self._runner.extend(held.state, tokens, "last" if wanted else "none")
        held.tokens.extend(tokens)
        return scores

    def _choose(self, scores: Logits) -> int | None:
        """Gives the likeliest token; None if it is not likely enough."""
        scores = scores[: self._shared_size]
        token = int(scores.argmax())
        total = float(np.exp(scores - scores[token]).sum())
        return token if total * self._least_probability <= 1 else None

    def _try_out(self) -> None:
        """Computes a few tokens, to measure the speed."""
        state = self._runner.begin()
        self._runner.extend(state, [0, 0, 0], "none")
        began_s = time.perf_counter()
        self._runner.extend(state, [0], "last")
        self.token_s = time.perf_counter() - began_s
        self._runner.release(state)
