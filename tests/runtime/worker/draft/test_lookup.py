import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impetus.runtime.worker.draft.lookup import GRAM, LONGEST, Lookup

FILE = random.Random(7).choices(range(40), k=1500)
"""A text in which runs of two tokens are common and runs of six are not."""


def follow(prompt: list[int], reply: list[int]) -> tuple[int, list[int]]:
    """Gives how many tokens were guessed right one by one, and where the others stand."""
    lookup = Lookup(prompt)
    lookup.peek()
    wrong: list[int] = []
    for place, token in enumerate(reply):
        if lookup.expected != token:
            wrong.append(place)
        lookup.append(token)
    return len(reply) - len(wrong), wrong


def test_a_repeated_text_is_guessed_from_its_third_token_on() -> None:
    right, wrong = follow([*FILE, 99, 98], FILE)
    assert right >= len(FILE) - 12
    assert max(wrong) < 12


def test_nothing_is_guessed_where_the_newest_tokens_are_new() -> None:
    lookup = Lookup([*FILE, 90, 91, 92])
    assert lookup.peek() is None
    assert lookup.draft(8) == []
    lookup.append(93)
    assert (lookup.expected, lookup.agreement, lookup.draft(8)) == (None, 0, [])


def test_a_guess_is_what_followed_and_ends_with_the_count() -> None:
    lookup = Lookup([1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3])
    assert lookup.draft(4) == [4, 5, 6, 7]
    assert lookup.draft(0) == []
    assert lookup.agreement == 3
    lookup.append(4)
    assert (lookup.draft(3), lookup.agreement) == ([5, 6, 7], 4)


def test_a_loop_is_guessed_on_beyond_the_end() -> None:
    assert Lookup([5, 6, 7, 5, 6, 7, 5, 6]).draft(8) == [7, 5, 6, 7, 5, 6, 7, 5]


def test_the_place_with_more_agreement_wins_over_the_newer_one() -> None:
    text = [10, 11, 1, 2, 3, 50, 20, 21, 1, 2, 3, 60, 10, 11]
    assert Lookup([*text, 1, 2, 3]).draft(1) == [50]
    assert Lookup([*text, 0, 1, 2, 3]).draft(1) == [60]


def test_the_reply_itself_is_known_too_and_its_newest_place_wins() -> None:
    lookup = Lookup([1, 2, 3, 4, 40, 41])
    lookup.peek()
    for token in (7, 8, 9, 30, 31, 7, 8, 9, 50, 51, 7, 8, 9):
        lookup.append(token)
    assert lookup.draft(2) == [50, 51]


@pytest.mark.parametrize(
    ("begin", "end", "instead"),
    [(700, 701, [95]), (700, 700, [95, 96, 97, 95, 98, 99]), (700, 715, []), (700, 715, [95, 96, 97, 98])],
    ids=["one token for another", "a line more", "a line less", "a line for another"],
)
def test_it_finds_back_after_one_change(begin: int, end: int, instead: list[int]) -> None:
    reply = [*FILE[:begin], *instead, *FILE[end:]]
    _, wrong = follow([*FILE, 99, 98], reply)
    after = [place for place in wrong if place >= 20]
    assert len(after) <= len(instead) + 3
    assert all(begin <= place < begin + len(instead) + 4 for place in after)


def test_after_a_change_it_stays_in_the_copy_it_was_following() -> None:
    other = [*FILE[:705], 77, 78, 79, *FILE[720:]]
    reply = [*FILE[:700], 95, *FILE[700:]]
    _, wrong = follow([*FILE, 99, 98, *other, 99], reply)
    assert sum(place >= 720 for place in wrong) <= 1


@given(st.lists(st.integers(0, 5), max_size=80), st.lists(st.integers(0, 5), max_size=60))
@settings(max_examples=150, deadline=None)
def test_every_guess_is_what_followed_as_many_tokens_as_it_says(prompt: list[int], reply: list[int]) -> None:
    lookup = Lookup(prompt)
    lookup.peek()
    text = list(prompt)
    for token in [*reply, 0]:
        agreement, guess = lookup.agreement, lookup.draft(5)
        assert bool(guess) == (lookup.expected is not None)
        if guess:
            newest = text[len(text) - agreement :]
            known = [place for place in range(agreement, len(text)) if text[place - agreement : place] == newest]
            continuations = [(text[place:] * 5)[:5] for place in known]
            assert guess in continuations
        lookup.append(token)
        text.append(token)


@given(st.lists(st.integers(0, 3), min_size=GRAM + 1, max_size=120))
@settings(max_examples=150, deadline=None)
def test_the_first_guess_agrees_as_far_as_any_place_does(prompt: list[int]) -> None:
    lookup = Lookup(prompt)
    lookup.peek()
    best = 0
    for place in range(1, len(prompt)):
        count = 0
        while count < min(LONGEST, place) and prompt[place - 1 - count] == prompt[-1 - count]:
            count += 1
        best = max(best, count)
    assert lookup.agreement == (best if best >= GRAM else 0)


def test_a_long_prompt_is_indexed_in_no_time() -> None:
    prompt = FILE * 20
    times: list[float] = []
    for _ in range(5):
        began_s = time.process_time()
        Lookup(prompt).peek()
        times.append(time.process_time() - began_s)
    assert min(times) < 0.015
