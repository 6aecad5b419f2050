"""Regular expressions as far as schemas need them: how heavy one is, and one that leaves some texts out."""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_PRODUCT = 10_000
"""The most that counted repetitions inside one another may come to; the matcher lays such a pattern out as a whole."""
MAX_LENGTH = 16 * 1024
"""Of a pattern; one of 200,000 characters can take gigabytes."""
MAX_WORD = 100
"""The longest text that a pattern can be made to leave out."""

_TOKEN = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\(|\)|\{(\d+)(?:(,)(\d*))?\}|.", re.DOTALL)


def repetition_product(pattern: str) -> int:
    """Multiplies the counted repetitions that lie inside one another; gives the largest product, 0 where none are.

    A repetition with no other inside counts nothing: it is laid out only as far as it is met.
    """
    groups = [0]
    """For each open group, the largest product in it so far."""
    last = heaviest = 0
    for token in _TOKEN.finditer(pattern):
        if token[0] == "(":
            groups.append(0)
            last = 0
        elif token[0] == ")":
            last = groups.pop() if len(groups) > 1 else 0
        elif token[1] is not None:
            count = max(int(token[1]), int(token[3] or 0))
            if last:
                heaviest = max(heaviest, count * last)
            last = count * max(last, 1)
        elif token[0] not in "*+?":
            last = 0
        groups[-1] = max(groups[-1], last)
    return heaviest


def none_of(words: Iterable[str]) -> str | None:
    """Makes a pattern for every text but these; None where one of them is too long for it."""
    chosen = set(words)
    if any(len(word) > MAX_WORD for word in chosen):
        return None
    return f"^{_none_of(chosen)}$"


def _none_of(words: set[str]) -> str:
    """Walks the words as a tree: either the text ends where no word does, or it leaves the tree, or it follows a branch."""
    branches: dict[str, set[str]] = {}
    for word in words:
        if word:
            branches.setdefault(word[0], set()).add(word[1:])
    if not branches:
        return "(?s:.)+" if "" in words else "(?s:.)*"
    options = [] if "" in words else [""]
    options.append(f"[^{''.join(map(_escape, branches))}](?s:.)*")
    options.extend(f"{_escape(first)}{_none_of(rest)}" for first, rest in branches.items())
    return f"(?:{'|'.join(options)})"


def _escape(character: str) -> str:
    return character if character.isascii() and character.isalnum() else f"\\x{{{ord(character):X}}}"
