import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impetus.runtime.worker.output.stop import StopFilter


def through(pieces: list[str], stops: list[str]) -> tuple[str, bool]:
    stop = StopFilter(stops)
    shown = "".join(stop.push(piece) for piece in pieces)
    return shown + stop.finish(), stop.stopped


def one_by_one(text: str, stops: list[str]) -> tuple[str, bool]:
    """What a reader means by it: the text up to where the first stop string is complete, without that string."""
    for end in range(1, len(text) + 1):
        met = [stop for stop in stops if stop and text[:end].endswith(stop)]
        if met:
            return text[: end - len(max(met, key=len))], True
    return text, False


# Few letters, so that stop strings are met, overlap, and begin in vain.
letters = st.text(alphabet="ab", max_size=30)
stop_strings = st.lists(st.text(alphabet="ab", min_size=1, max_size=4), max_size=4)


@given(letters, stop_strings, st.lists(st.integers(min_value=0, max_value=30)))
def test_the_cut_of_the_tokens_never_changes_the_text(text: str, stops: list[str], places: list[int]) -> None:
    borders = sorted({0, len(text), *(place for place in places if place < len(text))})
    pieces = [text[begin:end] for begin, end in itertools.pairwise(borders)]
    assert through(pieces, stops) == one_by_one(text, stops)


@given(letters, stop_strings)
def test_nothing_of_a_stop_string_is_ever_shown(text: str, stops: list[str]) -> None:
    stop = StopFilter(stops)
    shown = ""
    final, _ = one_by_one(text, stops)
    for letter in text:
        shown += stop.push(letter)
        assert final.startswith(shown)


def test_text_is_released_as_soon_as_it_cannot_be_a_stop_string() -> None:
    stop = StopFilter(["END"])
    assert stop.push("the EN") == "the "
    assert stop.push("TRY") == "ENTRY"


def test_held_text_comes_out_at_the_end() -> None:
    stop = StopFilter(["###"])
    assert stop.push("a ##") == "a "
    assert stop.finish() == "##"
    assert not stop.stopped


@pytest.mark.parametrize("stops", [["stop"], ["nope", "stop"], ["", "stop"]])
def test_nothing_comes_after_a_stop_string(stops: list[str]) -> None:
    stop = StopFilter(stops)
    assert stop.push("go stop go") == "go "
    assert stop.push("more") == ""
    assert stop.finish() == ""
    assert stop.stopped
