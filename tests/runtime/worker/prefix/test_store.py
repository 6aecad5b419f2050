import os
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from prefix_states import ROOT, state_of

from impetus.runtime.frames import PrefixOptions
from impetus.runtime.prefix_files import list_files
from impetus.runtime.worker.prefix.segments import LEAST_TAIL_TOKENS, LEAST_TOKENS, SEGMENT_TOKENS, root_key
from impetus.runtime.worker.prefix.store import LEAST_CUT_TOKENS, PrefixStore

RUNS = st.lists(st.tuples(st.integers(0, 1), st.sampled_from([20, 64, 100, 256, 300])), min_size=1, max_size=4)
CUTS = st.sampled_from([5, 60, 256, 300, 500, 5000])
SEED = st.integers(0, 1 << 30)
PLENTY = 1 << 40


def prompt(runs: list[tuple[int, int]]) -> list[int]:
    return [token for token, count in runs for _ in range(count)]


def shared(one: list[int], other: list[int]) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


class StoreAgainstADict(RuleBasedStateMachine):
    """Whatever is evicted, lost or damaged: what is read is what was put, and with room enough nothing is lost."""

    @initialize(
        cuttable=st.booleans(),
        ram=st.sampled_from([0, 2500, PLENTY]),
        disk=st.sampled_from([0, 8000, PLENTY]),
        seals=st.booleans(),
        prompts=st.lists(st.tuples(st.integers(0, 7), CUTS, RUNS), min_size=2, max_size=8),
    )
    def open_first(
        self, cuttable: bool, ram: int, disk: int, seals: bool, prompts: list[tuple[int, int, list[tuple[int, int]]]]
    ) -> None:
        self.prompts: list[list[int]] = [prompt([(0, 300), (1, 300), (0, 300)])]
        for number, cut, runs in prompts:
            self.prompts.append([*self.prompts[number % len(self.prompts)][:cut], *prompt(runs)])
        self.folder = tempfile.TemporaryDirectory()
        Path(self.folder.name, "key").write_bytes(bytes(32))  # known, so that files have the same names each time
        self.options = PrefixOptions(
            ram_bytes=ram,
            disk_dir=f"{self.folder.name}/prefix" if disk else None,
            disk_max_bytes=disk,
            key_path=f"{self.folder.name}/key" if seals else None,
        )
        self.cuttable = cuttable
        self.put: dict[tuple[tuple[int, ...], int], bytes] = {}
        """All states by the tokens up to their end, and where they begin."""
        self.ram_is_whole, self.disk_is_whole = ram == PLENTY, disk == PLENTY
        self.open()

    def open(self) -> None:
        self.store = PrefixStore(self.options, root=ROOT, cuttable=self.cuttable)
        assert self.store.flush(20)

    @property
    def keeps_all(self) -> bool:
        return self.ram_is_whole or self.disk_is_whole

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close(20)
            self.folder.cleanup()

    @rule(number=st.integers(0, 7), size=st.integers(0, 1500))
    def keep(self, number: int, size: int) -> None:
        tokens = self.prompts[number % len(self.prompts)]
        for begin, end in self.store.missing(tokens):
            state = state_of(tokens, end, size)
            if self.cuttable:
                assert begin % SEGMENT_TOKENS == 0
                assert (LEAST_TAIL_TOKENS if begin else LEAST_TOKENS) <= end - begin <= SEGMENT_TOKENS
                self.store.put(tokens, begin, end, state)
            else:
                assert (begin, end) == (0, len(tokens))
                self.store.put_checkpoint(tokens, state)
            self.put[tuple(tokens[:end]), begin] = state
        if self.keeps_all:
            assert self.store.missing(tokens) == []
        assert self.store.flush(20)

    @rule(number=st.integers(0, 7), begin=st.just(0) | st.integers(0, 600))
    def look_up(self, number: int, begin: int) -> None:
        tokens = self.prompts[number % len(self.prompts)]
        begin = min(begin, len(tokens))
        at = begin
        for hit in self.store.match(tokens, begin=begin, prefill_tps=None):
            assert hit.begin <= at < hit.begin + hit.tokens
            at = hit.begin + hit.tokens
            state = self.store.read(hit)
            if state is None:
                assert not self.keeps_all
                return
            sources = [
                whole for (whole, start), known in self.put.items()
                if start == hit.begin and known == state and list(whole[:at]) == tokens[:at]
            ]  # fmt: skip
            assert sources, hit
            assert self.cuttable or any(len(whole) == at for whole in sources)
            assert hit.size_bytes == len(state)
        if self.keeps_all:
            assert at == max(begin, self.expected_end(tokens, begin)), (begin, at)

    def expected_end(self, tokens: list[int], begin: int) -> int:
        if not self.cuttable:
            return max((len(whole) for whole, _ in self.put if list(whole) == tokens[: len(whole)]), default=0)
        at = begin - begin % SEGMENT_TOKENS
        while True:
            ends = [
                shared(list(whole), tokens)
                for whole, start in self.put
                if start == at and shared(list(whole), tokens) > at
            ]  # fmt: skip
            best = max(ends, default=at)
            if best < at + SEGMENT_TOKENS:
                worth_it = best - max(at, begin) >= LEAST_CUT_TOKENS
                return best if worth_it else at
            at = best

    @rule(what=st.sampled_from(["reopen", "lose", "flip", "tear"]), seed=SEED)
    def disturb(self, what: str, seed: int) -> None:
        draw = random.Random(seed)
        files = sorted(file.path for file in list_files(Path(f"{self.folder.name}/prefix")))
        if what == "reopen":
            self.store.close(20)
            self.ram_is_whole = False
            self.open()
        elif files:
            path = draw.choice(files)
            content = bytearray(path.read_bytes())
            if what == "flip":
                content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
            path.write_bytes(content if what == "flip" else content[: draw.randrange(len(content))])
            if what == "lose":
                path.unlink()
            self.disk_is_whole = False

    @invariant()
    def the_limits_hold(self) -> None:
        if hasattr(self, "store"):
            assert self.store.ram_bytes <= self.options.ram_bytes
            on_disk = sum(file.size_bytes for file in list_files(Path(f"{self.folder.name}/prefix")))
            assert on_disk <= self.options.disk_max_bytes


StoreAgainstADict.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestStore = StoreAgainstADict.TestCase


def ram_only(*, cuttable: bool = True) -> PrefixStore:
    return PrefixStore(PrefixOptions(ram_bytes=1 << 30), root=ROOT, cuttable=cuttable)


def test_a_turn_keeps_only_what_is_new() -> None:
    store = ram_only()
    first = list(range(600))
    assert store.missing(first) == [(0, 256), (256, 512), (512, 600)]
    for begin, end in store.missing(first):
        store.put(first, begin, end, b"state")
    second = [*first, *range(5000, 5400)]
    assert store.missing(second) == [(512, 768), (768, 1000)]
    store.put(second, 512, 768, b"longer")
    assert store.ram_bytes == 5 + 5 + 6
    assert [(hit.begin, hit.tokens) for hit in store.match(first, prefill_tps=None)] == [(0, 256), (256, 256), (512, 88)]


def test_a_prompt_that_turns_off_within_a_segment_takes_a_part_of_it() -> None:
    store = ram_only()
    first = list(range(512))
    for begin, end in store.missing(first):
        store.put(first, begin, end, bytes(10))
    hits = store.match([*first[:400], 9, 9, 9], prefill_tps=None)
    assert [(hit.begin, hit.tokens, hit.size_bytes) for hit in hits] == [(0, 256, 10), (256, 144, 10)]
    assert len(store.match(first[: 256 + LEAST_CUT_TOKENS - 1], prefill_tps=None)) == 1
    assert store.match(first, begin=512, prefill_tps=None) == []
    assert [hit.begin for hit in store.match(first, begin=300, prefill_tps=None)] == [256]


def test_what_the_engine_has_already_need_not_be_kept() -> None:
    store = ram_only()
    tokens = list(range(768))
    store.put(tokens, 256, 512, b"middle")
    assert store.match(tokens, prefill_tps=None) == []
    assert [hit.begin for hit in store.match(tokens, begin=256, prefill_tps=None)] == [256]


def test_short_ends_are_not_kept() -> None:
    store = ram_only()
    assert store.missing(list(range(63))) == []
    assert store.missing(list(range(256 + LEAST_TAIL_TOKENS - 1))) == [(0, 256)]
    assert store.missing(list(range(256 + LEAST_TAIL_TOKENS))) == [(0, 256), (256, 256 + LEAST_TAIL_TOKENS)]
    assert PrefixStore(PrefixOptions(), root=ROOT, cuttable=True).missing(list(range(900))) == []


@pytest.mark.parametrize(("begin", "end"), [(1, 100), (0, 257), (256, 256), (256, 600), (512, 200)])
def test_only_segments_are_taken(begin: int, end: int) -> None:
    with pytest.raises(ValueError, match="no segment"):
        ram_only().put(list(range(599)), begin, end, b"")


def test_checkpoints_and_segments_do_not_mix() -> None:
    with pytest.raises(ValueError, match="whole"):
        ram_only().put_checkpoint([1] * 100, b"")
    with pytest.raises(ValueError, match="no segment"):
        ram_only(cuttable=False).put([1] * 100, 0, 100, b"")


def test_a_checkpoint_serves_only_what_begins_with_all_of_it() -> None:
    store = ram_only(cuttable=False)
    tokens = list(range(3000))
    for end in (1000, 2000):
        store.put_checkpoint(tokens[:end], bytes(end))
    assert [(hit.begin, hit.tokens) for hit in store.match(tokens, prefill_tps=None)] == [(0, 2000)]
    assert [hit.tokens for hit in store.match(tokens[:1999], prefill_tps=None)] == [1000]
    assert store.match(tokens[:1999], begin=1000, prefill_tps=None) == []
    assert store.match(tokens[:999], prefill_tps=None) == []
    assert (store.missing(tokens[:2000]), store.missing(tokens)) == ([], [(0, 3000)])


def test_stores_of_one_engine_share_the_memory_and_keep_their_states_apart(tmp_path: Path) -> None:
    options = PrefixOptions(ram_bytes=1000, disk_dir=str(tmp_path), disk_max_bytes=PLENTY)
    plain = PrefixStore(options, root=ROOT, cuttable=True)
    tuned = PrefixStore(options, root=root_key(b"with an adapter"), cuttable=True, memory=plain.memory)
    tokens = list(range(256))
    plain.put(tokens, 0, 256, bytes(700))
    assert tuned.match(tokens, prefill_tps=None) == []
    tuned.put(tokens, 0, 256, b"\1" * 700)
    assert plain.ram_bytes == tuned.ram_bytes == 700
    for store, byte in ((plain, 0), (tuned, 1)):
        assert store.flush(20)
        (hit,) = store.match(tokens, prefill_tps=None)
        assert store.read(hit) == bytes([byte]) * 700
        store.close(20)


def test_another_root_finds_nothing_on_the_disk(tmp_path: Path) -> None:
    options = PrefixOptions(disk_dir=str(tmp_path), disk_max_bytes=PLENTY)
    tokens = list(range(256))
    store = PrefixStore(options, root=ROOT, cuttable=True)
    store.put(tokens, 0, 256, os.urandom(100))
    store.close(20)
    other = PrefixStore(options, root=root_key(b"another"), cuttable=True)
    assert other.flush(20)
    assert other.match(tokens, prefill_tps=None) == []
    other.close(20)
