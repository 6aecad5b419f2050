"""Where the state of a model that cannot go back is kept while it reads a prompt."""

from __future__ import annotations

from collections.abc import Collection, Sequence

EVERY_TOKENS = 2048
LEAST_TOKENS = 64
"""A shorter beginning is computed sooner than its state is read."""
NEWEST_BOUNDARIES = 2


def checkpoint_positions(tokens: Sequence[int], boundaries: Collection[int], *, begin: int = 0) -> list[int]:
    """Chooses positions in a prompt, in rising order; at each one the state of all tokens before it is kept.

    These are: the end of the first message, which agents share; the newest ends of messages, where the next turn goes on or
    turns off; and every `EVERY_TOKENS` between, so that a change in the middle costs no more than these.

    Args:
        tokens: the whole prompt.
        boundaries: the tokens that begin a message.
        begin: what lies before this position is kept already.
    """
    starts = [at for at, token in enumerate(tokens) if token in boundaries and at >= LEAST_TOKENS]
    chosen = {*starts[:1], *starts[-NEWEST_BOUNDARIES:], *range(EVERY_TOKENS, len(tokens), EVERY_TOKENS)}
    # The last token is computed in any case, as the answer's first one is chosen from what it gives.
    return sorted(at for at in chosen if begin < at < len(tokens))
