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
"""So many tokens are computed at a time: enough to be fast, and few enough to take more cores over soon once they are free."""
MOST_TAKEN_BYTES = 128 << 20
"""How large the state of what is known already may be: it is copied while answers wait."""
WAIT_S = 0.01

log = logging.getLogger(__name__)


class Annex:
    """Computes one prompt at a time while answers go on in the main context.

    A step that computes tokens of answers and a slice of a prompt takes as long as both together, and small slices take a CPU
    twice the work. Here each side has cores of its own: answers never wait for a prompt, and a prompt is computed in large
    pieces. What was computed moves over as the engine's states, piece by piece. A GPU does one thing at a time, so this is for
    models on the CPU, and for those whose states can be parted.

    Args:
        model: what computes.
        cells: where the pieces go.
        most_bytes: how much memory the second context may take.
    """

    def __init__(self, model: LlamaModel, cells: Cells, *, most_bytes: int) -> None:
        self._model = model
        self._cells = cells
        works = model.cuttable and model.threads > 1 and not native.llama_supports_gpu_offload()
        self._most_bytes = most_bytes if works else 0
        self._job: _Job | None = None
        self.alone = False
        """Whether nothing is computed beside it, and all cores are free for it."""

    def holds(self, sequence: Generating) -> bool:
        """Whether a sequence's prompt is being computed here."""
        job = self._job
        return job is not None and job.number == sequence.number and not job.is_cancelled

    def take(self, sequence: Generating) -> bool:
        """Begins to compute a prompt that has a slot, behind what is known of it; False where it had better stay."""
        each_bytes = self._model.cache_bytes_per_token
        if (
            self._job is not None
            or sequence.pending <= LEAST_TOKENS
            or sequence.pictures
            or sequence.adapters
            or len(sequence.tokens) * each_bytes > self._most_bytes
            or sequence.in_cache * each_bytes > MOST_TAKEN_BYTES
        ):
            return False
        known = self._cells.memory.read_state(sequence.slot) if sequence.in_cache else b""
        # The last one is left to the main context, where the answer goes on from it.
        self._job = _Job(self._model, sequence.number, sequence.tokens[:-1], sequence.in_cache, known)
        threads = self._model.threads
        self._model.use_threads(max(1, threads // 2), max(1, threads // 2))
        self.alone = False
        self._job.start(self)
        return True

    def parts(self, sequences: Mapping[int, Generating]) -> list[Part]:
        """What is being computed here, as a part of a batch."""
        sequence = None if self._job is None else sequences.get(self._job.number)
        if sequence is None or not self.holds(sequence):
            return []
        return [Part(sequence, sequence.pending - 1, 0, answers=False)]

    def land(self, sequences: Mapping[int, Generating], outcome: StepOutcome) -> None:
        """Takes over what was computed since the last time."""
        job = self._job
        if job is None:
            return
        while (piece := job.next_piece()) is not None:
            if not piece.state:
                self._end(job)
                return
            sequence = sequences.get(job.number)
            if job.is_cancelled or sequence is None or sequence.in_cache != piece.begin:
                continue
            if not self._cells.put(sequence.slot, piece.state, piece.begin, piece.end):
                job.cancel()
                continue
            sequence.in_cache = piece.end
            self._cells.note_step(piece.end - piece.begin)
            outcome.aside_tokens += piece.end - piece.begin
            outcome.aside_s += piece.took_s

    def wait(self, outcome: StepOutcome) -> None:
        """Waits a moment for the next piece, where there is nothing else to do."""
        if self._job is not None:
            began_s = time.perf_counter()
            self._job.wait(WAIT_S)
            outcome.compute_s += time.perf_counter() - began_s

    def release(self, sequence: Generating) -> None:
        """Stops computing a sequence's prompt, if it is computed here."""
        if self._job is not None and self._job.number == sequence.number:
            self._job.cancel()

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

    def _end(self, job: _Job) -> None:
        job.join()
        self._job = None
        self._model.use_threads(self._model.threads, self._model.threads_batch)
        if job.problem:
            log.warning("prompts are no longer computed beside answers: %s", job.problem)
            self._most_bytes = 0


@dataclass(frozen=True, slots=True)
class _Piece:
    begin: int
    end: int
    state: bytes
    """b"" says that nothing follows."""
    took_s: float


class _Job:
    """The computing of one prompt, in a thread of its own."""

    def __init__(self, model: LlamaModel, number: int, tokens: list[int], begin: int, known: bytes) -> None:
        self.number = number
        self.problem = ""
        self.is_cancelled = False
        self._model = model
        self._tokens = tokens
        self._begin = begin
        self._known = known
        self._abort = AbortFlag()
        self._pieces: SimpleQueue[_Piece] = SimpleQueue()
        self._news = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, annex: Annex) -> None:
        self._thread = threading.Thread(target=self._run, args=(annex,), name="annex", daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        self.is_cancelled = True
        self._abort.raise_()

    def next_piece(self) -> _Piece | None:
        self._news.clear()
        try:
            return self._pieces.get_nowait()
        except Empty:
            return None

    def wait(self, duration_s: float) -> None:
        self._news.wait(duration_s)

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _run(self, annex: Annex) -> None:
        try:
            self._compute(annex)
        except Exception as error:
            log.exception("a prompt could not be computed beside answers")
            self.problem = str(error)
        self._give(_Piece(0, 0, b"", 0.0))

    def _compute(self, annex: Annex) -> None:
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
            self._fill(context, memory, annex)
        finally:
            native.llama_free(context)

    def _fill(self, context: native.llama_context_p, memory: ContextMemory, annex: Annex) -> None:
        batch = Batch(PIECE_TOKENS)
        share = max(1, self._model.threads_batch - max(1, self._model.threads // 2))
        for begin in range(self._begin, len(self._tokens), PIECE_TOKENS):
            began_s = time.perf_counter()
            threads = self._model.threads_batch if annex.alone else share
            native.llama_set_n_threads(context, threads, threads)
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

    def _give(self, piece: _Piece) -> None:
        self._pieces.put(piece)
        self._news.set()
