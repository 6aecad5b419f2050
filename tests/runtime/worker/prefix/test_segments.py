import hashlib
import struct

from hypothesis import given
from hypothesis import strategies as st

from impetus.runtime.worker.prefix.segments import (
    SEGMENT_TOKENS,
    Segment,
    SegmentIndex,
    child_key,
    common_tokens,
    pack_tokens,
    packed_key,
    root_key,
)

TOKENS = st.lists(st.sampled_from([0, 1, 256, 65536, 2**31 - 1]), max_size=12)
ROOT = root_key(b"model")


def segment(tokens: list[int], *, parent: bytes = ROOT, begin: int = 0, size_bytes: int = 10) -> Segment:
    return Segment(child_key(parent, tokens), parent, begin, pack_tokens(tokens), size_bytes)


def test_a_key_is_a_hash_of_the_parent_and_the_tokens() -> None:
    expected = hashlib.blake2b(ROOT + struct.pack("<3i", 1, 2, 300), digest_size=16).digest()
    assert child_key(ROOT, [1, 2, 300]) == packed_key(ROOT, pack_tokens([1, 2, 300])) == expected


def test_a_root_tells_its_parts_apart() -> None:
    roots = {root_key(*parts) for parts in [(), (b"",), (b"ab",), (b"a", b"b"), (b"b", b"a"), (b"a", b"", b"b")]}
    assert len(roots) == 6


@given(TOKENS, TOKENS, st.integers(0, 3), st.integers(0, 3))
def test_common_tokens_are_counted_as_one_by_one(one: list[int], other: list[int], one_at: int, other_at: int) -> None:
    expected = 0
    for left, right in zip(one[one_at:], other[other_at:], strict=False):
        if left != right:
            break
        expected += 1
    assert common_tokens(pack_tokens(one), 4 * one_at, pack_tokens(other), 4 * other_at) == max(0, expected)


@given(st.lists(TOKENS.filter(len), unique_by=tuple, max_size=6), TOKENS, st.booleans())
def test_an_index_finds_what_a_look_at_all_finds(stored: list[list[int]], prompt: list[int], cuttable: bool) -> None:
    index = SegmentIndex(cuttable=cuttable)
    for tokens in stored:
        index.add(segment(tokens))
    found = [(list(memoryview(match.tokens).cast("i")), count) for match, count in index.matches(ROOT, pack_tokens(prompt))]

    def shared(tokens: list[int]) -> int:
        return next((n for n, (a, b) in enumerate(zip(tokens, prompt, strict=False)) if a != b), min(len(tokens), len(prompt)))

    usable = [tokens for tokens in stored if (shared(tokens) > 0 if cuttable else shared(tokens) == len(tokens))]
    if prompt in stored and cuttable:
        assert found == [(prompt, len(prompt))]
    else:
        assert sorted(found) == sorted((tokens, shared(tokens)) for tokens in usable)
        assert [count for _, count in found] == sorted((count for _, count in found), reverse=True)
    covering = index.covering(ROOT, pack_tokens(prompt))
    covers = [tokens for tokens in stored if (tokens[: len(prompt)] if cuttable else tokens) == prompt]
    assert (covering is not None) == bool(covers)


def test_a_discarded_segment_leaves_its_siblings() -> None:
    index = SegmentIndex(cuttable=True)
    long, short, other = segment([1] * SEGMENT_TOKENS), segment([1] * 80), segment([2] * 80)
    for one in (long, short, other):
        index.add(one)
    assert index.superseded(long) == [short]
    assert index.discard(short.key) is short
    assert index.discard(short.key) is None
    assert set(index) == {long, other}
    assert index.has_children(ROOT)
    index.discard(long.key)
    index.discard(other.key)
    assert not index.has_children(ROOT)


def test_where_states_cannot_be_cut_a_shorter_one_is_still_of_use() -> None:
    index = SegmentIndex(cuttable=False)
    long, short = segment([1] * 500), segment([1] * 80)
    index.add(long)
    index.add(short)
    assert index.superseded(long) == []
    assert index.matches(ROOT, pack_tokens([1] * 499)) == [(short, 80)]
    assert index.matches(ROOT, pack_tokens([1] * 501)) == [(long, 500), (short, 80)]
