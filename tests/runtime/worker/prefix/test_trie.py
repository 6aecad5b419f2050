import random
from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from impetus.runtime.worker.prefix.segments import common_tokens
from impetus.runtime.worker.prefix.trie import TokenTrie

TOKENS = st.lists(st.integers(0, 2) | st.sampled_from([256, 65536, 2**31 - 1]), max_size=8)
VALUES = st.integers(0, 5)


def shared(one: Sequence[int], other: Sequence[int]) -> int:
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


class TrieAgainstAList(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.trie: TokenTrie[int] = TokenTrie()
        self.entries: list[tuple[int, list[int]]] = []
        """Value and tokens, in the order of insertion."""

    def forget(self, value: int) -> list[int] | None:
        found = [tokens for other, tokens in self.entries if other == value]
        self.entries = [entry for entry in self.entries if entry[0] != value]
        return found[0] if found else None

    @rule(tokens=TOKENS, value=VALUES)
    def insert(self, tokens: list[int], value: int) -> None:
        self.trie.insert(tokens, value)
        self.forget(value)
        self.entries.append((value, tokens))

    @rule(tokens=TOKENS, value=VALUES)
    def extend(self, tokens: list[int], value: int) -> None:
        if value not in self.trie:
            with pytest.raises(KeyError):
                self.trie.extend(value, tokens)
            return
        self.trie.extend(value, tokens)
        before = self.forget(value)
        assert before is not None
        self.entries.append((value, before + tokens))

    @rule(value=VALUES)
    def discard(self, value: int) -> None:
        self.trie.discard(value)
        self.forget(value)

    @rule(tokens=TOKENS)
    def look_up(self, tokens: list[int]) -> None:
        best = max((shared(tokens, stored) for _, stored in self.entries), default=0)
        newest = [value for value, stored in self.entries if shared(tokens, stored) == best]
        assert self.trie.longest(tokens) == ((best, newest[-1]) if best else (0, None))

    @invariant()
    def every_stored_sequence_is_found_whole(self) -> None:
        assert len(self.trie) == len(self.entries)
        for value, tokens in self.entries:
            assert value in self.trie
            assert self.trie.longest(tokens)[0] == len(tokens)


TrieAgainstAList.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestTrie = TrieAgainstAList.TestCase


def test_an_emptied_trie_holds_no_nodes() -> None:
    trie: TokenTrie[int] = TokenTrie()
    draw = random.Random(5)
    for value in range(200):
        trie.insert([draw.randrange(3) for _ in range(draw.randrange(40))], value)
        trie.extend(draw.randrange(value + 1), [draw.randrange(3)])
    for value in range(200):
        trie.discard(value)
    assert (len(trie), trie._root.children, trie._root.newest) == (0, {}, None)


def test_a_long_sequence_grows_token_by_token() -> None:
    trie: TokenTrie[str] = TokenTrie()
    tokens = list(range(9000))
    trie.insert(tokens[:5000], "a")
    for token in tokens[5000:]:
        trie.extend("a", [token])
    assert trie.longest(tokens) == (9000, "a")
    trie.insert([*tokens[:8000], 0], "b")
    assert trie.longest(tokens) == (9000, "a")
    assert trie.longest(tokens[:7000]) == (7000, "b")


def test_a_long_prompt_is_looked_up_among_many_by_looking_at_each_token_once(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(1)
    system = [draw.randrange(50_000) for _ in range(20_000)]
    trie: TokenTrie[int] = TokenTrie()
    for value in range(200):
        trie.insert(system[: draw.randrange(20_000)] + [draw.randrange(50_000) for _ in range(10_000)], value)
    prompt = system + [draw.randrange(50_000) for _ in range(10_000)]
    compared: list[int] = []

    def count(label: bytes, at: int, packed: bytes, packed_at: int) -> int:
        shared = common_tokens(label, at, packed, packed_at)
        compared.append(shared)
        return shared

    monkeypatch.setattr("impetus.runtime.worker.prefix.trie.common_tokens", count)
    found, _ = trie.longest(prompt)
    # However many sequences there are, only the way of the prompt is gone: a stop for each of them that leaves it, at most.
    assert sum(compared) == found
    assert 19_000 < found <= 20_000
    assert len(compared) <= 201
