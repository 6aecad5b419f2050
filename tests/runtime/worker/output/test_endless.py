"""Answers that go round in a circle, and those that only look like it."""

import random

import pytest

from impetus.runtime.worker.output.endless import LENGTH, LONGEST_UNIT, Endless


def end_of(text: bytes, step: int) -> int | None:
    """At which byte an answer is ended; None where it is not."""
    endless = Endless()
    for at in range(0, len(text), step):
        if endless.push(text[at : at + step]):
            return at + step
    return None


@pytest.mark.parametrize("step", [1, 3, 17, 400])
@pytest.mark.parametrize("unit", [1, 2, 63, 64, 65, 200, LONGEST_UNIT])
def test_one_text_over_and_over_is_seen_soon(unit: int, step: int) -> None:
    source = random.Random(unit)
    begin, text = source.randbytes(1000), source.randbytes(unit)
    end = end_of(begin + text * (2 * LENGTH // unit), step)
    assert end is not None
    assert 1000 + LENGTH - unit <= end <= 1000 + LENGTH + 2 * 400 + 256


@pytest.mark.parametrize(
    "text",
    [
        random.Random(0).randbytes(LONGEST_UNIT + 1) * 100,
        b"".join(b"%d: the same line\n" % number for number in range(2000)),
        b"0x00, " * (LENGTH // 6 - 60),
        (b"-" * 300 + b"\n") * 13,
        random.Random(1).randbytes(50_000),
    ],
)
def test_other_answers_go_on(text: bytes) -> None:
    assert end_of(text, 3) is None


def test_a_unit_with_a_long_repetition_in_it_is_seen_too() -> None:
    assert end_of((b"-" * 300 + b"and then something else\n") * 60, 3) is not None
