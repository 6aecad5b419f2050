"""A small model that guesses ahead for a larger one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
from llama_cpp import llama_cpp as native

from ...frames import MOST_VOCABULARY_DIFFERENCE, LoadOptions, PrefixOptions
from ..draft.drafter import (
    CATCH_UP_TOKENS,
    FIRST_COMPARED,
    LEAST_PROBABILITY,
    LEAST_SHARED,
    SPEED_RATE,
    DraftWant,
)
from ..prefix.sharing import common_prefix
from .backend import LoadError
from .llama_batch import Batch
from .llama_model import LlamaModel

CACHE_FULL = 1

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Held:
    """What the small model knows of one sequence."""

    slot: int
    tokens: list[int] = field(default_factory=list[int])
    """Those in its cache, guessed ones at the end among them."""
    sure: int = 0
    """So many of them are known to be the sequence's own."""
    call: int = 0
    """When it was used last, by the count of calls."""


class DraftModel:
    """Holds a second GGUF model with the same vocabulary.

    It must be opened before the model it guesses for, which then is the one that receives llama.cpp's messages. What it
    computed for an ended sequence stays until its room is needed, for the next prompt that begins the same.
    """

    def __init__(
        self,
        path: str,
        options: LoadOptions,
        on_progress: Callable[[float], None],
        *,
        least_probability: float = LEAST_PROBABILITY,
    ) -> None:
        self._path = path
        self._least_probability = least_probability
        own = msgspec.structs.replace(options, draft="off", draft_path=None, prefix=PrefixOptions())
        self._model = LlamaModel(path, own, on_progress)
        self._batch = Batch(max(options.batch_tokens, options.max_sequences))
        self._size = native.llama_vocab_n_tokens(self._model.vocab)
        self._shared_size = self._size
        """The ids below are those of the larger model, too."""
        self._free_slots = list(reversed(range(self._model.slots)))
        self._held: dict[int, _Held] = {}
        self._ended: list[_Held] = []
        self._calls = 0
        self.token_s = 0.0
        """How long it takes for each token it guesses."""
        self._try_out()

    @property
    def description(self) -> str:
        """As "llama 135M Q4_1"."""
        return self._model.description

    def check_vocabulary(self, vocab: native.llama_vocab_p, path: str) -> None:
        """Makes sure that a token means the same to both models.

        Args:
            vocab: the larger model's.
            path: its file, for the message.

        Raises:
            LoadError: it does not; the message names both files.
        """
        if (why := _difference(vocab, self._model.vocab)) is not None:
            raise LoadError(f"{self._path} cannot guess for {path}: {why}.")
        self._shared_size = min(self._size, native.llama_vocab_n_tokens(vocab))

    def draft(self, number: int, tokens: Sequence[int], most: int) -> list[int]:
        """Guesses for one sequence; see `draft_many`."""
        return self.draft_many([DraftWant(number, tokens, most)])[0]

    def draft_many(self, wants: Sequence[DraftWant], *, catch_up: int = CATCH_UP_TOKENS) -> list[list[int]]:
        """Guesses how sequences go on, each as far as the model is sure enough.

        A sequence that it does not know yet is computed first, at most `catch_up` tokens a call for all together; its guess
        is empty until that is done. It is empty as well where there is no room.
        """
        self._calls += 1
        guesses: list[list[int]] = [[] for _ in wants]
        helds: list[_Held] = []
        fitting: list[int] = []
        for index, want in enumerate(wants):
            held = self._hold(want) if len(want.tokens) + want.most < self._model.context_length else None
            if held is not None:
                helds.append(held)
                fitting.append(index)
        rows = self._catch_up([wants[index].tokens for index in fitting], helds, catch_up)
        while rows:
            going: list[tuple[_Held, Sequence[int], bool]] = []
            asked: list[int] = []
            for place, row in rows:
                guess, most = guesses[fitting[place]], wants[fitting[place]].most
                token = self._choose(row) if len(guess) < most else None
                if token is None:
                    continue
                guess.append(token)
                if len(guess) < most:
                    going.append((helds[place], [token], True))
                    asked.append(place)
            began_s = time.perf_counter()
            computed = self._compute(going)
            if computed is None or not going:
                break
            self._note_speed((time.perf_counter() - began_s) / len(going))
            rows = list(zip(asked, computed, strict=True))
        return guesses

    def drop(self, number: int) -> None:
        """Notes the end of a sequence; an unknown one is ignored."""
        if (held := self._held.pop(number, None)) is not None:
            self._ended.append(held)

    def close(self) -> None:
        """Frees everything."""
        self._model.close()

    def _hold(self, want: DraftWant) -> _Held | None:
        """Gives what is known of a sequence, without what was guessed wrong and at least one token short of it all."""
        tokens = want.tokens
        held = self._held.get(want.number)
        if held is None and (held := self._begin(tokens)) is not None:
            self._held[want.number] = held
        if held is None or not tokens:
            return None
        held.call = self._calls
        held.sure += common_prefix(held.tokens[held.sure :], tokens[held.sure :])
        held.sure = min(held.sure, len(tokens) - 1)
        if held.sure < len(held.tokens):
            if not self._model.memory.cut(held.slot, held.sure):
                self._model.memory.free(held.slot)
                held.sure = 0
            del held.tokens[held.sure :]
        return held

    def _begin(self, tokens: Sequence[int]) -> _Held | None:
        """Gives a new sequence a slot, with what another one that begins the same has computed."""
        if not self._free_slots and not self._evict():
            return None
        held = _Held(self._free_slots.pop())
        if self._model.cuttable:
            known = [*self._held.values(), *self._ended]
            shared, place = max(
                ((common_prefix(each.tokens, tokens), place) for place, each in enumerate(known)), default=(0, 0)
            )
            if shared >= LEAST_SHARED:
                self._model.memory.share(known[place].slot, held.slot, 0, shared)
                held.tokens, held.sure = list(tokens[:shared]), shared
        return held

    def _catch_up(self, texts: list[Sequence[int]], helds: list[_Held], most: int) -> list[tuple[int, int]]:
        """Computes what is missing, the least first; gives the places of those that lack nothing now and their rows."""
        room = min(most, self._batch.capacity)
        parts: list[tuple[_Held, Sequence[int], bool]] = []
        places: list[int] = []
        for place in sorted(range(len(helds)), key=lambda place: len(texts[place]) - len(helds[place].tokens)):
            held, tokens = helds[place], texts[place]
            begin = len(held.tokens)
            end = min(len(tokens), begin + room)
            if end == begin:
                break
            room -= end - begin
            parts.append((held, tokens[begin:end], end == len(tokens)))
            places.append(place)
        computed = self._compute(parts)
        if computed is None:
            return []
        return [(place, row) for place, row, (_, _, whole) in zip(places, computed, parts, strict=True) if whole]

    def _compute(self, parts: Sequence[tuple[_Held, Sequence[int], bool]]) -> list[int] | None:
        """Computes the next tokens of sequences, each with whether its last one is to be looked at.

        Returns:
            The index of each one's last token in the batch, or None if there was no room; they are forgotten then.
        """
        batch = self._batch
        batch.clear()
        last: list[int] = []
        for held, tokens, wanted in parts:
            first = batch.add(held.slot, len(held.tokens), tokens, sample="last" if wanted else "none")
            last.append(first + len(tokens) - 1)
        if not parts:
            return last
        while (code := batch.decode(self._model.context)) == CACHE_FULL and self._evict():
            pass
        if code != 0:
            if code != CACHE_FULL:
                log.warning("the draft model does not compute: llama_decode gave %d", code)
            for held, _, _ in parts:
                self._model.memory.free(held.slot)
                held.tokens.clear()
                held.sure = 0
            return None
        for held, tokens, _ in parts:
            held.tokens.extend(tokens)
        return last

    def _evict(self) -> bool:
        """Forgets the sequence that was not used for the longest time, ended ones first; False if all are in use."""
        if self._ended:
            oldest = min(self._ended, key=lambda held: held.call)
            self._ended.remove(oldest)
        else:
            idle = [(held.call, number) for number, held in self._held.items() if held.call < self._calls]
            if not idle:
                return False
            oldest = self._held.pop(min(idle)[1])
        self._model.memory.free(oldest.slot)
        self._free_slots.append(oldest.slot)
        return True

    def _choose(self, row: int) -> int | None:
        """Gives the likeliest token after a row of the batch; None if it is not likely enough."""
        pointer = native.llama_get_logits_ith(self._model.context, row)
        logits = np.ctypeslib.as_array(pointer, shape=(self._size,))[: self._shared_size]
        token = int(logits.argmax())
        total = float(np.exp(logits - logits[token]).sum())
        return token if total * self._least_probability <= 1 else None

    def _note_speed(self, token_s: float) -> None:
        self.token_s += SPEED_RATE * (token_s - self.token_s)

    def _try_out(self) -> None:
        """Computes a few tokens and takes some back: it measures the speed, and tells whether the model can do it."""
        held = _Held(self._free_slots[-1])
        went = self._compute([(held, [0, 0, 0], False)]) is not None
        began_s = time.perf_counter()
        went = went and self._compute([(held, [0], True)]) is not None
        self.token_s = time.perf_counter() - began_s
        back = self._model.memory.cut(held.slot, 2)
        self._model.memory.clear()
        if not went or not back:
            why = (
                "its memory cannot go back to an earlier token" if went else self._model.last_errors() or "it does not compute"
            )
            self._model.close()
            raise LoadError(f"{self._path} cannot guess for another model: {why}.")


def _difference(target: native.llama_vocab_p, draft: native.llama_vocab_p) -> str | None:
    """Says where two vocabularies differ; None if what one guesses is valid for the other."""
    if native.llama_vocab_type(target) != native.llama_vocab_type(draft):
        return "their vocabularies are of different kinds"
    adds = native.llama_vocab_get_add_bos(target), native.llama_vocab_get_add_bos(draft)
    if all(adds) and native.llama_vocab_bos(target) != native.llama_vocab_bos(draft):
        return "their texts begin with different tokens"
    sizes = native.llama_vocab_n_tokens(target), native.llama_vocab_n_tokens(draft)
    if abs(sizes[0] - sizes[1]) > MOST_VOCABULARY_DIFFERENCE:
        return f"their vocabularies have {sizes[0]} and {sizes[1]} tokens"
    for token in range(FIRST_COMPARED, min(sizes)):
        texts = native.llama_vocab_get_text(target, token), native.llama_vocab_get_text(draft, token)
        if texts[0] != texts[1]:
            shown = [text.decode("utf-8", "replace") for text in texts]
            return f"token {token} is {shown[0]!r} in one and {shown[1]!r} in the other"
    return None


def open_draft_model(options: LoadOptions, on_progress: Callable[[float], None]) -> DraftModel | None:
    """Opens the draft model that the options name, or none; raises LoadError."""
    if options.draft != "model" or options.draft_path is None:
        return None
    return DraftModel(options.draft_path, options, on_progress)
