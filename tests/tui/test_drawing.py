"""Braille areas and the plot."""

from __future__ import annotations

import pytest
from rich.style import Style

from impetus.tui.widgets.braille import area
from impetus.tui.widgets.plot import Curve, PlotOrder, draw, nice_top


def order(*curves, width=84, height=11, span=120):
    return PlotOrder(width, height, curves, span, (1, 2, 3), (4, 5, 6), Style(bgcolor="#000000"))


def test_areas_end_at_the_right_and_have_the_size_asked_for():
    rows = area([100.0, 100.0], 4, 2, top=100)
    assert [len(row) for row in rows] == [4, 4]
    assert rows == ["⠀⠀⠀⣿", "⠀⠀⠀⣿"]


def test_what_is_unknown_is_blank_and_nought_is_not():
    assert area([None, None], 1, 1, top=100) == ["⠀"]
    assert area([0.0, None], 1, 1, top=100) == ["⡀"]


@pytest.mark.parametrize(
    ("value", "top"), [(0, 10), (0.7, 0.8), (17, 20), (390, 400), (800, 800), (801, 1000), (12_345, 15_000)]
)
def test_axes_end_at_round_figures(value, top):
    assert nice_top(value) == pytest.approx(top)


def test_a_plot_has_the_size_asked_for():
    for width, height in ((84, 11), (60, 6), (140, 19)):
        strips = draw(order(Curve([5.0] * 120, (9, 9, 9), "A"), width=width, height=height))
        assert len(strips) == height
        assert {strip.cell_length for strip in strips} == {width}


def test_two_curves_carry_their_signs_and_colours():
    strips = draw(order(Curve([50.0] * 120, (255, 0, 0), "A"), Curve([10.0] * 120, (0, 255, 0), "B")))
    signs = {
        segment.text: tuple(segment.style.color.triplet)
        for strip in strips
        for segment in strip
        if segment.text in {"A", "B"} and segment.style.color
    }
    assert signs == {"A": (255, 0, 0), "B": (0, 255, 0)}


def test_the_axis_says_how_long_ago():
    text = "\n".join(strip.text for strip in draw(order(Curve([1.0] * 300, (1, 1, 1), "A"), span=150)))
    assert "now" in text
    assert "-2m" in text
    assert "-30s" in text
