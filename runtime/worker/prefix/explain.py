"""Remembers which prompts were computed, and says why another one could take over so little of them."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ...events import MissCause, PrefixMiss
from .cause import Parting, guess_cause, is_only_the_newest_message

SLACK_TOKENS: Final = 64
"""So few tokens more or less are not worth a word."""
WINDOW_TOKENS: Final = 40
"""How much text is shown on each side of the place where two prompts part."""
MOST_TOKENS: Final = 1 << 22
"""Of all remembered prompts together: 16 MiB."""
_WIDTH: Final = array("i").itemsize
_RUN_TOKENS: Final = 32
"""A stretch that two prompts share counts from this length on; shorter ones are phrases."""
_PROBE_TOKENS: Final = 16
_MOST_PROBES: Final = 24
_MOST_LOOKED_AT: Final = 3
"""How many of the prompts that begin alike are compared to their ends."""
_AHEAD_TOKENS: Final = 4096
"""How far behind the place where two prompts part their texts are read."""


@dataclass(frozen=True, slots=True, eq=False)
class _Prompt:
    """A prompt that was computed, with as much of its reply as there was."""

    ids: bytes
    """Token ids, `_WIDTH` bytes each: slices of bytes compare in one machine instruction per word."""
    settings: str


@dataclass(frozen=True, slots=True)
class _Loss:
    """Tokens that had been computed and were not reused, for one reason."""

    tokens: int
    cause: MissCause
    at: int
    because: str
    earlier: bytes = b""
    """The ids of the earlier prompt, where it reads otherwise there."""


class Explainer:
    """Keeps the token ids of the newest prompts and compares each new one with them.

    Args:
        detokenize: gives the text of tokens, that of control tokens too: messages are told apart by them.
        keep: how many prompts are remembered; one that another continues does not count.
    """

    def __init__(self, detokenize: Callable[[Sequence[int]], str], *, keep: int = 64) -> None:
        self._detokenize = detokenize
        self._keep = keep
        self._prompts: list[_Prompt] = []
        """Oldest first; none is the beginning of another with the same settings."""

    def remember(self, tokens: Sequence[int], settings: str = "") -> None:
        """Notes tokens that have been computed, with the settings their states depend on.

        Called when a prompt is computed, and with its reply when the sequence ends: what continues an earlier one
        replaces it.
        """
        if len(tokens) < SLACK_TOKENS:
            return
        ids = _to_bytes(tokens)
        newest = _Prompt(ids, settings)
        kept: list[_Prompt] = []
        for prompt in self._prompts:
            if prompt.settings == settings and prompt.ids.startswith(ids):
                newest = prompt
            elif prompt.settings != settings or not ids.startswith(prompt.ids):
                kept.append(prompt)
        kept.append(newest)
        room = MOST_TOKENS * _WIDTH
        first = len(kept)
        while first > max(0, len(kept) - self._keep) and (room := room - len(kept[first - 1].ids)) >= 0:
            first -= 1
        self._prompts = kept[first:]

    def explain(self, tokens: Sequence[int], reused: int, *, settings: str = "", cuttable: bool = True) -> PrefixMiss | None:
        """Says why a prompt's tokens are computed although they, or nearly they, had been computed before.

        Args:
            tokens: the whole prompt.
            reused: how many of its first tokens are taken over.
            settings: what its states depend on besides the tokens, as given to `remember`.
            cuttable: whether the model's memory can be cut back at any token.

        Returns:
            The costliest reason, or None where as much was reused as could be hoped for.
        """
        # One token is always computed, for its logits.
        most = len(tokens) - 1
        if most - reused <= SLACK_TOKENS or not self._prompts:
            return None
        ids = _to_bytes(tokens)
        shared = _most_shared(ids, [prompt for prompt in self._prompts if prompt.settings == settings])
        shared_else = _most_shared(ids, [prompt for prompt in self._prompts if prompt.settings != settings])
        losses = [_gone(min(shared, most), reused, cuttable=cuttable)]
        if shared_else > shared + SLACK_TOKENS:
            losses.append(_settings_differ(min(shared_else, most), reused))
        # Where more was reused than any remembered prompt has, the closest one is not known here.
        if shared < most and reused <= shared:
            losses += self._diverged(tokens, ids, shared, settings)
        loss = max(losses, key=lambda loss: loss.tokens)
        return None if loss.tokens <= SLACK_TOKENS else self._report(tokens, loss)

    def _diverged(self, tokens: Sequence[int], ids: bytes, shared: int, settings: str) -> Iterable[_Loss]:
        """Finds the prompt that parts from this one near the farthest place, and agrees with it again behind most."""
        beginning = ids[: max(0, shared - SLACK_TOKENS) * _WIDTH]
        alike = [
            prompt for prompt in reversed(self._prompts) if prompt.settings == settings and prompt.ids.startswith(beginning)
        ]
        best, best_at, lost = b"", 0, SLACK_TOKENS
        for prompt in alike[:_MOST_LOOKED_AT]:
            at = _common(ids, 0, prompt.ids, 0)
            again = _count_shared(ids, prompt.ids, at)
            if again > lost:
                best, best_at, lost = prompt.ids, at, again
        if not best:
            return
        earlier = _to_tokens(best[best_at * _WIDTH : (best_at + _AHEAD_TOKENS) * _WIDTH])
        parting = Parting(
            before=self._detokenize(tokens[:best_at]),
            expected=self._detokenize(earlier),
            found=self._detokenize(tokens[best_at : best_at + _AHEAD_TOKENS]),
        )
        # Two conversations begin alike, and a client wraps what it is told in the same words: nothing has changed there.
        if lost < 0.75 * (len(tokens) - best_at) and is_only_the_newest_message(parting):
            return
        cause, because = guess_cause(parting)
        yield _Loss(lost, cause, best_at, f"because {because} at token {best_at:,}", best)

    def _report(self, tokens: Sequence[int], loss: _Loss) -> PrefixMiss:
        start, end = max(0, loss.at - WINDOW_TOKENS), loss.at + WINDOW_TOKENS
        expected = self._detokenize(_to_tokens(loss.earlier[start * _WIDTH : end * _WIDTH])) if loss.earlier else ""
        found = self._detokenize(tokens[start:end])
        return PrefixMiss(loss.at, expected, found, loss.cause, f"{loss.tokens:,} tokens were computed again {loss.because}.")


def _gone(shared: int, reused: int, *, cuttable: bool) -> _Loss:
    """What is lost where the same text was computed, but its state is not there."""
    if cuttable:
        return _Loss(shared - reused, "evicted", reused, "because they were no longer kept: other prompts needed the room")
    nearest = f"the nearest state that was kept ends at token {reused:,}" if reused else "no state was kept before it"
    why = f"because this model's memory cannot be cut back to token {shared:,}, and {nearest}"
    return _Loss(shared - reused, "model_state", reused, why)


def _settings_differ(shared: int, reused: int) -> _Loss:
    why = "because they had been computed with other settings: other adapters, or without the cache"
    return _Loss(shared - reused, "settings", reused, why)


def _most_shared(ids: bytes, prompts: Sequence[_Prompt]) -> int:
    """Counts the tokens that the ids have in common with the prompt that begins most like them."""
    shared, beginning = 0, ids[:_WIDTH]
    for prompt in reversed(prompts):
        # Only what agrees one token farther than the best so far is looked at closely.
        if len(beginning) > shared * _WIDTH and prompt.ids.startswith(beginning):
            shared += _common(ids, shared, prompt.ids, shared)
            beginning = ids[: (shared + 1) * _WIDTH]
    return shared


def _common(one: bytes, one_at: int, other: bytes, other_at: int) -> int:
    """Counts the tokens that agree from two places on; in slices, as a loop over tokens would be slow."""
    most = min(len(one) // _WIDTH - one_at, len(other) // _WIDTH - other_at)
    done, size = 0, 64
    while done < most and size:
        size = min(size, most - done)
        mine = one[(one_at + done) * _WIDTH : (one_at + done + size) * _WIDTH]
        if mine == other[(other_at + done) * _WIDTH : (other_at + done + size) * _WIDTH]:
            done += size
            size *= 2
        else:
            size //= 2
    return done


def _common_before(one: bytes, one_at: int, other: bytes, other_at: int, most: int) -> int:
    """Counts the tokens that agree before two places, up to `most`."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        mine = one[(one_at - middle) * _WIDTH : one_at * _WIDTH]
        if mine == other[(other_at - middle) * _WIDTH : other_at * _WIDTH]:
            low = middle
        else:
            high = middle - 1
    return low


def _count_shared(ids: bytes, earlier: bytes, parted: int) -> int:
    """Counts the tokens behind the place where two prompts part that both have, in the same order; never too many."""
    count, place, other_place = 0, parted, parted
    probe_at, stride = parted, 1
    for _ in range(_MOST_PROBES):
        probe = ids[probe_at * _WIDTH : (probe_at + _PROBE_TOKENS) * _WIDTH]
        if len(probe) < _PROBE_TOKENS * _WIDTH:
            break
        found = earlier.find(probe, other_place * _WIDTH)
        if found < 0 or found % _WIDTH:
            probe_at += stride
            stride *= 2
            continue
        other_at = found // _WIDTH
        before = _common_before(ids, probe_at, earlier, other_at, min(probe_at - place, other_at - other_place))
        behind = _common(ids, probe_at, earlier, other_at)
        place = probe_at = probe_at + behind
        if before + behind >= _RUN_TOKENS:
            count += before + behind
            other_place = other_at + behind
            stride = 1
    return count


def _to_bytes(tokens: Sequence[int]) -> bytes:
    return array("i", tokens).tobytes()


def _to_tokens(ids: bytes) -> Sequence[int]:
    return array("i", ids)
