from __future__ import annotations

from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impetus.hw.series import Series


def filled(values, capacity=100, start_s=0.0):
    series = Series(capacity)
    for index, value in enumerate(values):
        series.append(start_s + index, value)
    return series


def test_few_readings_are_shown_as_they_are():
    assert list(filled([1.0, None, 3.0]).points(10)) == [1.0, None, 3.0]


def test_an_empty_series_has_no_points():
    assert list(Series().points(10)) == []
    assert Series().latest is None


def test_many_readings_are_thinned_to_means_of_what_is_known():
    assert list(filled([1.0, 3.0, None, 5.0, None, None]).points(3)) == [2.0, 5.0, None]


def test_the_oldest_readings_make_place():
    series = filled(map(float, range(7)), capacity=4)
    assert list(series.points(10)) == [3.0, 4.0, 5.0, 6.0]
    assert len(series) == 4
    assert series.latest == 6.0


def test_an_unknown_reading_is_not_zero():
    series = filled([5.0, None])
    assert series.latest is None
    assert list(series.points(5))[-1] is None


def test_a_window_reaches_back_from_the_newest_reading():
    series = filled(map(float, range(10)), start_s=1000.0)
    assert list(series.points(20, window_s=3.0)) == [6.0, 7.0, 8.0, 9.0]
    assert list(series.points(20, window_s=1000.0)) == list(map(float, range(10)))


def test_points_keep_their_company_as_the_chart_shifts():
    series = filled(map(float, range(100)), capacity=64)
    seen = [value for value in series.points(8) if value is not None]
    series.append(100.0, 100.0)
    shifted = series.points(8)
    assert set(seen[1:-1]) <= set(shifted)


@given(st.lists(st.none() | st.floats(-1e6, 1e6), max_size=200), st.integers(1, 60), st.integers(1, 120))
def test_there_are_never_more_points_than_asked_for_and_none_is_invented(values, width, capacity):
    series = filled(values, capacity)
    points = series.points(width)
    kept = [value for value in values[-capacity:] if value is not None]
    assert len(points) <= width
    assert bool(points) == bool(values)
    for point in points:
        assert point is None or min(kept) - 1e-6 <= point <= max(kept) + 1e-6


@pytest.mark.parametrize("width", [0, -1])
def test_a_chart_without_width_shows_nothing(width):
    assert list(filled([1.0]).points(width)) == []


def test_drawing_while_filling_never_fails():
    series = Series(50)
    writer = Thread(target=lambda: [series.append(float(at), float(at)) for at in range(20_000)])
    writer.start()
    while writer.is_alive():
        points = series.points(10)
        assert list(points) == sorted(points)
    writer.join()
    assert series.latest == 19_999.0
