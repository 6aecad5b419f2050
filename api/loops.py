"""Ends what would go on for ever: an agent that shortens a conversation whose beginning alone does not fit.

Every agent is told of a prompt that is too long by an error, at which it shortens its conversation and asks again. OpenCode
does so without end where its own instructions are longer than the context: what it could shorten is not what is too long. Once
it has asked several times and its prompts got no shorter, it is told in words, as an answer, which ends its turn.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque

from ..runtime.errors import ContextOverflow
from ..runtime.events import Admitted, Event, Finished, TextDelta

WINDOW_S = 120.0
MOST_VAIN = 3
"""So many prompts in a row may be too long without being any shorter than one before."""
MOST_CLIENTS = 64
_SHORTER = 0.98
_LOOPING = ("opencode", "ai-sdk/")
"""How the user agents begin that do so, in lower case."""


class Loops:
    """Remembers prompts that were too long, by who sent them and for which model."""

    def __init__(self) -> None:
        self._vain: OrderedDict[tuple[str, str], deque[tuple[float, int]]] = OrderedDict()
        """Times and lengths, the oldest first."""

    def goes_on(self, client: str, model: str, error: ContextOverflow) -> bool:
        """Takes note of a prompt that is too long; True where one more error would only bring the same prompt again."""
        if not client.lower().startswith(_LOOPING):
            return False
        now_s = time.monotonic()
        prompts = self._vain.pop((client, model), None) or deque[tuple[float, int]]()
        self._vain[client, model] = prompts
        if len(self._vain) > MOST_CLIENTS:
            self._vain.popitem(last=False)
        while prompts and now_s - prompts[0][0] > WINDOW_S:
            prompts.popleft()
        vain = 0
        shortest = 0
        for _, tokens in (*prompts, (now_s, error.prompt_tokens)):
            vain += bool(shortest) and tokens >= shortest * _SHORTER
            shortest = min(shortest or tokens, tokens)
        prompts.append((now_s, error.prompt_tokens))
        return vain >= MOST_VAIN


def tell(model: str, error: ContextOverflow) -> list[Event]:
    """Gives an answer that says what is wrong and what helps."""
    text = (
        f"This conversation cannot go on: its prompt has {error.prompt_tokens} tokens even after it was shortened, and "
        f"'{model}' is served with a context of {error.context_length}. Raise `[engine] context_length` in impetus.toml, or "
        "choose a model with a longer context."
    )
    return [
        Admitted(model, error.prompt_tokens, error.context_length),
        TextDelta(0, text),
        Finished(0, "stop", error.prompt_tokens, len(text.split())),
    ]
