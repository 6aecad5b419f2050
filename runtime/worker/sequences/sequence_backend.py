"""A backend over any engine that only computes: prompts, samplers, forms, kept states and the order of work are the same."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal

from ...formats.onnx_variants import model_folder
from ...frames import LoadOptions
from ...questions import Question
from ...request import GenerateRequest
from ..backends.backend import Admission, Begun, Drafted, Loaded, Lost, Occupancy, Refusal, Sampled, StepOutcome, Work
from ..chat.forms import open_form
from ..constraint.matcher import ConstraintFailed
from ..constraint.vocabulary import ConstraintVocabulary, Tokens
from ..draft.guesses import MOST_CHECKED, Guesses
from ..fill import FillTokens
from ..give_back import give_back_memory
from ..prefix.explain import Explainer
from ..prompts import PromptReader
from ..sampling.logprobs import logprob_of
from ..sampling.ranges import check_sampling
from ..sampling.sampler import Sampler
from ..slices import Slices
from ..words import WordQuestion, answer_words
from .folder_vocabulary import FolderVocabulary, read_template
from .opening import open_guesses, open_stores
from .overlay import Overlay
from .runner import Logits, Opened, Part, PromptRunner, Runner, S, Turn
from .sequence import Sequence
from .states import States

STEP_TARGET_S = 0.12
ALONE_S = 0.5
"""How long a step of a prompt may take that nobody waits beside: within that a cancelled one ends."""
FIRST_CHUNK_TOKENS = 64
"""So many of the first prompt's tokens are computed before it is known how fast that goes."""
HEAD_START_S = 0.06
"""So long an engine loads alone before the vocabulary is read beside it."""
SAVE_FOR_S = 0.002
REST_FOR_S = 0.01

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SequenceAdmission(Admission):
    """A prompt, and what its answer may show."""

    shown: frozenset[int] = frozenset()
    """Control tokens whose texts belong to the answer."""


class SequenceBackend(Generic[S]):
    """Holds one model, by a runner.

    Args:
        runner: the engine; it has no model yet.
        make_runner: makes another one, for a second model that guesses; None where its guesses cannot be checked.
    """

    _vocabulary: FolderVocabulary
    _prompts: PromptReader
    _constraints: ConstraintVocabulary
    _states: States[S]
    _slices: Slices
    _guesses: Guesses
    _context_length: int

    def __init__(self, runner: Runner[S], make_runner: Callable[[], Runner[S]] | None = None) -> None:
        self._runner = runner
        self._make_runner = make_runner
        self._prompt_runner: PromptRunner[S] | None = runner if isinstance(runner, PromptRunner) else None
        """Where it computes several prompts at once."""
        self._sequences: dict[int, Sequence[S]] = {}
        """By number, oldest first."""
        self._overlay = Overlay(runner)
        self._lock = threading.Lock()
        self._cancelled: frozenset[int] = frozenset()
        """Sequences that nobody waits for any more; under the lock, as another thread writes it."""
        self._batch_tokens = 0
        self._ram_bytes = 0
        """What computed prompts may take in memory, as planned."""

    def load(self, path: str, options: LoadOptions, on_progress: Callable[[float], None]) -> Loaded:
        """Loads the model and computes a first token."""
        opened, vocabulary = self._open(Path(path), options, on_progress)
        self._vocabulary = vocabulary
        self._context_length = min(opened.context_length, options.context_length or opened.context_length)
        self._prompts = PromptReader(
            vocabulary,
            read_template(opened.folder),
            _fill_tokens(vocabulary),
            context_length=self._context_length,
            normalised=options.normalise,
            tool_family=options.tool_family,
        )
        self._constraints = ConstraintVocabulary(lambda: _read_tokens(vocabulary))
        self._batch_tokens = options.batch_tokens
        self._ram_bytes = options.prefix.ram_bytes
        step_target_s = options.step_target_s or STEP_TARGET_S
        self._slices = Slices(target_s=step_target_s, most=options.batch_tokens)
        self._guesses, guessing = open_guesses(opened, options, vocabulary, self._make_runner, limit_s=step_target_s)
        sequences = min(options.max_sequences, opened.most_sequences or options.max_sequences)
        self._states = States(
            self._runner,
            open_stores(opened, options, self._overlay),
            Explainer(vocabulary.text),
            cuttable=opened.cuttable,
            copyable=opened.copyable,
            boundaries=vocabulary.boundaries,
            most_tokens=max(options.cache_tokens or 0, self._context_length),
        )
        if not opened.warm:
            self._warm_up()
        give_back_memory()  # to read a tokenizer and weights takes more than they do
        on_progress(1.0)
        conversation = self._prompts.conversation
        return Loaded(
            self._context_length,
            sequences,
            vocabulary.size,
            opened.engine,
            opened.details | {"chat template": conversation.about, "guesses": guessing},
            "native" if conversation.knows_tools else "generic",
            conversation.thinks,
        )

    def admit(self, request: GenerateRequest) -> Admission:
        """Renders and tokenises the prompt, and checks every token id in the request."""
        check_sampling(request.sampling, self._vocabulary)
        self._overlay.open(request.adapters)
        prompt = self._prompts.read(request)
        form = open_form(self._constraints, request.constraint, prompt.written)
        stop = () if prompt.written is None else self._prompts.conversation.stop
        parser = None if prompt.written is None else prompt.written.parser
        return SequenceAdmission(prompt.ids, stop, form, parser, shown=self._prompts.shown(prompt.written))

    def answer(self, question: Question) -> Work:
        """Answers what needs no computing, at once."""
        if isinstance(question, WordQuestion):
            return answer_words(question, self._vocabulary, self._prompts)
        raise Refusal("invalid", "This model writes text; it has no embeddings and ranks nothing.")
        yield  # what makes this a piece of work, though it is done in one slice

    def start(self, sequence: int, admission: Admission, request: GenerateRequest) -> None:
        """Takes a sequence in; it is computed as soon as there is room for it."""
        tokens = list(admission.token_ids)
        sampler = Sampler(
            request.sampling,
            self._vocabulary,
            context_length=self._context_length,
            prompt=tokens,
            constraint=admission.form,
        )
        shown = admission.shown if isinstance(admission, SequenceAdmission) else frozenset[int]()
        room = min(self._context_length, request.context_limit or self._context_length)
        started = Sequence[S](sequence, tokens, sampler, request, room=room, shown=shown)
        self._sequences[sequence] = started
        self._guesses.begin(started, request)

    def step(self) -> StepOutcome:
        """Computes a token for each sequence that is past its prompt, and a part of the prompts of the others."""
        outcome = StepOutcome()
        working = self._overlay.take_turn(self._let_in())
        answering = [sequence for sequence in working if self._is_due(sequence)]
        prompts = [sequence for sequence in working if not self._is_due(sequence)]
        if prompts:
            self._compute_prompts(prompts, working, len(answering), outcome)
            if outcome.begun:
                # Whoever waits for a long prompt is told at once where it comes from; the next step computes.
                return outcome
        answering = [sequence for sequence in answering if sequence.number in self._sequences]
        if self._prompt_runner is not None:
            answering += [sequence for sequence in prompts if sequence.number in self._sequences and self._is_due(sequence)]
        if answering:
            # Guesses are checked sequence by sequence: several answers are quicker at once, each with one token.
            alone = len(answering) == 1 and not outcome.prefill_tokens
            self._guesses.fill(answering, MOST_CHECKED if alone else 0)
            if answering[0].guess:
                self._check_guess(answering[0], outcome)
            else:
                self._compute_answers(answering, outcome)
        self._states.save_some(time.monotonic() + SAVE_FOR_S)
        return outcome

    def rest(self) -> bool:
        """Keeps what ended sequences left; True while there is more of it."""
        return not self._states.save_some(time.monotonic() + REST_FOR_S)

    def interrupt(self, cancelled: Collection[int]) -> None:
        """Leaves these out of what is still to come of the running step; called from another thread."""
        with self._lock:
            self._cancelled = frozenset(cancelled)

    def wait_s(self) -> float | None:
        """There is always a next step, unless every sequence is held."""
        return None if all(sequence.held for sequence in self._sequences.values()) else 0

    def hold(self, sequence: int, held: bool) -> None:
        """Leaves a sequence out of the steps, but in memory."""
        if (kept := self._sequences.get(sequence)) is not None:
            kept.held = held

    def drop(self, sequence: int) -> None:
        """Ends a sequence; what it computed stays for those that begin like it."""
        dropped = self._sequences.pop(sequence, None)
        if dropped is not None:
            self._states.leave(dropped)
            self._guesses.drop(sequence)

    def occupancy(self) -> Occupancy:
        """Counts the tokens that states hold."""
        used = sum(sequence.computed for sequence in self._sequences.values())
        return Occupancy(used, self._states.most_tokens, self._states.kept_tokens, self._states.prefix_bytes)

    def shrink(self, share: float) -> None:
        """Lets ended sequences and computed prompts take less memory."""
        self._states.shrink(share, int(self._ram_bytes * share))

    def close(self) -> None:
        """Keeps what is worth it, and frees everything."""
        for number in tuple(self._sequences):
            self.drop(number)
        self._states.close()
        self._guesses.close()
        self._runner.close()

    def forget(self) -> None:
        """Lets go of everything that ended sequences left."""
        self._states.forget_all()

    def _open(self, path: Path, options: LoadOptions, on_progress: Callable[[float], None]) -> tuple[Opened, FolderVocabulary]:
        """Loads the model, and its vocabulary beside it: a large one takes as long to read as a small model."""
        folder = path if path.is_dir() else model_folder(path)
        if not (folder / "tokenizer.json").is_file():
            opened = self._runner.open(path, options, on_progress)
            return opened, FolderVocabulary(opened.folder, rows=opened.rows)
        loaded = threading.Event()

        def read() -> FolderVocabulary:
            # Reading holds Python's lock for as long as it takes; an engine needs that only to begin.
            loaded.wait(HEAD_START_S)
            return FolderVocabulary(folder)

        with ThreadPoolExecutor(1, "vocabulary") as pool:
            reading = pool.submit(read)
            try:
                opened = self._runner.open(path, options, on_progress)
            finally:
                loaded.set()
            vocabulary = reading.result() if opened.folder == folder else FolderVocabulary(opened.folder)
        return opened, vocabulary.limited(opened.rows)

    def _warm_up(self) -> None:
        """The first token takes far longer than all others: kernels are compiled, weights are read."""
        state = self._runner.begin()
        token = self._vocabulary.bos if self._vocabulary.bos is not None else 0
        self._runner.extend(state, [token], "last")
        self._runner.release(state)

    def _let_in(self) -> list[Sequence[S]]:
        """Gives those their turn for whom there is room, oldest first; held ones give up theirs where another needs it."""
        working = [sequence for sequence in self._sequences.values() if not sequence.held]
        used = 0
        chosen: list[Sequence[S]] = []
        for sequence in working:
            if chosen and used + sequence.expected_tokens > self._states.most_tokens:
                break
            used += sequence.expected_tokens
            chosen.append(sequence)
        others = [sequence for sequence in self._sequences.values() if sequence not in chosen and sequence.state is not None]
        spare = self._states.most_tokens - used - sum(other.computed for other in others)
        for other in reversed(others):
            if spare >= 0:
                break
            spare += other.computed
            self._vacate(other)
        self._states.make_room(used)
        return chosen

    def _vacate(self, sequence: Sequence[S]) -> None:
        """Sends a sequence back to wait for room; what it computed may be evicted now."""
        self._states.leave(sequence)
        sequence.hits = None
        sequence.ram_tokens = sequence.disk_tokens = 0
        sequence.marks.clear()

    def _compute_prompts(
        self, prompts: list[Sequence[S]], working: list[Sequence[S]], answering: int, outcome: StepOutcome
    ) -> None:
        room = self._slices.size(answering) if answering else self._alone_tokens()
        began_s = time.perf_counter()
        pieces: list[tuple[Sequence[S], int]] = []
        for sequence in self._slices.order(prompts, time.monotonic()):
            if room <= 0:
                break
            if sequence.number in self._cancelled or not self._prepare(sequence, working, outcome):
                continue
            if not sequence.began:
                sequence.began = True
                outcome.begun.append(Begun(sequence.number, self._states.report(sequence)))
            if outcome.begun:
                continue
            count = min(room, sequence.pending if self._prompt_runner is None else sequence.pending - 1)
            if sequence.marks:
                count = min(count, sequence.marks[0] - sequence.computed)
            if count < 1:
                continue
            if self._prompt_runner is None:
                self._extend(sequence, count, outcome)
            else:
                pieces.append((sequence, count))
            outcome.prefill_tokens += count
            room -= count
        if self._prompt_runner is not None and pieces:
            self._fill(self._prompt_runner, pieces, outcome)
        took_s = time.perf_counter() - began_s
        if outcome.prefill_tokens:
            outcome.compute_s += took_s
            self._slices.note(decode_tokens=0, prefill_tokens=outcome.prefill_tokens, took_s=took_s)

    def _prepare(self, sequence: Sequence[S], working: list[Sequence[S]], outcome: StepOutcome) -> bool:
        try:
            return self._states.prepare(sequence, working, prefill_tps=self._slices.prefill_tps)
        except Exception as error:
            self._lose(sequence, error, outcome)
            return False

    def _alone_tokens(self) -> int:
        speed = self._slices.prefill_tps
        if speed is None:
            return min(FIRST_CHUNK_TOKENS, self._batch_tokens)
        return max(1, min(self._batch_tokens, int(speed * ALONE_S)))

    def _extend(self, sequence: Sequence[S], count: int, outcome: StepOutcome) -> None:
        state = sequence.state
        assert state is not None  # noqa: S101 - it was prepared
        begin = state.length
        last = count == sequence.pending
        try:
            logits = self._runner.extend(state, sequence.tokens[begin : begin + count], "last" if last else "none")
            self._states.reached(sequence)
            if last and logits is not None:
                self._choose(sequence, logits, outcome)
        except Exception as error:
            self._lose(sequence, error, outcome)

    def _fill(self, runner: PromptRunner[S], pieces: list[tuple[Sequence[S], int]], outcome: StepOutcome) -> None:
        """Computes the next tokens of several prompts at once."""
        parts = [
            Part(sequence.state, sequence.tokens[sequence.computed : sequence.computed + count])
            for sequence, count in pieces
            if sequence.state is not None
        ]
        try:
            runner.fill(parts)
        except Exception as error:
            for sequence, _ in pieces:
                self._lose(sequence, error, outcome)
            return
        for sequence, _ in pieces:
            self._states.reached(sequence)

    def _is_due(self, sequence: Sequence[S]) -> bool:
        """Whether the next token of a sequence is found by `decode`."""
        if self._prompt_runner is None or not sequence.began:
            return sequence.answering
        return sequence.pending == 1 and sequence.state is not None

    def _compute_answers(self, answering: list[Sequence[S]], outcome: StepOutcome) -> None:
        turns = [
            Turn(sequence.state, sequence.tokens[-1], None if sequence.top_logprobs is not None else sequence.sampler.draw)
            for sequence in answering
            if sequence.state is not None
        ]
        began_s = time.perf_counter()
        try:
            found = self._runner.decode(turns)
        except Exception as error:
            for sequence in answering:
                self._lose(sequence, error, outcome)
            return
        took_s = time.perf_counter() - began_s
        outcome.compute_s += took_s
        self._slices.note(decode_tokens=len(answering), prefill_tokens=0, took_s=took_s)
        if len(answering) == 1:
            self._guesses.note_step(1, took_s)
        for sequence, result in zip(answering, found, strict=True):
            try:
                if isinstance(result, int):
                    sequence.sampler.note(result)
                    self._add(sequence, result, outcome)
                else:
                    self._choose(sequence, result, outcome)
            except ConstraintFailed as error:
                self._lose(sequence, error, outcome)

    def _check_guess(self, sequence: Sequence[S], outcome: StepOutcome) -> None:
        """Computes what was guessed, and chooses token after token as without a guess, as long as each is what was guessed."""
        state, guess = sequence.state, sequence.guess
        assert state is not None  # noqa: S101 - it was prepared
        before = state.length
        accepted = 0
        began_s = time.perf_counter()
        try:
            rows = self._runner.extend(state, [sequence.tokens[-1], *guess], "all")
            assert rows is not None  # noqa: S101 - they were wanted
            took_s = time.perf_counter() - began_s
            for row, guessed in zip(rows[:-1], guess, strict=True):
                if self._choose(sequence, row, outcome) != guessed:
                    break
                accepted += 1
            else:
                self._choose(sequence, rows[-1], outcome)
            began_s = time.perf_counter()
            if accepted < len(guess):
                self._runner.cut(state, before + 1 + accepted)
            took_s += time.perf_counter() - began_s
        except Exception as error:
            self._lose(sequence, error, outcome)
            return
        outcome.drafted.append(Drafted(sequence.number, len(guess), accepted))
        outcome.compute_s += took_s
        self._guesses.note_step(1 + len(guess), took_s)

    def _choose(self, sequence: Sequence[S], logits: Logits, outcome: StepOutcome) -> int | None:
        """Chooses a sequence's next token; None where the model ended."""
        return self._add(sequence, sequence.sampler.choose(logits), outcome, logits)

    def _add(self, sequence: Sequence[S], token: int, outcome: StepOutcome, logits: Logits | None = None) -> int | None:
        vocabulary = self._vocabulary
        if len(sequence.tokens) == sequence.prompt_tokens:
            self._states.computed(sequence)
        sequence.tokens.append(token)
        if token in vocabulary.ends:
            outcome.tokens.append(Sampled(sequence.number, b"", end=True))
            return None
        logprob = None
        if sequence.top_logprobs is not None and logits is not None:
            logprob = logprob_of(logits[: vocabulary.size], vocabulary, token=token, top=sequence.top_logprobs)
        piece = vocabulary.bytes_of(token) if token in sequence.shown else vocabulary.piece(token)
        outcome.tokens.append(Sampled(sequence.number, piece, logprob=logprob))
        return token

    def _lose(self, sequence: Sequence[S], error: Exception, outcome: StepOutcome) -> None:
        kind: Literal["overloaded", "failed"] = "overloaded" if isinstance(error, MemoryError) else "failed"
        if not isinstance(error, ConstraintFailed):
            log.error("a sequence is lost", exc_info=error)
        self._states.leave(sequence, keep=False)
        self._sequences.pop(sequence.number, None)
        self._guesses.drop(sequence.number)
        outcome.lost.append(Lost(sequence.number, kind, f"The engine could not go on: {error}"))


def _fill_tokens(vocabulary: FolderVocabulary) -> FillTokens | None:
    if vocabulary.fill_texts is None:
        return None
    prefix, suffix, middle = vocabulary.fill_texts
    return FillTokens(prefix, suffix, middle, bos=vocabulary.bos if vocabulary.adds_bos else None)


def _read_tokens(vocabulary: FolderVocabulary) -> Tokens:
    controls = frozenset(vocabulary.control_texts.values()) | vocabulary.ends
    return Tokens(
        [vocabulary.bytes_of(token) if token in controls else vocabulary.piece(token) for token in range(vocabulary.size)],
        controls,
        vocabulary.ends,
        lambda text: vocabulary.tokenize(text, control=False),
    )
