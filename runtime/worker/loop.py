"""The worker's one loop: take frames, compute a step for all, hand out what it gave."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, deque
from queue import Empty

from ..events import FinishReason
from ..frames import (
    Accepted,
    Ask,
    Begun,
    Cancel,
    Delta,
    Done,
    Generate,
    Hold,
    Limits,
    Refused,
    Release,
    Shutdown,
    Step,
    ToEngine,
)
from ..request import ChatPrompt, GenerateRequest
from .answers import Answers
from .backends.backend import Admission, Backend, Loaded, Lost, PromptTooLong, Refusal, Sampled, Shrinking, StepOutcome
from .give_back import give_back_memory
from .meter import Meter
from .output.endless import Endless
from .output.spoken import Spoken
from .pace import Pace
from .pipe import Inbox, Outlet

ADMIT_FOR_S = 0.02
"""How long new prompts may be tokenised between two steps that others wait for."""

REST_AFTER_S = 0.25

log = logging.getLogger(__name__)


class Generation:
    """One generation from its admission to its end."""

    def __init__(
        self,
        generation_id: int,
        request: GenerateRequest,
        admission: Admission,
        context_length: int,
        endless: Endless | None = None,
    ) -> None:
        self.id = generation_id
        self.request = request
        self.admission = admission
        self.spoken = Spoken(
            generation_id, (*request.stop, *admission.stop), admission.parser, one_call=_wants_one_call(request)
        )
        room = min(context_length, request.context_limit or context_length) - len(admission.token_ids)
        self.budget = room if request.max_tokens is None else min(request.max_tokens, room)
        self.endless = endless
        self.completion_tokens = 0
        self.cached_tokens = 0
        self.draft_tokens = 0
        self.accepted_tokens = 0
        self.begun_s: float | None = None
        self.first_s: float | None = None
        self.last_s: float | None = None

    def done(self, reason: FinishReason) -> Done:
        """Sums it up."""
        prefill_s = 0.0 if self.first_s is None or self.begun_s is None else self.first_s - self.begun_s
        decode_s = 0.0 if self.last_s is None or self.first_s is None else self.last_s - self.first_s
        prompt_tokens = len(self.admission.token_ids)
        return Done(
            self.id,
            self.spoken.end_reason(reason),
            prompt_tokens,
            self.completion_tokens,
            self.cached_tokens,
            prefill_s,
            decode_s,
            self.draft_tokens,
            self.accepted_tokens,
            self.spoken.reasoning_tokens,
            self.spoken.stop_text if self.spoken.stop_text in self.request.stop else None,
        )


class WorkerLoop:
    """Serves one backend; it alone touches it."""

    def __init__(self, backend: Backend, loaded: Loaded, inbox: Inbox, outlet: Outlet, *, end_loops: bool = False) -> None:
        self._backend = backend
        self._end_loops = end_loops
        self._loaded = loaded
        self._inbox = inbox
        self._outlet = outlet
        self._arrived: deque[Generate] = deque()
        """Not tokenised yet."""
        self._waiting: OrderedDict[int, Generation] = OrderedDict()
        """Admitted, but every sequence is taken."""
        self._running: dict[int, Generation] = {}
        self._answers = Answers(backend, outlet)
        self._meter = Meter(time.monotonic())
        self._limits = Limits()
        self._most_running = loaded.max_sequences
        self._pace: Pace | None = None
        """None while steps follow each other without a rest."""
        self._reported_idle = True
        self._cancelled: set[int] = set()
        """What was cancelled and is not dropped yet; filled by the thread that reads frames."""
        inbox.on_cancel = self._interrupt

    def run(self) -> None:
        """Works until a Shutdown frame comes."""
        while self._take_frames():
            self._admit_arrived()
            self._start_waiting()
            self._answers.advance()
            if self._running and self._wait_s() == 0:
                self._step()
                # Before the inbox is looked at again: where everything has just ended, it would be waited for.
                self._start_waiting()

    def _take_frames(self) -> bool:
        """Takes every frame that came, and waits for one while there is nothing else to do; False at a Shutdown."""
        inbox = self._inbox
        wait_s = 0.0 if self._arrived or self._answers.pending else self._wait_s() if self._running else None
        if wait_s != 0 and inbox.empty():
            self._outlet.flush()
            try:
                if not self._running:
                    self._report_idle()
                    frame = self._rest()
                else:
                    frame = inbox.get(timeout=wait_s)
            except Empty:
                return True
            if not self._take(frame):
                return False
        while not inbox.empty():
            if not self._take(inbox.get()):
                return False
        return True

    def _wait_s(self) -> float | None:
        """How long until the next step: 0 is now, None until a frame comes."""
        wait_s = self._backend.wait_s()
        return wait_s if self._pace is None or wait_s is None else max(wait_s, self._pace.wait_s(time.monotonic()))

    def _rest(self) -> ToEngine:
        """Waits for a frame, and does meanwhile what could wait.

        It begins only when nothing came for a while: a conversation's next turn comes right after its last one.
        """
        try:
            return self._inbox.get(timeout=REST_AFTER_S)
        except Empty:
            while self._limits.background and self._inbox.empty() and self._backend.rest():
                pass
            return self._inbox.get()

    def _take(self, frame: ToEngine) -> bool:
        match frame:
            case Generate():
                self._arrived.append(frame)
            case Ask():
                self._answers.begin(frame.id, frame.question)
            case Cancel():
                self._cancel(frame.id)
            case Hold() | Release():
                if frame.id in self._running:
                    self._backend.hold(frame.id, isinstance(frame, Hold))
            case Limits():
                self._limit(frame)
            case Shutdown():
                return False
            case _:
                log.error("unexpected frame: %s", type(frame).__name__)
        return True

    def _limit(self, limits: Limits) -> None:
        """Does as much less as it is told to, or goes on as usual."""
        before, self._limits = self._limits, limits
        most = self._loaded.max_sequences
        self._most_running = most if limits.most_running is None else max(1, min(most, limits.most_running))
        paced = limits.prefill_duty < 1 or limits.decode_duty < 1
        self._pace = Pace(prefill_duty=limits.prefill_duty, decode_duty=limits.decode_duty) if paced else None
        if limits.cache_share != before.cache_share and isinstance(self._backend, Shrinking):
            self._backend.shrink(limits.cache_share)
            if limits.cache_share < before.cache_share:
                give_back_memory()
            self._report(time.monotonic())

    def _interrupt(self, generation_id: int) -> None:
        """Ends the running step where nobody waits for it any more; called by the thread that reads frames."""
        self._cancelled.add(generation_id)
        self._backend.interrupt(tuple(self._cancelled))
        self._answers.interrupt(self._cancelled)

    def _cancel(self, generation_id: int) -> None:
        self._cancelled.discard(generation_id)
        if self._running.pop(generation_id, None) is not None:
            self._backend.drop(generation_id)
        elif self._waiting.pop(generation_id, None) is None and not self._answers.cancel(generation_id):
            self._arrived = deque(frame for frame in self._arrived if frame.id != generation_id)

    def _admit_arrived(self) -> None:
        until_s = time.monotonic() + ADMIT_FOR_S
        while self._arrived:
            frame = self._arrived.popleft()
            try:
                self._admit(frame.id, frame.request)
            except PromptTooLong as refusal:
                self._outlet.send(
                    Refused(
                        frame.id, refusal.kind, refusal.message, refusal.param, refusal.prompt_tokens, refusal.context_length
                    )
                )
            except Refusal as refusal:
                self._outlet.send(Refused(frame.id, refusal.kind, refusal.message, refusal.param))
            except Exception as error:
                log.exception("a request could not be admitted")
                self._outlet.send(Refused(frame.id, "failed", f"The engine could not take the request: {error}"))
            if self._running and time.monotonic() > until_s:
                return

    def _admit(self, generation_id: int, request: GenerateRequest) -> None:
        if request.max_tokens is not None and request.max_tokens < 1:
            raise Refusal("invalid", f"max_tokens must be at least 1, not {request.max_tokens}.", param="max_tokens")
        admission = self._backend.admit(request)
        endless = Endless() if self._end_loops else None
        generation = Generation(generation_id, request, admission, self._loaded.context_length, endless)
        if generation.budget < 1:
            raise PromptTooLong(len(admission.token_ids), self._loaded.context_length)
        self._waiting[generation_id] = generation
        self._outlet.send(Accepted(generation_id, len(admission.token_ids)))

    def _start_waiting(self) -> None:
        while self._waiting and len(self._running) < self._most_running:
            if not self._running:
                self._meter.restart(time.monotonic())
                self._reported_idle = False
            self._outlet.flush()
            _, generation = self._waiting.popitem(last=False)
            self._running[generation.id] = generation
            self._backend.start(generation.id, generation.admission, generation.request)

    def _step(self) -> None:
        began_s = time.monotonic()
        try:
            outcome = self._backend.step()
        except Exception as error:
            log.exception("a step failed")
            self._refuse_all(f"The engine failed: {error}")
            return
        now_s = time.monotonic()
        for begun in outcome.begun:
            if (generation := self._running.get(begun.sequence)) is not None and generation.begun_s is None:
                generation.begun_s = began_s
                generation.cached_tokens = begun.cached_tokens
        for drafted in outcome.drafted:
            if (generation := self._running.get(drafted.sequence)) is not None:
                generation.draft_tokens += drafted.tokens
                generation.accepted_tokens += drafted.accepted
        step = self._hand_out(outcome, now_s)
        if step.deltas or step.done or step.tokens or step.begun:
            more = bool(self._running) and not (
                self._arrived or self._waiting or self._answers.pending or outcome.prefill_tokens
            )
            self._outlet.send_step(step, now_s=now_s, more=more)
        now_s = time.monotonic()
        self._meter.count(outcome, step.tokens, now_s - began_s)
        if self._pace is not None:
            self._pace.note_step(prefill=outcome.prefill_tokens > 0, took_s=now_s - began_s, now_s=now_s)
        if self._meter.due(now_s):
            self._report(now_s)

    def _hand_out(self, outcome: StepOutcome, now_s: float) -> Step:
        deltas: list[Delta] = []
        done: list[Done] = []
        tokens = 0
        for token in outcome.tokens:
            generation = self._running.get(token.sequence)
            if generation is None:
                continue  # it ended with an earlier token of the same step
            if token.end:
                done.append(self._finish(generation, "stop", deltas))
                continue
            tokens += 1
            if generation.first_s is None:
                generation.first_s = now_s
            generation.last_s = now_s
            reason = _add_token(generation, token, deltas)
            if reason is not None:
                done.append(self._finish(generation, reason, deltas))
        for lost in outcome.lost:
            self._lose(lost, deltas, done)
        begun = [Begun(begun.sequence, begun.report) for begun in outcome.begun]
        return Step(deltas, done, tokens, begun)

    def _finish(self, generation: Generation, reason: FinishReason, deltas: list[Delta]) -> Done:
        del self._running[generation.id]
        self._backend.drop(generation.id)
        generation.spoken.finish(deltas)
        # The tail that was held back may itself complete a stop string, where bytes were missing at the end.
        return generation.done("stop" if generation.spoken.stopped else reason)

    def _lose(self, lost: Lost, deltas: list[Delta], done: list[Done]) -> None:
        generation = self._running.get(lost.sequence)
        if generation is None:
            return
        if lost.kind == "overloaded" and generation.completion_tokens:
            done.append(self._finish(generation, "length", deltas))
            return
        del self._running[lost.sequence]
        self._outlet.send(Refused(lost.sequence, lost.kind, lost.why))

    def _refuse_all(self, why: str) -> None:
        for generation_id in tuple(self._running):
            del self._running[generation_id]
            self._backend.drop(generation_id)
            self._outlet.send(Refused(generation_id, "failed", why))

    def _report(self, now_s: float) -> None:
        self._outlet.send(
            self._meter.report(
                now_s,
                running=len(self._running),
                waiting=len(self._waiting) + len(self._arrived),
                occupancy=self._backend.occupancy(),
            )
        )
        self._reported_idle = not self._running

    def _report_idle(self) -> None:
        if not self._reported_idle:
            self._report(time.monotonic())


def _wants_one_call(request: GenerateRequest) -> bool:
    return isinstance(request.prompt, ChatPrompt) and not request.prompt.parallel_calls


def _add_token(generation: Generation, token: Sampled, deltas: list[Delta]) -> FinishReason | None:
    """Adds a token's text; gives the reason where it is the generation's last one."""
    generation.completion_tokens += 1
    generation.spoken.push(token.piece, token.logprob, deltas)
    if generation.spoken.stopped:
        return "stop"
    if generation.endless is not None and generation.endless.push(token.piece):
        log.warning("an answer is ended after %d tokens: it only repeats itself", generation.completion_tokens)
        return generation.spoken.broken_off if generation.request.constraint is None else "length"
    return "length" if generation.completion_tokens >= generation.budget else None
