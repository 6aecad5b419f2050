import random

from impetus.runtime.worker.prefix.memory import MemoryTier, recompute_cost
from impetus.runtime.worker.prefix.segments import Segment, child_key, pack_tokens, root_key

ROOT = root_key(b"model")


def chain(first: int, count: int, size_bytes: int = 100) -> list[Segment]:
    segments: list[Segment] = []
    parent = ROOT
    for number in range(count):
        tokens = [first] * 256
        key = child_key(parent, tokens)
        segments.append(Segment(key, parent, number * 256, pack_tokens(tokens), size_bytes))
        parent = key
    return segments


class Evicted:
    def __init__(self) -> None:
        self.keys: list[bytes] = []

    def __call__(self, segment: Segment, state: bytes) -> None:
        assert len(state) == segment.size_bytes
        self.keys.append(segment.key)


def fill(memory: MemoryTier, segments: list[Segment]) -> list[bytes]:
    evicted = Evicted()
    for segment in segments:
        memory.put(segment, bytes(segment.size_bytes), evicted)
    return evicted.keys


def test_the_budget_holds_and_all_bytes_are_accounted_for() -> None:
    draw = random.Random(3)
    memory = MemoryTier(10_000, cuttable=True)
    put: set[bytes] = set()
    for first in range(40):
        segments = chain(first, draw.randrange(1, 6), draw.randrange(1, 900))
        put.update(segment.key for segment in segments)
        fill(memory, segments)
        assert memory.size_bytes == sum(segment.size_bytes for segment in memory.index) <= 10_000
    for key in put:
        memory.discard(key)
    assert (memory.size_bytes, len(memory.index)) == (0, 0)


def test_what_another_segment_continues_stays_longer() -> None:
    memory = MemoryTier(1000, cuttable=True)
    old, new = chain(1, 5), chain(2, 8)
    gone = fill(memory, [*old, *new])
    for segments in (old, new):
        kept = [segment.key in memory for segment in segments]
        assert kept == sorted(kept, reverse=True), "an end is kept without its beginning"
    assert gone[0] == old[4].key


def test_what_is_used_stays() -> None:
    memory = MemoryTier(1000, cuttable=True)
    chains = [chain(first, 1) for first in range(40)]
    for segments in chains:
        fill(memory, segments)
        memory.touch(chains[0][0].key)
    assert chains[0][0].key in memory
    assert chains[39][0].key in memory
    assert chains[20][0].key not in memory


def test_of_two_the_one_that_is_cheap_to_compute_for_its_size_goes() -> None:
    cheap, dear = chain(1, 1, 400)[0], chain(2, 1, 100)[0]
    assert recompute_cost(cheap) == recompute_cost(dear)
    memory = MemoryTier(500, cuttable=True)
    fill(memory, [dear, cheap, chain(3, 1, 10)[0]])
    assert (dear.key in memory, cheap.key in memory) == (True, False)
    late = Segment(b"late", b"gone", 20_000, pack_tokens([1] * 256), 100)
    assert recompute_cost(late) > 2 * recompute_cost(dear)


def test_what_nobody_uses_goes_in_the_end_however_dear_it_is() -> None:
    memory = MemoryTier(1000, cuttable=True)
    dear = Segment(b"dear", b"gone", 50_000, pack_tokens([1] * 256), 100)
    fill(memory, [dear])
    for first in range(200):
        fill(memory, chain(first, 1))
    assert dear.key not in memory


def test_a_state_larger_than_all_the_memory_is_not_kept() -> None:
    memory = MemoryTier(1000, cuttable=True)
    small, large = chain(1, 1)[0], chain(2, 1, 1001)[0]
    fill(memory, [small, large])
    assert (small.key in memory, large.key in memory, memory.get(large.key)) == (True, False, None)


def test_a_longer_segment_takes_the_place_of_the_shorter_one() -> None:
    memory = MemoryTier(1000, cuttable=True)
    short = Segment(child_key(ROOT, [1] * 80), ROOT, 0, pack_tokens([1] * 80), 50)
    long = chain(1, 1)[0]
    assert fill(memory, [short, long]) == []
    assert (short.key in memory, memory.size_bytes) == (False, 100)


def test_less_room_lets_go_of_what_is_over_at_once_and_more_room_is_used_again() -> None:
    memory = MemoryTier(1000, cuttable=True)
    segments = chain(1, 8)
    assert fill(memory, segments) == []
    memory.resize(250)
    assert (memory.size_bytes, [segment.key in memory for segment in segments[:3]]) == (200, [True, True, False])
    memory.resize(1000)
    assert fill(memory, segments) == []
    assert memory.size_bytes == 800
