"""Arguments as objects, whole and cut."""

from __future__ import annotations

import json

import pytest

from impetus.api.dialects.arguments import to_object

WHOLE = ' {"path": "a \\"b\\"}", "n": [1, {"x": "é,"}], "deep": {"k": {"l": null}}, "last": -1.5e3 }'


def test_what_is_whole_stays_as_it_was_written() -> None:
    assert bytes(to_object(WHOLE)).decode() == WHOLE


def test_wherever_it_is_cut_members_are_whole_or_missing() -> None:
    value = json.loads(WHOLE)
    names = list(value)
    counts: list[int] = []
    for end in range(len(WHOLE) - 1):
        read = json.loads(bytes(to_object(WHOLE[:end])))
        assert read == {name: value[name] for name in names[: len(read)]}
        counts.append(len(read))
    assert counts == sorted(counts)
    assert set(counts) == {0, 1, 2, 3}


@pytest.mark.parametrize("written", ["", "  ", "nonsense", "[1]", '"x"', "{", '{"a": NaN, "b": 1', '{"a" 1}', "{" * 100_000])
def test_what_is_no_object_becomes_an_empty_one(written: str) -> None:
    assert bytes(to_object(written)) == b"{}"
