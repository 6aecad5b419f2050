import itertools

from hypothesis import given
from hypothesis import strategies as st

from impetus.runtime.worker.prefix.sharing import common_prefix, distinct_tokens

TOKENS = st.lists(st.integers(0, 2), max_size=40)


@given(TOKENS, TOKENS, TOKENS)
def test_the_common_prefix_is_what_a_plain_loop_finds(shared: list[int], one: list[int], other: list[int]) -> None:
    one, other = shared + one, shared + other
    plain = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    assert common_prefix(one, other) == plain


def test_cells_are_counted_once_where_sequences_begin_alike() -> None:
    assert distinct_tokens([]) == 0
    assert distinct_tokens([[1, 2, 3], [1, 2, 4, 5], [1, 2], [7]]) == 6
    assert distinct_tokens([[1, 2], [1, 2]]) == 2
