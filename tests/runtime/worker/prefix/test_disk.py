import contextlib
import errno
import logging
import os
import random
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import prefix_states
import pytest
from prefix_states import ROOT, check, options, prompt_of, put, size_of, state_of

from impetus.runtime.frames import PrefixOptions
from impetus.runtime.prefix_files import START_BYTES, clear, list_files
from impetus.runtime.worker.prefix import disk
from impetus.runtime.worker.prefix.segments import Segment, packed_key, root_key
from impetus.runtime.worker.prefix.shelf import Shelf
from impetus.runtime.worker.prefix.store import PrefixStore

SEALED = pytest.mark.parametrize("seals", [False, True], ids=["plain", "sealed"])
PLENTY = 1 << 40


@contextlib.contextmanager
def opened(settings: PrefixOptions) -> Iterator[PrefixStore]:
    store = PrefixStore(settings, root=ROOT, cuttable=True, label="tiny")
    try:
        assert store.flush(30)
        yield store
    finally:
        store.close(30)


def key_in(folder: Path, seals: bool) -> Path | None:
    return folder / "prefix.key" if seals else None


def files_of(folder: Path) -> list[Path]:
    return sorted(file.path for file in list_files(folder))


def run_writers(action: str, folder: Path, key_path: Path | None, seed: int, count: int) -> int:
    command = [sys.executable, prefix_states.__file__, action, str(folder), str(key_path or "-"), str(seed), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@SEALED
def test_nothing_wrong_is_read_after_a_thousand_kills_in_the_midst_of_writing(tmp_path: Path, seals: bool) -> None:
    folder, key_path = tmp_path / "prefix", key_in(tmp_path, seals)
    unfinished = run_writers("kill", folder, key_path, 1, 500)
    assert unfinished > 0, "the kills did not come while files were written"
    # What was written last is still there as it was left; opening cleans up after the dead.
    whole = {file.path for file in list_files(folder) if file.kind != "temporary"}
    with opened(options(folder, key_path=key_path, max_bytes=PLENTY)) as store:
        assert {file.path for file in list_files(folder)} == whole
        right = sum(check(store, prompt_of(seed)) for seed in range(500))
        assert right > 0
        assert store.flush(30)
        assert {file.path for file in list_files(folder)} == whole, "a file under its own name was not whole"


@SEALED
def test_a_flipped_bit_in_any_of_a_thousand_files_is_found(tmp_path: Path, seals: bool) -> None:
    draw = random.Random(2)
    settings = options(tmp_path / "prefix", key_path=key_in(tmp_path, seals), max_bytes=PLENTY)
    prompts = [[seed, *(draw.randrange(1000) for _ in range(79))] for seed in range(500)]
    with opened(settings) as store:
        for tokens in prompts:
            store.put(tokens, 0, 80, state_of(tokens, 80, 600))
    paths = files_of(tmp_path / "prefix")
    assert len(paths) == 500
    ignored = 0

    def flip(path: Path) -> None:
        nonlocal ignored
        content = bytearray(path.read_bytes())
        at = draw.choice([draw.randrange(START_BYTES), draw.randrange(len(content)), draw.randrange(len(content))])
        content[at] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        ignored += seals and 32 <= at < 48  # another key's id: it may be another user's file, and is left alone

    for path in paths[:250]:
        flip(path)
    with opened(settings) as store:
        for path in paths[250:]:  # these are known to the store already
            flip(path)
        for tokens in prompts:
            for hit in store.match(tokens, prefill_tps=None):
                assert store.read(hit) is None, "a damaged state was taken for whole"
        assert all(store.match(tokens, prefill_tps=None) == [] for tokens in prompts)
    assert len(files_of(tmp_path / "prefix")) == ignored


@SEALED
def test_a_file_cut_off_anywhere_is_found(tmp_path: Path, seals: bool) -> None:
    settings = options(tmp_path / "prefix", key_path=key_in(tmp_path, seals))
    tokens = list(range(80))
    for kept in (0, 1, START_BYTES - 1, START_BYTES, START_BYTES + 50, 500, -1):
        with opened(settings) as store:
            put(store, tokens)
        (path,) = files_of(tmp_path / "prefix")
        path.write_bytes(path.read_bytes()[:kept])
        with opened(settings) as store:
            assert store.match(tokens, prefill_tps=None) == []
        assert files_of(tmp_path / "prefix") == []


def test_a_file_under_another_ones_name_is_not_taken_for_it(tmp_path: Path) -> None:
    settings = options(tmp_path / "prefix")
    one, two = list(range(80)), list(range(1, 81))
    with opened(settings) as store:
        put(store, one)
        put(store, two)
        assert store.flush(30)
        first, second = files_of(tmp_path / "prefix")
        kept = first.read_bytes()
        second.write_bytes(kept)
        assert check(store, one) + check(store, two) == 1
        assert files_of(tmp_path / "prefix") == [first]
        elsewhere = tmp_path / "prefix" / root_key(b"another model").hex()
        elsewhere.mkdir()
        (elsewhere / first.name).write_bytes(kept)
    with PrefixStoreOf(settings, root_key(b"another model")) as other:
        assert other.match(one, prefill_tps=None) == []
        assert list(elsewhere.iterdir()) == []


class PrefixStoreOf:
    """A store of another model, closed at the end."""

    def __init__(self, settings: PrefixOptions, root: bytes) -> None:
        self.store = PrefixStore(settings, root=root, cuttable=True)

    def __enter__(self) -> PrefixStore:
        assert self.store.flush(30)
        return self.store

    def __exit__(self, *_: object) -> None:
        self.store.close(30)


@SEALED
def test_two_servers_share_a_folder_that_is_too_small_for_them(tmp_path: Path, seals: bool) -> None:
    folder, key_path = tmp_path / "prefix", key_in(tmp_path, seals)
    command = [sys.executable, prefix_states.__file__, "share", str(folder), str(key_path or "-"), "7", "250"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as other:
        right = prefix_states.write_and_read(folder, key_path, 8, 250)
        out, errors = other.communicate(timeout=60)
    assert other.returncode == 0, errors
    assert right > 20
    assert int(out) > 20
    assert sum(file.size_bytes for file in list_files(folder)) < 2 * 1_500_000


def test_clearing_the_folder_under_a_running_store_only_makes_it_miss(tmp_path: Path) -> None:
    tokens = prompt_of(3)
    with opened(options(tmp_path / "prefix")) as store:
        put(store, tokens)
        assert store.flush(30)
        hits = store.match(tokens, prefill_tps=None)
        assert hits
        count, size_bytes = clear(tmp_path / "prefix")
        assert (count, size_bytes) == (len(hits), store.disk_bytes)
        assert [store.read(hit) for hit in hits] == [None] * len(hits)
        assert store.match(tokens, prefill_tps=None) == []
        put(store, tokens)
        assert store.flush(30)
        assert check(store, tokens) == len(hits)


def full_disk(descriptor: int, data: bytes) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def assert_full_disk_is_told_once(store: PrefixStore, folder: Path, caplog: pytest.LogCaptureFixture, kept: list[int]) -> None:
    for seed in range(900, 905):
        put(store, prompt_of(seed))
        assert store.flush(30)
    late = [8] * 256
    store.put(late, 0, 256, bytes(100))
    assert store.flush(30)
    assert store.match(late, prefill_tps=None) == [], "the tier writes again"
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1, warnings
    assert str(folder) in warnings[0]
    assert [file for file in list_files(folder) if file.kind == "temporary"] == []
    assert store.missing(prompt_of(950)) == [], "states are still asked for that nobody keeps"
    assert check(store, kept) > 0


def test_a_full_disk_ends_the_writing_with_one_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = prompt_of(1)
    with opened(options(tmp_path)) as store:
        put(store, kept)
        assert store.flush(30)
        monkeypatch.setattr("os.write", full_disk)
        assert_full_disk_is_told_once(store, tmp_path, caplog, kept)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root on Linux can mount a small tmpfs")
def test_a_small_file_system_that_fills_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        with opened(options(folder, max_bytes=PLENTY)) as store:
            kept = list(range(300))
            store.put(kept, 0, 256, state_of(kept, 256, size_of(kept)))
            big = list(range(5, 1029))
            for begin in range(0, 1024, 256):
                store.put(big, begin, begin + 256, random.Random(begin).randbytes(200_000))
            assert store.flush(30)
            assert_full_disk_is_told_once(store, folder, caplog, kept)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_limit_on_the_size_of_files_is_a_disk_that_refuses(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    kept = [4, *range(300)]
    with opened(options(tmp_path, max_bytes=PLENTY)) as store:
        store.put(kept, 0, 256, state_of(kept, 256, size_of(kept)))
        assert store.flush(30)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            store.put([5] * 256, 0, 256, bytes(200_000))
            assert store.flush(30)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert_full_disk_is_told_once(store, tmp_path, caplog, kept)


def test_a_folder_that_cannot_be_made_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    store = PrefixStore(options(tmp_path / "file" / "prefix"), root=ROOT, cuttable=True)
    tokens = prompt_of(1)
    put(store, tokens)
    assert store.flush(30)
    assert (store.match(tokens, prefill_tps=None), store.missing(tokens)) == ([], [])
    store.close(30)
    assert len(caplog.records) == 1


def test_a_wrong_key_file_turns_the_tier_off_and_touches_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key_path = tmp_path / "notes"
    key_path.write_text("my notes")
    store = PrefixStore(options(tmp_path / "prefix", key_path=key_path), root=ROOT, cuttable=True)
    put(store, prompt_of(1))
    assert store.flush(30)
    store.close(30)
    assert "notes" in caplog.text
    assert key_path.read_text() == "my notes"
    assert files_of(tmp_path / "prefix") == []


def test_the_folder_and_its_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "prefix"
    folder.mkdir(mode=0o755)
    with opened(options(folder)) as store:
        put(store, prompt_of(1))
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in files_of(folder):
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700


def test_sealed_files_show_neither_tokens_nor_states_nor_names(tmp_path: Path) -> None:
    tokens = [77_777] * 256
    with opened(options(tmp_path / "plain")) as store:
        store.put(tokens, 0, 256, b"state" * 100)
    with opened(options(tmp_path / "sealed", key_path=tmp_path / "key")) as store:
        store.put(tokens, 0, 256, b"state" * 100)
    (plain,), (sealed,) = files_of(tmp_path / "plain"), files_of(tmp_path / "sealed")
    for secret in (b"state", b"tiny", (77_777).to_bytes(4, "little")):
        assert secret in plain.read_bytes()
        assert secret not in sealed.read_bytes()
    assert plain.stem != sealed.stem


def test_who_turns_encryption_on_has_nothing_readable_left(tmp_path: Path) -> None:
    tokens = prompt_of(1)
    with opened(options(tmp_path / "prefix")) as store:
        put(store, tokens)
    with opened(options(tmp_path / "prefix", key_path=tmp_path / "key")) as store:
        assert files_of(tmp_path / "prefix") == []
        put(store, tokens)
    with opened(options(tmp_path / "prefix", key_path=tmp_path / "another key")) as store:
        assert store.match(tokens, prefill_tps=None) == []
    with opened(options(tmp_path / "prefix", key_path=tmp_path / "key")) as store:
        assert check(store, tokens) > 0


def test_the_limit_takes_what_was_used_longest_ago_of_any_model(tmp_path: Path) -> None:
    settings = options(tmp_path, max_bytes=50_000)
    other = PrefixStore(settings, root=root_key(b"another model"), cuttable=True)
    old = [1] * 256
    other.put(old, 0, 256, bytes(10_000))
    other.close(30)
    with opened(settings) as store:
        used = [2] * 256
        store.put(used, 0, 256, bytes(10_000))
        for seed in range(10, 20):
            store.put([seed] * 256, 0, 256, bytes(10_000))
            assert store.flush(30)
            assert store.match(used, prefill_tps=None), "what is used at each turn was evicted"
            assert store.disk_bytes == sum(file.size_bytes for file in list_files(tmp_path)) <= 50_000
        assert store.match([10] * 256, prefill_tps=None) == []
        assert store.match([19] * 256, prefill_tps=None)
    assert not any(path.parent.name == root_key(b"another model").hex() for path in files_of(tmp_path))


def test_the_end_of_a_prompt_is_evicted_before_its_beginning(tmp_path: Path) -> None:
    tokens = list(range(256 * 8))
    with opened(options(tmp_path, max_bytes=100_000)) as store:
        for begin in range(0, len(tokens), 256):
            store.put(tokens, begin, begin + 256, bytes(10_000))
        assert store.flush(30)
        store.put([7] * 256, 0, 256, bytes(30_000))
        assert store.flush(30)
        kept = store.match(tokens, prefill_tps=None)
        assert [hit.begin for hit in kept] == list(range(0, 256 * len(kept), 256))
        assert 4 <= len(kept) < 8
        assert len(files_of(tmp_path)) == len(kept) + 1


def test_what_nobody_used_for_its_time_to_live_is_deleted(tmp_path: Path) -> None:
    old, new = [1] * 256, [2] * 256
    settings = PrefixOptions(disk_dir=str(tmp_path), disk_max_bytes=PLENTY, disk_ttl_s=3600)
    with opened(settings) as store:
        for tokens in (old, new):
            store.put(tokens, 0, 256, b"state")
        assert store.flush(30)
        (hit,) = store.match(old, prefill_tps=None)
    path = tmp_path / ROOT.hex() / f"{hit.key.hex()}.kv1"
    os.utime(path, (time.time() - 3700,) * 2)
    with opened(settings) as store:
        assert store.match(old, prefill_tps=None) == []
        assert store.match(new, prefill_tps=None)
    assert not path.exists()


def test_only_the_unfinished_files_of_dead_writers_are_deleted(tmp_path: Path) -> None:
    folder = tmp_path / ROOT.hex()
    folder.mkdir()
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait(30)
    names = {
        f"{'a' * 32}.kv1.{gone.pid}-12ab.tmp": False,
        f"{'b' * 32}.kv1.{os.getpid()}-12ab.tmp": True,
        f"{'c' * 32}.kv1.{os.getpid()}-12ab.tmp": False,
        "notes.tmp": True,
    }
    for name in names:
        (folder / name).write_bytes(b"x")
    hours_ago = time.time() - 2 * 3600
    os.utime(folder / f"{'c' * 32}.kv1.{os.getpid()}-12ab.tmp", (hours_ago, hours_ago))
    os.utime(folder / "notes.tmp", (hours_ago, hours_ago))
    with opened(options(tmp_path)):
        assert {name: (folder / name).exists() for name in names} == names


def test_a_state_that_is_computed_sooner_than_read_is_left_on_the_disk(tmp_path: Path) -> None:
    tokens = list(range(256))
    with opened(options(tmp_path, max_bytes=PLENTY)) as store:
        store.put(tokens, 0, 256, random.Random(1).randbytes(4_000_000))
    with opened(options(tmp_path, max_bytes=PLENTY)) as store:  # opening measures how fast the disk is
        assert len(store.match(tokens, prefill_tps=100)) == 1
        assert len(store.match(tokens, prefill_tps=None)) == 1
        assert store.match(tokens, prefill_tps=1e9) == []


def test_a_disk_read_is_kept_in_memory(tmp_path: Path) -> None:
    tokens = prompt_of(1)
    with opened(options(tmp_path)) as store:
        put(store, tokens)
    with opened(options(tmp_path, ram_bytes=1 << 30)) as store:
        assert {hit.tier for hit in store.match(tokens, prefill_tps=None)} == {"disk"}
        check(store, tokens)
        clear(tmp_path)
        assert {hit.tier for hit in store.match(tokens, prefill_tps=None)} == {"ram"}
        assert check(store, tokens) > 0


def test_a_queue_that_overflows_never_waits_and_keeps_the_beginnings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "QUEUE_BYTES", 50_000)
    go_on, sync = threading.Event(), os.fsync

    def stuck(descriptor: int) -> None:
        assert go_on.wait(30)
        sync(descriptor)

    tokens = list(range(256 * 10))
    with opened(options(tmp_path, max_bytes=PLENTY)) as store, contextlib.ExitStack() as at_the_end:
        at_the_end.callback(go_on.set)
        monkeypatch.setattr("os.fsync", stuck)
        for begin in range(0, len(tokens), 256):
            store.put(tokens, begin, begin + 256, bytes(10_000))
        waiting = store.match(tokens, prefill_tps=None)
        assert [(hit.begin, hit.tier) for hit in waiting] == [(begin, "ram") for begin in range(0, 1280, 256)]
        assert store.read(waiting[0]) == bytes(10_000)
        assert not store.flush(0.01)
        go_on.set()
        assert store.flush(30)
        assert [(hit.begin, hit.tier) for hit in store.match(tokens, prefill_tps=None)] == [
            (begin, "disk") for begin in range(0, 1280, 256)
        ]
        # What fell out of the queue is asked for again at the prompt's next turn.
        assert store.missing(tokens) == [(begin, begin + 256) for begin in range(1280, 2560, 256)]


def test_what_only_memory_has_reaches_the_disk_at_the_next_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "QUEUE_BYTES", 1)
    tokens = list(range(1024))
    with opened(options(tmp_path, ram_bytes=1 << 30)) as store:
        for begin, end in store.missing(tokens):
            store.put(tokens, begin, end, state_of(tokens, end, 1000))
        assert store.flush(30)
        monkeypatch.setattr(disk, "QUEUE_BYTES", 1 << 30)
        assert len(files_of(tmp_path)) < 4
        assert store.missing(tokens) == []
        assert store.flush(30)
        assert len(files_of(tmp_path)) == 4


def test_a_turn_that_goes_on_replaces_the_short_end_of_the_one_before(tmp_path: Path) -> None:
    tokens = list(range(512))
    with opened(options(tmp_path)) as store:
        put(store, tokens[:400])
        assert store.flush(30)
        before = set(files_of(tmp_path))
        put(store, tokens)
        assert store.flush(30)
        assert len(before) == len(files_of(tmp_path)) == len(before & set(files_of(tmp_path))) + 1 == 2


def test_thousands_of_files_are_found_quickly(tmp_path: Path) -> None:
    with opened(options(tmp_path, max_bytes=PLENTY)) as store:
        put(store, [9] * 256)
    (model,) = (path.parent for path in files_of(tmp_path))
    shelf = Shelf(tmp_path, root=ROOT, label="tiny", sealer=None)
    draw = random.Random(1)
    for _ in range(2000):
        tokens = draw.randbytes(1024)
        segment = Segment(packed_key(ROOT, tokens), ROOT, 0, tokens, 10)
        (model / shelf.path(segment.key).name).write_bytes(b"".join(shelf._parts(segment, bytes(10))))
    began = time.perf_counter()
    with opened(options(tmp_path, max_bytes=PLENTY)) as store:
        took = time.perf_counter() - began
        assert store._disk is not None
        assert len(store._disk._index) == 2001
    assert took < 2, took


def test_what_a_turn_left_is_written_once_it_is_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "QUIET_S", 0.4)
    with opened(options(tmp_path)) as store:
        put(store, list(range(300)))
        for _ in range(6):  # somebody asks all the time
            time.sleep(0.1)
            store.match([5, 6, 7], prefill_tps=None)
        assert files_of(tmp_path) == []
        for _ in range(100):
            if files_of(tmp_path):
                break
            time.sleep(0.05)
        assert files_of(tmp_path)


@pytest.mark.parametrize(("name", "value"), [("QUEUE_BYTES", 1), ("PATIENCE_S", 0.2)])
def test_what_is_much_or_old_is_written_while_others_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: float
) -> None:
    monkeypatch.setattr(disk, "QUIET_S", 60.0)
    monkeypatch.setattr(disk, name, value)
    with opened(options(tmp_path)) as store:
        put(store, list(range(300)))
        for _ in range(100):
            if files_of(tmp_path):
                break
            time.sleep(0.05)
            store.match([5, 6, 7], prefill_tps=None)
        assert files_of(tmp_path)
