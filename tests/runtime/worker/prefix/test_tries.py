from impetus.runtime.request import Adapter
from impetus.runtime.worker.prefix.tries import Tries


def test_a_sequence_is_found_under_its_own_adapters_alone_and_nothing_stays_of_it() -> None:
    tries: Tries[int] = Tries()
    mixtures = [(), *((Adapter("a", scale / 100),) for scale in range(100))]
    for number, adapters in enumerate(mixtures):
        tries.insert(adapters, [1, 2, 3, number], number)
    assert [tries.longest(adapters, [1, 2, 3, 5]) for adapters in mixtures[4:7]] == [(3, 4), (4, 5), (3, 6)]
    assert tries.longest((Adapter("b", 1.0),), [1, 2, 3]) == (0, None)
    for number, adapters in enumerate(mixtures):
        tries.discard(adapters, number)
        tries.discard(adapters, number)
        assert tries.longest(adapters, [1, 2, 3, number]) == (0, None)
    assert len(tries) == 0
