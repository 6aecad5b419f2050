"""One generation's tokens to the text, and the logprobs, that its reader may have now."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ...events import TokenLogprob
from .stop import StopFilter
from .utf8 import Utf8Assembler


class Assembly:
    """Text of one generation: UTF-8 put together, stop strings cut off, logprobs handed out with their text."""

    __slots__ = ("_filter", "_logprobs", "_seen", "_shown", "_utf8")

    def __init__(self, stop: Sequence[str]) -> None:
        self._utf8 = Utf8Assembler()
        self._filter = StopFilter(stop) if any(stop) else None
        self._logprobs: deque[tuple[int, TokenLogprob]] = deque()
        """With the offset, in characters, at which the token's text begins."""
        self._seen = 0
        self._shown = 0

    @property
    def stopped(self) -> bool:
        """Whether a stop string was met."""
        return self._filter is not None and self._filter.stopped

    @property
    def stop_text(self) -> str | None:
        """The stop string that was met, or None."""
        return None if self._filter is None else self._filter.met

    def push(self, piece: bytes, logprob: TokenLogprob | None = None) -> str:
        """Takes a token's bytes and gives the text that may be shown; often "" or that of several tokens."""
        text = self._utf8.push(piece)
        if logprob is not None:
            self._logprobs.append((self._seen, logprob))
        self._seen += len(text)
        if self._filter is not None:
            text = self._filter.push(text)
        self._shown += len(text)
        return text

    def finish(self) -> str:
        """Gives the text that was still held back, after the last token."""
        text = self._utf8.finish()
        self._seen += len(text)
        if self._filter is not None:
            text = self._filter.push(text) + self._filter.finish()
        self._shown += len(text)
        return text

    def take_logprobs(self, *, last: bool = False) -> tuple[TokenLogprob, ...]:
        """Gives the logprobs of the tokens whose text was shown since; at the end those without text too.

        Tokens whose whole text was cut off with a stop string never come out.
        """
        if not self._logprobs:
            return ()
        taken: list[TokenLogprob] = []
        rest = last and not self.stopped
        while self._logprobs and (rest or self._logprobs[0][0] < self._shown):
            taken.append(self._logprobs.popleft()[1])
        return tuple(taken)
