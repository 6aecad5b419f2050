from impetus.runtime.worker.prefix.checkpoints import EVERY_TOKENS, LEAST_TOKENS, checkpoint_positions

START = 1


def prompt(*messages: int) -> list[int]:
    return [token for length in messages for token in (START, *[9] * (length - 1))]


def test_the_first_message_and_the_newest_two_borders_are_kept() -> None:
    tokens = prompt(100, 50, 60, 70, 5)
    assert checkpoint_positions(tokens, {START}) == [100, 210, 280]


def test_long_stretches_are_parted() -> None:
    tokens = prompt(2 * EVERY_TOKENS + 100, 10)
    assert checkpoint_positions(tokens, {START}) == [EVERY_TOKENS, 2 * EVERY_TOKENS, 2 * EVERY_TOKENS + 100]


def test_what_is_kept_already_is_left_out() -> None:
    tokens = prompt(100, 50, 60, 70, 5)
    assert checkpoint_positions(tokens, {START}, begin=210) == [280]


def test_short_beginnings_and_the_end_itself_are_not_worth_it() -> None:
    assert checkpoint_positions(prompt(LEAST_TOKENS - 1, 3), {START}) == []
    assert checkpoint_positions([9] * EVERY_TOKENS, {START}) == []
    assert checkpoint_positions([], {START}) == []
