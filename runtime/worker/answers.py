"""The questions that are being answered, a slice of each in turn."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Set as AbstractSet

from ..frames import Answered, Refused
from ..questions import Question
from .backends.backend import Answerer, Backend, LongAnswerer, PromptTooLong, Refusal, Work
from .pipe import Outlet

ANSWER_FOR_S = 0.01
"""How long answers go on between two steps that others wait for; one slice at least."""

log = logging.getLogger(__name__)


class Answers:
    """Advances answers between the steps of the generations beside them, so that neither waits long for the other."""

    def __init__(self, backend: Backend, outlet: Outlet) -> None:
        self._backend = backend
        self._outlet = outlet
        self._works: OrderedDict[int, Work] = OrderedDict()
        """By the question's id; the one whose turn is next comes first."""
        self._ids: set[int] = set()
        """Of all questions that were begun and not answered."""

    @property
    def pending(self) -> int:
        """How many answers are not ready yet."""
        return len(self._works)

    def begin(self, question_id: int, question: Question) -> None:
        """Takes a question in."""
        if isinstance(self._backend, Answerer):
            self._works[question_id] = self._backend.answer(question)
            self._ids.add(question_id)
        else:
            self._outlet.send(Refused(question_id, "invalid", "The engine of this model only writes text."))

    def cancel(self, question_id: int) -> bool:
        """Forgets a question; False where there is no such."""
        work = self._works.pop(question_id, None)
        if work is not None:
            self._ids.discard(question_id)
            work.close()
        return work is not None

    def interrupt(self, cancelled: AbstractSet[int]) -> None:
        """Ends the running slice early where all questions are among these; called from another thread at any time."""
        if self._ids and self._ids <= cancelled and isinstance(self._backend, LongAnswerer):
            self._backend.abandon()

    def advance(self) -> None:
        """Does a slice of each answer in turn, for as long as generations can wait for it."""
        until_s = time.monotonic() + ANSWER_FOR_S
        while self._works:
            question_id, work = self._works.popitem(last=False)
            if (outcome := _advance(question_id, work)) is None:
                self._works[question_id] = work
            else:
                self._ids.discard(question_id)
                self._outlet.send(outcome)
            if time.monotonic() > until_s:
                return


def _advance(question_id: int, work: Work) -> Answered | Refused | None:
    """Does one slice; gives what is to be sent if it was the last one."""
    try:
        next(work)
    except StopIteration as end:
        return Answered(question_id, end.value)
    except PromptTooLong as refusal:
        sizes = refusal.prompt_tokens, refusal.context_length
        return Refused(question_id, refusal.kind, refusal.message, refusal.param, *sizes)
    except Refusal as refusal:
        return Refused(question_id, refusal.kind, refusal.message, refusal.param)
    except Exception as error:
        log.exception("a question could not be answered")
        return Refused(question_id, "failed", f"The engine could not answer: {error}")
    return None
