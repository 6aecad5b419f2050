"""One generation's tokens to what its reader gets: text, reasoning and tool calls, each with its number."""

from __future__ import annotations

import secrets
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate

from ...events import FinishReason, TokenLogprob
from ...frames import Delta
from .assembly import Assembly
from .pieces import Arguments, Call, Parser, Piece, Reasoning, Text


class Spoken:
    """Puts one generation's bytes together, cuts stop strings off, and tells apart what is said.

    Args:
        generation_id: what the deltas are marked with.
        stop: texts that end the answer.
        parser: reads the model's own syntax; None takes all of it as text.
        one_call: whether the answer ends where a second call begins.
    """

    __slots__ = ("_assembly", "_calls", "_id", "_logprobs", "_one_call", "_over", "_parser", "_thinks", "reasoning_tokens")

    def __init__(self, generation_id: int, stop: Sequence[str], parser: Parser | None, *, one_call: bool = False) -> None:
        self._id = generation_id
        self._assembly = Assembly(stop)
        self._parser = parser
        self._calls = 0
        self._thinks = False
        self._one_call = one_call
        self._over = False
        self._logprobs: tuple[TokenLogprob, ...] = ()
        """Of tokens that the parser holds back."""
        self.reasoning_tokens = 0

    @property
    def stopped(self) -> bool:
        """Whether a stop string was met, or the one call that may be made was made."""
        return self._over or self._assembly.stopped

    @property
    def stop_text(self) -> str | None:
        """The stop string that was met."""
        return self._assembly.stop_text

    @property
    def broken_off(self) -> FinishReason:
        """How an answer ends that is not let go on: as if by itself, but where a call may be cut in two."""
        return "length" if self._calls else "stop"

    def end_reason(self, reason: FinishReason) -> FinishReason:
        """Gives the reason as it is told: an answer that ends by itself with a call waits for the tools."""
        return "tool_calls" if reason == "stop" and self._calls else reason

    def push(self, piece: bytes, logprob: TokenLogprob | None, deltas: list[Delta]) -> None:
        """Takes a token's bytes and adds what may be shown."""
        text = self._assembly.push(piece, logprob)
        if self._parser is None:
            if text:
                deltas.append(Delta(self._id, text, () if logprob is None else self._assembly.take_logprobs()))
            return
        if text:
            if logprob is not None:
                self._logprobs += self._assembly.take_logprobs()
            self._add(self._parser.push(text), deltas)
        self.reasoning_tokens += self._thinks

    def finish(self, deltas: list[Delta]) -> None:
        """Adds what was held back, after the last token."""
        text = self._assembly.finish()
        logprobs = self._assembly.take_logprobs(last=True)
        if self._parser is None:
            if text or logprobs:
                deltas.append(Delta(self._id, text, logprobs))
            return
        pieces = self._parser.push(text) if text else []
        self._logprobs += logprobs
        self._add([*pieces, *self._parser.finish()], deltas)

    def _add(self, pieces: Sequence[Piece], deltas: list[Delta]) -> None:
        for piece in pieces:
            self._over = self._over or (self._one_call and self._calls > 0 and isinstance(piece, Call))
            if self._over:
                return
            self._thinks = False
            match piece:
                case Text(text):
                    deltas.append(Delta(self._id, text, self._take_logprobs(text) if self._logprobs else ()))
                case Reasoning(text):
                    self._thinks = True
                    deltas.append(Delta(self._id, text, kind="reasoning"))
                case Call(name, call_id):
                    self._calls += 1
                    call_id = call_id or f"call_{secrets.token_hex(12)}"
                    deltas.append(Delta(self._id, name, kind="call", call=self._calls - 1, call_id=call_id))
                case Arguments(text):
                    deltas.append(Delta(self._id, text, kind="arguments", call=max(0, self._calls - 1)))
        if pieces and not isinstance(pieces[-1], Text):
            self._logprobs = ()

    def _take_logprobs(self, text: str) -> tuple[TokenLogprob, ...]:
        """Gives those of a text's tokens; those of marks before it are dropped, and those behind it stay."""
        written = b"".join(logprob.text for logprob in self._logprobs)
        begin = max(0, written.find(text.encode()))
        end = begin + len(text.encode())
        ends = tuple(accumulate(len(logprob.text) for logprob in self._logprobs))
        first = bisect_right(ends, begin)
        last = bisect_left(ends, end) + 1
        taken = self._logprobs[first:last]
        self._logprobs = self._logprobs[last:]
        return taken
