"""A sequence whose text is known beforehand, given word by word at a steady speed."""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Iterator, Sequence

from ...events import TokenLogprob, TopLogprob
from ...request import ChatPrompt, FillPrompt, Prompt, TextPrompt, TokenPrompt
from .backend import Refusal, Sampled

VOCABULARY_SIZE = 1 << 16
SLACK_S = 0.002
"""Streams that are due within this go out together, so that many of them do not mean as many frames."""
_PIECE = re.compile(r"\s*\w+|\s*[^\w\s]+|\s+")


def split_words(text: str) -> list[str]:
    """Cuts text into word-like pieces, which joined are the text again."""
    return _PIECE.findall(text)


def token_id(piece: str) -> int:
    """Gives a piece its number; two pieces may share one."""
    return zlib.crc32(piece.encode()) % VOCABULARY_SIZE


def read_words(prompt: Prompt) -> list[int]:
    """Gives the numbers of a prompt's words; raises Refusal for one that no word has."""
    match prompt:
        case ChatPrompt():
            texts = list(_said(prompt))
        case TextPrompt(text):
            texts = [text]
        case TokenPrompt(token_ids):
            if any(not 0 <= token < VOCABULARY_SIZE for token in token_ids):
                raise Refusal("invalid", f"Token ids are 0 to {VOCABULARY_SIZE - 1}.", param="prompt")
            texts = [as_words(token_ids)]
        case FillPrompt(prefix, suffix):
            texts = [prefix, suffix]
    return [token_id(piece) for text in texts for piece in split_words(text)]


def as_words(token_ids: Sequence[int]) -> str:
    """Writes token ids as text."""
    return " ".join(map(str, token_ids))


class Playing:
    """One sequence: what it says, and when its next word is due.

    Args:
        sequence: its number.
        pieces: its words, one at least.
        tps: words per second; 0 is as fast as they are asked for.
        top_logprobs: as in the request.
        repeats: whether it begins anew behind the last word; else it ends there.
        delay_s: how long it is silent at first.
    """

    def __init__(
        self,
        sequence: int,
        pieces: Sequence[str],
        *,
        tps: float,
        top_logprobs: int | None = None,
        repeats: bool = False,
        delay_s: float = 0.0,
    ) -> None:
        again = [pieces[0] if pieces[0][:1].isspace() else f" {pieces[0]}", *pieces[1:]]
        self._first = [_sampled(sequence, piece, top_logprobs) for piece in pieces]
        self._again = [_sampled(sequence, piece, top_logprobs) for piece in again] if repeats else []
        self._end = Sampled(sequence, b"", end=True)
        self._given = 0
        self._tps = tps
        self._due_from_s = time.monotonic() + delay_s
        self._due_from_token = 0
        self.held = False
        self.begun = False

    @property
    def due_s(self) -> float:
        """When the next token is due; in the past for one that has no set speed and was never delayed."""
        return self._due_from_s + ((self._given - self._due_from_token) / self._tps if self._tps else 0.0)

    def take(self, now_s: float, most: int) -> list[Sampled]:
        """Gives the tokens that are due."""
        if not self._tps:
            return self._next(most) if now_s >= self._due_from_s else []
        due = int((now_s + SLACK_S - self._due_from_s) * self._tps) + 1 - (self._given - self._due_from_token)
        return self._next(min(due, most)) if due > 0 else []

    def release(self) -> None:
        """Goes on from now, without making up for the time it was held."""
        self.held = False
        self._due_from_s = max(self._due_from_s, time.monotonic())
        self._due_from_token = self._given

    def _next(self, count: int) -> list[Sampled]:
        size = len(self._first)
        if self._given < size or not self._again:
            tokens = self._first[self._given : self._given + count]
            self._given += len(tokens)
            return tokens or [self._end]
        at = self._given % size
        tokens = self._again[at : at + count]
        self._given += len(tokens)
        return tokens


def _said(prompt: ChatPrompt) -> Iterator[str]:
    """All the words of a conversation, its tools first, as most chat templates have it."""
    for tool in prompt.tools:
        yield from (tool.name, tool.description, tool.parameters)
    for message in prompt.messages:
        yield from (message.reasoning, message.text)
        for call in message.tool_calls:
            yield from (call.name, call.arguments)


def _sampled(sequence: int, piece: str, top_logprobs: int | None) -> Sampled:
    text = piece.encode()
    if top_logprobs is None:
        return Sampled(sequence, text)
    number = token_id(piece)
    top = (TopLogprob(number, text, 0.0),) if top_logprobs else ()
    return Sampled(sequence, text, logprob=TokenLogprob(number, text, 0.0, top))
