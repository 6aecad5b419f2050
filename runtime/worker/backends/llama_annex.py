"""Long prompts computed beside running answers: in a context of their own, by a part of the cores."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import cast

from llama_cpp import llama_cpp as native

from .backend import StepOutcome
from .llama_abort import AbortFlag
from .llama_batch import Batch
from .llama_cells import Cells
from .llama_memory import ContextMemory
from .llama_model import LlamaModel
from .llama_sequence import Generating, Part

LEAST_TOKENS = 256
"""Shorter prompts are done sooner in slices of the answers' own steps."""
PIECE_TOKENS = 256
"""So many tokens are computed at a time: enough to be fast, and few enough to go over to all cores soon once these are free."""
MOST_TAKEN_BYTES = 128 << 20
"""How large the state of what is known already may be: it is copied while answers wait."""
WAIT_S = 0.01

log = logging.getLogger(__name__)


class Annex:
    """Computes one prompt at a time while answers go on in the main context.

    A step that computes tokens of answers and a slice of a prompt takes as long as both together, and small slices take a CPU
    twice the work. Here each side has cores of its own: answers never wait for a prompt, and a prompt is computed in large
    pieces. What was computed moves over as the engine's states, at the end, as answers would look at these cells in vain. A GPU
    does one thing at a time, so this is for models on the CPU, and for those whose states can be parted.

    Args:
        model: what computes.
        cells: where the pieces go.
        most_bytes: how much memory the second context and its states may take.
    """

    def __init__(self, model: LlamaModel, cells: Cells, *, most_bytes: int) -> None:
        self._model = model
        self._cells = cells
        self._works = model.cuttable and model.threads > 1 and not native.llama_supports_gpu_offload()
        self._most_bytes = most_bytes
        self._job: _Job | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a prompt is being computed here."""
        return self._job is not None

    def holds(self, sequence: Generating) -> bool:
        """Whether a sequence's prompt is being computed here."""
        job = self._job
        return job is not None and job.number == sequence.number and not job.is_cancelled

    def take(self, sequence: Generating) -> bool:
        """Begins to compute a prompt that has a slot, behind what is known of it; False where it had better stay."""
        each_bytes = self._model.cache_bytes_per_token
        # The size of a token is 0 for models whose first layers hold states: it alone would not keep them out.
        if (
            not self._works
            or self._job is not None
            or sequence.pending <= LEAST_TOKENS
            or sequence.pictures
            or sequence.adapters
            or 2 * len(sequence.tokens) * each_bytes > self._most_bytes
            or sequence.in_cache * each_bytes > MOST_TAKEN_BYTES
        ):
            return False
        known = self._cells.memory.read_state(sequence.slot) if sequence.in_cache else b""
        # The last one is left to the main context, where the answer goes on from it.
        self._job = _Job(self._model, sequence.number, sequence.tokens[:-1], sequence.in_cache, known)
        threads = self._model.threads
        self._model.use_threads(max(1, threads // 2), max(1, threads // 2))
        self._job.start()
        return True

    def parts(self, sequences: Mapping[int, Generating]) -> list[Part]:
        """What is being computed here, as a part of a batch."""
        sequence = None if self._job is None else sequences.get(self._job.number)
        if sequence is None or not self.holds(sequence):
            return []
        return [Part(sequence, sequence.pending - 1, 0, answers=False)]

    def land(self, sequences: Mapping[int, Generating], outcome: StepOutcome) -> None:
        """Takes over a prompt that is computed, or as far as it came."""
        job = self._job
        if job is None:
            return
        for piece in job.fresh_pieces():
            outcome.aside_tokens += piece.end - piece.begin
            outcome.aside_s += piece.took_s
        if job.is_over:
            sequence = sequences.get(job.number)
            if sequence is not None and not job.is_cancelled:
                self._put(job, sequence)
            self._end(job)

    def wait(self, outcome: StepOutcome) -> None:
        """Waits a moment for the piece that is being computed, where there is nothing else to do.

        After it the prompt goes back to the main context, which has all cores: two contexts that both use all of them would
        slow each other down, even while one of them rests.
        """
        if self._job is not None:
            self._job.is_enough = True
            began_s = time.perf_counter()
            self._job.wait(WAIT_S)
            outcome.compute_s += time.perf_counter() - began_s

    def release(self, sequence: Generating, *, keep: bool = False) -> None:
        """Stops computing a sequence's prompt, if it is computed here.

        Args:
            sequence: has a slot.
            keep: whether what is computed goes there.
        """
        job = self._job
        if job is not None and job.number == sequence.number:
            if keep:
                job.fresh_pieces()
                self._put(job, sequence)
            job.cancel()

    def interrupt(self, cancelled: Collection[int]) -> None:
        """Stops early what nobody waits for; called from another thread."""
        job = self._job
        if job is not None and job.number in cancelled:
            job.cancel()

    def close(self) -> None:
        """Stops, and waits until the engine let go of the second context."""
        if self._job is not None:
            self._job.cancel()
            self._end(self._job)

    def _put(self, job: _Job, sequence: Generating) -> None:
        for piece in job.pieces:
            if sequence.in_cache == piece.begin and self._cells.put(sequence.slot, piece.state, piece.begin, piece.end):
                sequence.in_cache = piece.end
                self._cells.note_step(piece.end - piece.begin)
        job.pieces.clear()

    def _end(self, job: _Job) -> None:
        job.join()
        self._job = None
        self._model.use_threads(self._model.threads, self._model.threads_batch)
        if job.problem:
            log.warning("prompts are no longer computed beside answers: %s", job.problem)
            self._works = False


@dataclass(frozen=True, slots=True)
class _Piece:
    begin: int
    end: int
    state: bytes
    took_s: float


class _Job:
    """The computing of one prompt, in a thread of its own."""

    def __init__(self, model: LlamaModel, number: int, tokens: list[int], begin: int, known: bytes) -> None:
        self.number = number
        self.problem = ""
        self.is_cancelled = False
        self.is_enough = False
        """Whether it is to end after the piece that is being computed."""
        self._model = model
        self._tokens = tokens
        self._begin = begin
        self._known = known
        self._abort = AbortFlag()
        self.pieces: list[_Piece] = []
        """What came and is not in the main context yet."""
        self.is_over = False
        self._coming: SimpleQueue[_Piece | None] = SimpleQueue()
        """None says that nothing follows."""
        self._news = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="annex", daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        self.is_cancelled = True
        self._abort.raise_()

    def fresh_pieces(self) -> list[_Piece]:
        """Gives what came since the last time."""
        self._news.clear()
        fresh: list[_Piece] = []
        while True:
            try:
                piece = self._coming.get_nowait()
            except Empty:
                break
            if piece is None:
                self.is_over = True
                break
            fresh.append(piece)
        self.pieces += fresh
        return fresh

    def wait(self, duration_s: float) -> None:
        self._news.wait(duration_s)

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._compute()
        except Exception as error:
            log.exception("a prompt could not be computed beside answers")
            self.problem = str(error)
        self._give(None)

    def _compute(self) -> None:
        cells = -(-len(self._tokens) // PIECE_TOKENS) * PIECE_TOKENS
        context = self._model.open_beside(cells=cells, batch_tokens=PIECE_TOKENS)
        if not context:
            self.problem = "no memory for a second context"
            return
        try:
            self._abort.watch(context)
            memory = ContextMemory(context, cast("native.llama_memory_t", native.llama_get_memory(context)))
            if self._known and not memory.write_state(0, self._known):
                self.problem = "what is known of a prompt does not fit into a second context"
                return
            self._known = b""
            self._fill(context, memory)
        finally:
            native.llama_free(context)

    def _fill(self, context: native.llama_context_p, memory: ContextMemory) -> None:
        batch = Batch(PIECE_TOKENS)
        threads = max(1, self._model.threads_batch - max(1, self._model.threads // 2))
        native.llama_set_n_threads(context, threads, threads)
        for begin in range(self._begin, len(self._tokens), PIECE_TOKENS):
            began_s = time.perf_counter()
            batch.clear()
            batch.add(0, begin, self._tokens[begin : begin + PIECE_TOKENS], sample="none")
            end = begin + batch.size
            code = batch.decode(context)
            if self.is_cancelled:
                return
            if code != 0:
                self.problem = f"llama_decode gave {code}"
                return
            memory.share(0, 1, begin, end)
            state = memory.read_state(1)
            memory.free(1)
            if not state:
                self.problem = "the engine gave no state"
                return
            self._give(_Piece(begin, end, state, time.perf_counter() - began_s))
            if self.is_enough:
                return

    def _give(self, piece: _Piece | None) -> None:
        self._coming.put(piece)
        self._news.set()
