from __future__ import annotations

import pytest
from rich.cells import cell_len

from impetus.runtime.models.model import Speed
from impetus.tui import format as words


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "unknown"), (0, "0"), (2048, "2 KiB"), (98 << 20, "98 MiB"), (3 << 30, "3.0 GiB"), (3000 << 30, "2.9 TiB")],
)
def test_sizes_have_binary_units(value, text):
    assert words.size(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.084, "84 ms"), (0.9996, "1.0 s"), (12.34, "12.3 s"), (200, "3 m 20 s"), (7300, "2 h 01 m")],
)
def test_durations_have_the_unit_that_fits(seconds, text):
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(None, ""), (0.0, "────"), (0.1, "╸───"), (0.5, "━━──"), (0.63, "━━╸─"), (1.0, "━━━━"), (1.7, "━━━━"), (-1.0, "────")],
)
def test_a_bar_grows_by_half_cells(share, text):
    assert words.bar(share, 4) == text


def test_what_is_not_known_is_never_a_nought():
    assert words.percent(None) == "unknown"
    assert words.rate(None) == words.count(None) == words.context(None) == "–"
    assert words.percent(0.0) == "0 %"


@pytest.mark.parametrize("text", ["\x1b[2J", "a\x07b", "\x9b31m", "x\u202egnp.exe", "\r", "\u200b"])
def test_control_characters_do_not_reach_the_terminal(text):
    cleaned = words.clean(text)
    assert not any(character in cleaned for character in "\x1b\x07\x9b\u202e\r\u200b")
    assert "\N{REPLACEMENT CHARACTER}" in cleaned


def test_clean_keeps_what_people_write():
    assert words.clean("Grüße 世界 🙂 [bold]") == "Grüße 世界 🙂 [bold]"
    assert words.one_line("two\n  lines\n") == "two lines"


@pytest.mark.parametrize("text", ["short", "a long text without end", "世界世界世界世界", "🙂🙂🙂🙂🙂🙂🙂🙂", ""])
@pytest.mark.parametrize("right", [False, True])
def test_fit_takes_exactly_its_cells(text, right):
    for width in range(1, 14):
        assert cell_len(words.fit(text, width, right=right)) == width


def test_fit_says_that_something_is_missing():
    assert words.fit("Qwen2.5-Coder", 8) == "Qwen2.5…"


@pytest.mark.parametrize(
    "text", ["one two three four five", "世界 世界世界世界世界世界", "x" * 50, "a\n\nb", "ends in spaces   "]
)
def test_wrapped_lines_fit_and_lose_nothing(text):
    for width in (2, 5, 11, 80):
        lines = words.wrap(text, width)
        assert all(cell_len(line) <= width for line in lines)
        assert "".join(lines).replace(" ", "") == text.replace(" ", "").replace("\n", "")


def test_wrapping_keeps_empty_lines():
    assert words.wrap("a\n\nb", 10) == ["a", "", "b"]


def test_a_predicted_speed_is_a_range_and_a_measured_one_a_number():
    predicted, measured = Speed(40.0, 32.0, 50.0), Speed.measured(7.26)
    assert words.speeds(predicted, None) == "writes 32 to 50 tok/s (predicted)"
    assert words.speeds(measured, predicted) == "writes 7.3 tok/s (measured), reads 32 to 50 tok/s (predicted)"
    assert words.speeds(measured, measured) == "writes 7.3, reads 7.3 tok/s (measured)"
