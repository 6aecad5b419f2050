"""Which choices of several are kept."""

from __future__ import annotations

from impetus.api.dialects.openai_answers import Collected
from impetus.runtime.events import TextDelta, TokenLogprob


def test_the_likeliest_on_average_are_kept_and_the_order_stays_where_none_goes() -> None:
    collected = Collected(n=3, logprobs=True)
    for index, logprobs in enumerate([(-3.0,), (-1.0, -1.5), (-2.0,)]):
        collected.add([TextDelta(index, "x", (TokenLogprob(1, b"x", logprob),)) for logprob in logprobs])
    before = list(collected.choices)
    collected.keep_best(3)
    assert collected.choices == before
    collected.keep_best(2)
    assert collected.choices == [before[1], before[2]]
