"""Ends what would go on for ever: an agent that meets the same error with the same request again and again.

Every agent is told of a prompt that is too long by an error, at which it shortens its conversation and asks again. OpenCode
does so without end where its own instructions are longer than the context: what it could shorten is not what is too long. Once
it has asked several times and its prompts got no shorter, it is told in words, as an answer, which ends its turn.

A server that is busy says so by an error, and agents ask again a little later. Others give up after some seconds or minutes;
Qwen Code never does, only rests for longer and longer between its bursts, so that it is told in words after some minutes.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque

from ..runtime.errors import ContextOverflow, Overloaded
from ..runtime.events import Admitted, Event, Finished, TextDelta

WINDOW_S = 120.0
MOST_VAIN = 3
"""So many prompts in a row may be too long without being any shorter than one before."""
MOST_CLIENTS = 64
_SHORTER = 0.98
BUSY_S = 200.0
"""So long may an agent ask in vain whether there is room for it."""
BUSY_PAUSE_S = 420.0
"""Who did not ask for so long, has given up in between; Qwen Code rests for five minutes at most."""
_LOOPING = ("opencode", "ai-sdk/")
"""How the user agents begin that shorten without end, in lower case."""


class Loops:
    """Remembers prompts that were too long, by who sent them and for which model."""

    def __init__(self) -> None:
        self._vain: OrderedDict[tuple[str, str], deque[tuple[float, int]]] = OrderedDict()
        """Times and lengths, the oldest first."""
        self._refused: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()
        """When each was told first and last that the server is busy, since it was served."""

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

    def waits_on(self, client: str, model: str) -> bool:
        """Takes note that the server is too busy for a client; True where it was told so for long enough."""
        now_s = time.monotonic()
        first_s, last_s = self._refused.pop((client, model), (now_s, now_s))
        if now_s - last_s > BUSY_PAUSE_S:
            first_s = now_s
        self._refused[client, model] = (first_s, now_s)
        if len(self._refused) > MOST_CLIENTS:
            self._refused.popitem(last=False)
        # From then on each of its questions is answered so: an agent may ask several at the same time.
        return now_s - first_s >= BUSY_S

    def was_served(self, client: str, model: str) -> None:
        """Takes note that there was room for a client."""
        self._refused.pop((client, model), None)


def tell_busy(model: str, error: Overloaded) -> list[Event]:
    """Gives an answer that says that the server stays busy."""
    minutes = f"{BUSY_S / 60:.0f} minutes"
    text = f"The server has been too busy for this request for more than {minutes}: {error.message} Try again later."
    return [Admitted(model, 0, 0), TextDelta(0, text), Finished(0, "stop", 0, len(text.split()))]


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
