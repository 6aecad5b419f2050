from __future__ import annotations

import pytest

from impetus.hw.thermal import LEVELS, from_raw, severity, worst


@pytest.mark.parametrize(
    ("raw", "level"),
    [
        (0, "nominal"), (1, "moderate"), (2, "heavy"), (3, "trapping"), (4, "sleeping"),
        (10, "moderate"), (20, "moderate"), (30, "heavy"), (40, "trapping"), (50, "sleeping"),
        (5, None), (-1, None), (60, None),
    ],
)  # fmt: skip
def test_both_ways_of_counting_are_named(raw, level):
    assert from_raw(raw) == level


def test_levels_have_an_order():
    assert [severity(level) for level in LEVELS] == [0, 1, 2, 3, 4]
    assert worst(["moderate", None, "heavy", "nominal"]) == "heavy"
    assert worst([None]) is None
    assert worst([]) is None
