import itertools

from hypothesis import given
from hypothesis import strategies as st

from impetus.runtime.worker.output.utf8 import Utf8Assembler


def assemble(pieces: list[bytes]) -> str:
    utf8 = Utf8Assembler()
    return "".join(utf8.push(piece) for piece in pieces) + utf8.finish()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    borders = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[begin:end] for begin, end in itertools.pairwise(borders)]


@given(st.text(), st.lists(st.integers(min_value=0)))
def test_text_comes_out_as_it_was_however_it_is_cut(text: str, places: list[int]) -> None:
    assert assemble(cut(text.encode("utf-8", "replace"), places)) == text.encode("utf-8", "replace").decode()


@given(st.binary(), st.lists(st.integers(min_value=0)))
def test_bad_bytes_come_out_the_same_however_they_are_cut(data: bytes, places: list[int]) -> None:
    assert assemble(cut(data, places)) == data.decode("utf-8", "replace")


@given(st.text())
def test_no_half_character_is_ever_shown(text: str) -> None:
    utf8 = Utf8Assembler()
    shown = ""
    for byte in text.encode("utf-8", "replace"):
        shown += utf8.push(bytes([byte]))
        assert text.encode("utf-8", "replace").decode().startswith(shown)


def test_a_character_that_never_ends_becomes_a_replacement_at_the_end() -> None:
    utf8 = Utf8Assembler()
    assert utf8.push("🦊".encode()[:3]) == ""
    assert utf8.finish() == "\ufffd"
