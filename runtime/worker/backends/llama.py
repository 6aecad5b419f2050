"""GGUF models by llama.cpp: all sequences in one batch per step, over one cache."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Literal

from ...frames import LoadOptions
from ...questions import Question
from ...request import GenerateRequest
from ..adapters import Adapters, choose_turn
from ..chat.forms import open_form
from ..constraint.matcher import ConstraintFailed
from ..constraint.vocabulary import ConstraintVocabulary
from ..draft.cost import TILE_TOKENS
from ..draft.guesses import Guesses
from ..prefix.explain import Explainer
from ..prefix.sharing import distinct_tokens
from ..prompts import PromptReader
from ..sampling.ranges import check_sampling
from ..slices import LEAST_SLICE, Attention, Slices
from ..words import WordQuestion, answer_words
from .backend import (
    Admission,
    Begun,
    Loaded,
    LoadError,
    Lost,
    Occupancy,
    Refusal,
    StepOutcome,
    Work,
)
from .llama_annex import Annex
from .llama_batch import Batch
from .llama_beginning import Beginnings
from .llama_cells import Cells
from .llama_chooser import Chooser
from .llama_constraint import open_constraints
from .llama_draft import open_draft_model
from .llama_fill import read_fill_tokens
from .llama_model import ENGINE, LlamaModel
from .llama_opening import open_cells
from .llama_picture import LlamaAdmission, PictureFailed, open_projector, words_of
from .llama_sampler import Sampler
from .llama_sequence import Generating, Part
from .llama_vocab import Vocabulary
from .llama_warmup import warm_up

GROWTH_TOKENS = 32
"""How much room in the cache each running sequence keeps before another one is let in."""
RESTORE_FOR_S = 0.05
"""How long kept states may be read in a step that others wait for."""
SAVE_FOR_S = 0.002
REST_FOR_S = 0.01
"""How long what can wait may take at a time while nothing runs: the next turn may come at any moment."""
STEP_TARGET_S = 0.12
CACHE_FULL = 1
ABORTED = 2

if TYPE_CHECKING:
    from .llama_projector import Projector

log = logging.getLogger(__name__)


class LlamaBackend:
    """Holds one GGUF model."""

    _model: LlamaModel
    _vocabulary: Vocabulary
    _prompts: PromptReader
    _batch: Batch
    _cells: Cells
    _slices: Slices
    _annex: Annex
    _chooser: Chooser
    _beginnings: Beginnings
    _constraints: ConstraintVocabulary
    _guesses: Guesses

    def __init__(self) -> None:
        self._sequences: dict[int, Generating] = {}
        """By number, oldest first."""
        self._room_changed = False
        self._projector: Projector | None = None
        self._viewing: Part | None = None
        """The picture whose turn it is after the batch, or None."""
        self._adapters: Adapters = ()
        """Those that lie over the weights now."""
        self._options = LoadOptions()
        self._lock = threading.Lock()
        self._attention = Attention()
        self._computing: frozenset[int] = frozenset()
        """The sequences in the running step; under the lock, as another thread looks at it."""

    def load(self, path: str, options: LoadOptions, on_progress: Callable[[float], None]) -> Loaded:
        """Loads the model, makes its context and computes a first token."""
        self._options = options
        drafter = open_draft_model(options, on_progress)
        self._model = model = LlamaModel(path, options, on_progress)
        if drafter is not None:
            drafter.check_vocabulary(model.vocab, path)
        self._projector = projector = open_projector(options, model)
        self._vocabulary = vocabulary = Vocabulary(model.vocab)
        self._prompts = PromptReader(
            vocabulary,
            model.chat_template,
            read_fill_tokens(model.vocab),
            context_length=model.context_length,
            normalised=options.normalise,
            projector=projector,
            tool_family=options.tool_family,
        )
        self._batch = Batch(max(options.batch_tokens, options.max_sequences))
        step_target_s = options.step_target_s or STEP_TARGET_S
        self._slices = Slices(target_s=step_target_s, most=self._batch.capacity)
        self._guesses = Guesses(options, drafter, cuttable=model.cuttable, spare=model.spare_outputs, limit_s=step_target_s)
        self._constraints = open_constraints(vocabulary)
        self._cells = open_cells(model, options)
        self._annex = Annex(model, self._cells, most_bytes=options.prefix.ram_bytes)
        self._beginnings = Beginnings(
            self._cells,
            Explainer(lambda tokens: vocabulary.text(words_of(tokens))),
            boundaries=vocabulary.boundaries,
            keeps_states=options.prefix.ram_bytes > 0 or options.prefix.disk_dir is not None,
        )
        self._chooser = Chooser(model, vocabulary, self._beginnings)
        first_token = vocabulary.bos if vocabulary.bos is not None else 0
        for tokens, took_s in warm_up(model, self._batch, first_token).items():
            self._guesses.note_step(tokens, took_s)
        self._cells.store(())
        on_progress(1.0)
        return Loaded(
            model.context_length,
            options.max_sequences,
            vocabulary.size,
            ENGINE,
            model.details() | {"chat template": self._prompts.conversation.about},
            "native" if self._prompts.conversation.knows_tools else "generic",
            self._prompts.conversation.thinks,
        )

    def admit(self, request: GenerateRequest) -> Admission:
        """Renders and tokenises the prompt, and checks every token id in the request."""
        check_sampling(request.sampling, self._vocabulary)
        for adapter in request.adapters:
            try:
                self._model.open_adapter(adapter.path)
            except LoadError as error:
                raise Refusal("invalid", str(error), param="lora") from error
        prompt = self._prompts.read(request)
        form = open_form(self._constraints, request.constraint, prompt.written)
        stop = () if prompt.written is None else self._prompts.conversation.stop
        parser = None if prompt.written is None else prompt.written.parser
        shown = self._prompts.shown(prompt.written)
        return LlamaAdmission(prompt.ids, stop, form, parser, pictures=prompt.pictures, shown=shown)

    def answer(self, question: Question) -> Work:
        """Answers what needs no computing, at once."""
        if isinstance(question, WordQuestion):
            return answer_words(question, self._vocabulary, self._prompts)
        raise Refusal("invalid", "This model writes text; it has no embeddings and ranks nothing.")
        yield  # what makes this a piece of work, though it is done in one slice

    def start(self, sequence: int, admission: Admission, request: GenerateRequest) -> None:
        """Takes a sequence in; it is computed as soon as the cache has room for it."""
        tokens = list(admission.token_ids)
        pictures = admission.pictures if isinstance(admission, LlamaAdmission) else ()
        context_length = self._model.context_length
        sampler = Sampler(
            request.sampling,
            self._vocabulary,
            context_length=context_length,
            prompt=words_of(tokens) if pictures else tokens,
            constraint=admission.form,
        )
        room = min(context_length, request.context_limit or context_length)
        shown = admission.shown if isinstance(admission, LlamaAdmission) else frozenset[int]()
        generating = Generating(sequence, tokens, sampler, request, room=room, pictures=pictures, shown=shown)
        self._sequences[sequence] = generating
        if not pictures:  # a guess could name their tokens
            self._guesses.begin(generating, request)
        self._room_changed = True

    def step(self) -> StepOutcome:
        """Computes a token or more for each sequence that is past its prompt, and a part of the prompts of the others."""
        outcome = StepOutcome()
        self._annex.land(self._sequences, outcome)
        if self._room_changed:
            self._let_in()
        while parts := self._compose(outcome):
            if outcome.begun:
                # Whoever waits for a long prompt is told at once where it comes from; the next step computes.
                outcome.prefill_tokens = 0
                return outcome
            code, took_s = self._decode(parts, lambda: self._batch.decode(self._model.context))
            outcome.compute_s += took_s
            if code == 0:
                self._cells.note_step(self._batch.size)
                self._note_speed(outcome.prefill_tokens, took_s)
                self._sample(parts, outcome)
                break
            if code == ABORTED:
                self._roll_back(parts)
                break
            if code != CACHE_FULL:
                self._lose_all(f"llama_decode gave {code}. {self._model.last_errors()}".strip(), outcome)
                break
            if not self._cells.evict():
                self._make_room(outcome)
        if self._viewing is not None:
            self._view(self._viewing, outcome)
        elif not parts:
            self._annex.wait(outcome)
        if self._cells.save_some(time.monotonic() + SAVE_FOR_S, touched=False):
            self._cells.relieve()
        return outcome

    def rest(self) -> bool:
        """Keeps what ended sequences left; True while there is more of it."""
        return not self._cells.save_some(time.monotonic() + REST_FOR_S)

    def wait_s(self) -> float | None:
        """There is always a next step, unless every sequence is held."""
        return None if all(sequence.held for sequence in self._sequences.values()) else 0

    def hold(self, sequence: int, held: bool) -> None:
        """Leaves a sequence out of the batch, but in the cache."""
        if (kept := self._sequences.get(sequence)) is not None:
            kept.held = held
            self._room_changed = True

    def interrupt(self, cancelled: Collection[int]) -> None:
        """Ends the running step early if nobody waits for it; called from another thread."""
        with self._lock:
            if self._computing and self._computing.issubset(cancelled):
                self._model.abort.raise_()
        self._annex.interrupt(cancelled)

    def drop(self, sequence: int) -> None:
        """Ends a sequence; what it computed stays in the cache for those that begin like it."""
        dropped = self._sequences.pop(sequence, None)
        if dropped is None:
            return
        if dropped.active:
            self._annex.release(dropped, keep=True)
            self._beginnings.leave(dropped)
        dropped.sampler.close()
        self._guesses.drop(sequence)
        self._room_changed = True

    def occupancy(self) -> Occupancy:
        """Counts the cells in use."""
        running = [sequence.computed for sequence in self._sequences.values()]
        used = distinct_tokens(running)
        kept = distinct_tokens([*running, *(kept.tokens for kept in self._cells.kept)]) - used
        return Occupancy(used, self._model.cache_size, kept, self._cells.prefix_bytes)

    def shrink(self, share: float) -> None:
        """Lets computed prompts beside the cache take less memory."""
        self._cells.resize_stores(int(self._options.prefix.ram_bytes * share))

    def close(self) -> None:
        """Keeps what is worth it, and frees everything."""
        for number in tuple(self._sequences):
            self.drop(number)
        self._annex.close()
        self._cells.close()
        self._guesses.close()
        if self._projector is not None:
            self._projector.close()
        self._model.close()

    def forget(self) -> None:
        """Lets go of everything that ended sequences left in the cache."""
        self._cells.forget_all()

    def _let_in(self) -> None:
        """Gives waiting sequences their share of the cache, oldest first, as far as there is room.

        Held ones give up theirs where another needs it: their readers may take minutes, or never come back.
        """
        self._room_changed = False
        active = [sequence for sequence in self._sequences.values() if sequence.active]
        for sequence in tuple(self._sequences.values()):
            if sequence.active or sequence.held:
                continue
            while active and self._needed([*active, sequence]) > self._model.cache_size:
                idle = next((other for other in reversed(active) if other.held), None)
                if idle is None:
                    return
                active.remove(idle)
                self._vacate(idle)
            sequence.slot = self._cells.take_slot()
            active.append(sequence)
        self._room_changed = False

    def _needed(self, sequences: list[Generating]) -> int:
        return distinct_tokens([sequence.tokens for sequence in sequences]) + GROWTH_TOKENS * len(sequences)

    def _compose(self, outcome: StepOutcome) -> list[Part]:
        """Fills the batch with what every sequence is to compute in this step."""
        batch = self._batch
        batch.clear()
        parts: list[Part] = []
        self._viewing = None
        running = [sequence for sequence in self._sequences.values() if sequence.active]
        working = self._choose_group([one for one in running if not one.held and not self._annex.holds(one)])
        answering = [sequence for sequence in working if sequence.answering]
        # Beside prompts, guesses leave room for a slice within the same tile; on a part of the cores they do not pay.
        room = batch.capacity if len(answering) == len(working) else TILE_TOKENS - LEAST_SLICE
        room = len(answering) if self._annex.is_busy else room
        self._guesses.fill(answering, room - len(answering))
        for sequence in answering:
            tokens = [sequence.tokens[-1], *sequence.guess]
            first = batch.add(sequence.slot, sequence.in_cache, tokens, sample="all")
            parts.append(Part(sequence, len(tokens), first, answers=True))
        outcome.prefill_tokens = 0
        if len(answering) < len(working):
            self._add_prompts([sequence for sequence in working if not sequence.answering], running, parts, outcome)
        return parts

    def _add_prompts(
        self, prompts: list[Generating], running: list[Generating], parts: list[Part], outcome: StepOutcome
    ) -> None:
        """Fills the rest of the batch with prompts, as far as the step may be prolonged."""
        batch = self._batch
        beside = bool(parts)
        elsewhere = self._annex.parts(self._sequences)
        elsewhere += [view for sequence in prompts if sequence.hits is not None and (view := sequence.view) is not None]
        room = min(batch.room, self._slices.size(batch.size))
        now_s = time.monotonic()
        for sequence in self._slices.order(prompts, now_s):
            if room <= 0:
                break
            if not self._beginnings.prepare(
                sequence, running, [*parts, *elsewhere], prefill_tps=self._slices.prefill_tps, until_s=now_s + RESTORE_FOR_S
            ):
                continue
            if not sequence.began:
                sequence.began = True
                outcome.begun.append(Begun(sequence.number, self._beginnings.report(sequence)))
            if (view := sequence.view) is not None:
                self._viewing = self._viewing or view
                continue
            if beside and not outcome.begun and self._annex.take(sequence):
                elsewhere += self._annex.parts(self._sequences)
                continue
            count = min(room, sequence.stretch)
            if sequence.repeatable and 1 < count == sequence.pending:
                count -= 1  # the last one alone, as when all before it are taken over
            if sequence.marks:
                count = min(count, sequence.marks[0] - sequence.in_cache)
            chunk = sequence.tokens[sequence.in_cache : sequence.in_cache + count]
            first = batch.add(sequence.slot, sequence.in_cache, chunk, sample="last" if count == sequence.pending else "none")
            parts.append(Part(sequence, count, first, answers=False))
            outcome.prefill_tokens += count
            room -= count

    def _view(self, part: Part, outcome: StepOutcome) -> None:
        """Computes what a picture shows, or, in the step after that, its cells behind those of the text before it."""
        sequence, projector = part.sequence, self._projector
        picture = sequence.next_picture
        if projector is None or picture is None or not sequence.active or sequence.view is None:
            return
        if picture.encoded is None:
            try:
                picture.encoded, took_s = projector.encode(picture.chunk)
                outcome.compute_s += took_s
            except PictureFailed as error:
                self._lose(sequence, "failed", str(error), outcome)
            return
        decode = partial(projector.decode, picture.chunk, picture.encoded, slot=sequence.slot, begin=picture.begin)
        code, took_s = self._decode([part], decode)
        outcome.compute_s += took_s
        if code == 0:
            picture.encoded = None
            sequence.in_cache = picture.end
            outcome.prefill_tokens += picture.count
            self._beginnings.reached(sequence)
            return
        if code not in (ABORTED, CACHE_FULL):
            self._lose_all(f"A picture could not be computed; llama_decode gave {code}. {self._model.last_errors()}", outcome)
            return
        if code == CACHE_FULL and not self._cells.evict():
            self._make_room(outcome)
        if sequence.active:
            # It is computed in several batches, of which the first ones may have come through.
            self._roll_back([part])

    def _choose_group(self, sequences: list[Generating]) -> list[Generating]:
        """Only sequences under the same adapters can share a batch; where there are several kinds, they take turns."""
        if not sequences:
            return sequences
        chosen = choose_turn([sequence.adapters for sequence in sequences], self._adapters)
        if chosen != self._adapters:
            self._model.use_adapters(chosen)
            self._adapters = chosen
        return [sequence for sequence in sequences if sequence.adapters == chosen]

    def _decode(self, parts: list[Part], compute: Callable[[], int]) -> tuple[int, float]:
        with self._lock:
            self._computing = frozenset(part.sequence.number for part in parts)
            self._model.abort.lower()
        began_s = time.perf_counter()
        code = compute()
        took_s = time.perf_counter() - began_s
        with self._lock:
            self._computing = frozenset()
        return code, took_s

    def _note_speed(self, prefill_tokens: int, took_s: float) -> None:
        decode_tokens = self._batch.size - prefill_tokens
        if not self._attention.is_due(decode_tokens=decode_tokens, prefill_tokens=prefill_tokens):
            return
        self._slices.note(decode_tokens=decode_tokens, prefill_tokens=prefill_tokens, took_s=took_s)
        if not prefill_tokens and not self._annex.is_busy:
            self._guesses.note_step(decode_tokens, took_s)

    def _sample(self, parts: list[Part], outcome: StepOutcome) -> None:
        for part in parts:
            sequence = part.sequence
            try:
                if part.answers:
                    self._chooser.check_guess(sequence, part, outcome)
                    continue
                sequence.in_cache += part.count
                self._beginnings.reached(sequence)
                if not sequence.pending:
                    self._chooser.choose(sequence, part.first + part.count - 1, outcome)
            except ConstraintFailed as error:
                self._lose(sequence, "failed", str(error), outcome)

    def _roll_back(self, parts: list[Part]) -> None:
        """Takes out of the cache what an aborted step left there."""
        if self._model.has_states:
            self._start_over()
            return
        for part in parts:
            # A window may have lost what is before these tokens, though the engine takes them out.
            if not (self._model.cuttable and self._cells.memory.cut(part.sequence.slot, part.sequence.in_cache)):
                self._vacate(part.sequence)
        self._room_changed = True

    def _start_over(self) -> None:
        """Gives up all that is in the cache: in every step the engine moves states of others too, and it was stopped midway."""
        self._cells.forget_all()
        for sequence in self._sequences.values():
            if sequence.active:
                self._vacate(sequence)
        # Cells of nobody count as zeroed from the moment a step takes them in, done or not.
        self._cells.memory.clear()
        self._room_changed = True

    def _make_room(self, outcome: StepOutcome) -> None:
        """Sends a held sequence or the youngest one back to wait for room; one that is alone and still does not fit is lost."""
        active = [sequence for sequence in self._sequences.values() if sequence.active]
        youngest = next((sequence for sequence in reversed(active) if sequence.held), active[-1])
        if len(active) > 1:
            log.info("the cache is full; one of %d sequences waits", len(active))
            self._vacate(youngest)
        else:
            self._lose(youngest, "overloaded", "The context memory is full.", outcome)

    def _vacate(self, sequence: Generating) -> None:
        self._annex.release(sequence)
        self._cells.give_back(sequence.slot)
        sequence.slot = -1
        sequence.in_cache = sequence.ram_tokens = sequence.disk_tokens = 0
        sequence.hits = None
        sequence.marks.clear()

    def _lose(self, sequence: Generating, kind: Literal["overloaded", "failed"], why: str, outcome: StepOutcome) -> None:
        if sequence.active:
            self._vacate(sequence)
        self.drop(sequence.number)
        outcome.lost.append(Lost(sequence.number, kind, why))

    def _lose_all(self, why: str, outcome: StepOutcome) -> None:
        log.error("%s", why)
        for sequence in tuple(self._sequences.values()):
            if sequence.active and not sequence.held:
                self._lose(sequence, "failed", why, outcome)
        if self._model.has_states:
            self._start_over()
