import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impetus.runtime.engines.frame_reader import BrokenStream, FrameReader
from impetus.runtime.frames import LENGTH, Accepted, Delta, Done, FromEngine, LoadRefused, Progress, Step, encode

frames = st.lists(
    st.one_of(
        st.builds(Accepted, st.integers(0, 2**40), st.integers(0, 2**40)),
        st.builds(Progress, st.floats(0, 1)),
        st.builds(LoadRefused, st.text(st.characters(exclude_categories=["Cs"]), max_size=400)),
        st.just(Step([Delta(1, "hello"), Delta(2, "wörld")], [Done(2, "stop", 1, 2, 0, 0.5, 0.25)], 2)),
    ),
    max_size=8,
)


@given(frames, st.lists(st.integers(min_value=0)))
def test_frames_come_out_as_they_went_in_however_they_are_cut(sent: list[FromEngine], places: list[int]) -> None:
    data = b"".join(map(encode, sent))
    borders = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    reader = FrameReader()
    assert [frame for at, end in itertools.pairwise(borders) for frame in reader.feed(data[at:end])] == sent


@pytest.mark.parametrize("junk", [b"Loading weights: 100%\n" * 4, LENGTH.pack(2) + b"{}", LENGTH.pack(1) + b"\x80"])
def test_what_is_no_frame_is_noticed(junk: bytes) -> None:
    with pytest.raises(BrokenStream):
        FrameReader().feed(encode(Progress(0.5)) + junk)


def test_a_length_beyond_reason_is_noticed_when_it_comes_in_pieces() -> None:
    reader = FrameReader()
    assert reader.feed(b"\xff\xff") == []
    with pytest.raises(BrokenStream):
        reader.feed(b"\xff\xff")
