"""Responses on the disk."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from impetus.api.response_store import ResponseStore, StoredResponse


class Clock:
    now_s = 1_000_000.0

    def __call__(self) -> float:
        self.now_s += 1
        return self.now_s


def make(path: Path, clock: Clock | None = None, **limits: Any) -> ResponseStore:
    known: dict[str, Any] = {"max_responses": 100, "max_bytes": 10_000, "max_age_s": 0.0} | limits
    return ResponseStore(path, now_epoch_s=clock or Clock(), **known)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ResponseStore]:
    async with make(tmp_path / "deep" / "responses.sqlite3") as store:
        yield store


def response(id_: str, previous: str | None = None, size: int = 10) -> StoredResponse:
    return StoredResponse(id_, previous, b"[]", b"x" * (size - 2))


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


async def ids(store: ResponseStore, *wanted: str) -> list[str]:
    return [id_ for id_ in wanted if await store.get(id_) is not None]


async def test_what_was_put_is_found_until_it_is_deleted(store: ResponseStore) -> None:
    await store.put(response("a"), ["m"])
    assert await store.get("a") == response("a")
    assert await store.delete("a")
    assert await store.get("a") is None
    assert not await store.delete("a")
    assert await store.owners(["m"]) == []


async def test_it_is_still_there_after_a_restart(tmp_path: Path) -> None:
    async with make(tmp_path / "r") as store:
        await store.put(response("a"), [])
    async with make(tmp_path / "r") as store:
        assert await store.get("a") == response("a")


async def test_a_chain_comes_from_its_beginning(store: ResponseStore) -> None:
    for id_, previous in (("a", None), ("b", "a"), ("c", "b")):
        await store.put(response(id_, previous), [])
    chain, missing = await store.chain("c")
    assert ([one.id for one in chain], missing) == (["a", "b", "c"], None)


async def test_a_broken_chain_names_what_is_missing(store: ResponseStore) -> None:
    await store.put(response("b", "a"), [])
    assert await store.chain("b") == ([], "a")
    assert await store.chain("x") == ([], "x")


async def test_a_circle_comes_to_an_end(store: ResponseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impetus.api.response_store.MOST_TURNS", 5)
    await store.put(response("a", "b"), [])
    await store.put(response("b", "a"), [])
    chain, _ = await store.chain("a")
    assert len(chain) == 5


async def test_items_lead_to_their_responses(store: ResponseStore) -> None:
    await store.put(response("a"), ["m1", "m2"])
    await store.put(response("b"), ["m3"])
    assert [one.id for one in await store.owners(["m1", "m2", "m3", "m4"])] == ["a", "b"]


async def test_the_one_unused_for_longest_makes_room(tmp_path: Path) -> None:
    async with make(tmp_path / "r", max_responses=3) as store:
        for id_ in "abc":
            await store.put(response(id_), [])
        await store.chain("a")
        await store.put(response("d"), [])
        assert await ids(store, *"abcd") == ["a", "c", "d"]


async def test_bytes_are_bounded(tmp_path: Path) -> None:
    async with make(tmp_path / "r", max_bytes=100) as store:
        for id_ in "abc":
            await store.put(response(id_, size=40), [])
        assert await ids(store, *"abc") == ["b", "c"]
        await store.put(response("d", size=101), [])
        assert await ids(store, *"abcd") == ["b", "c"]


async def test_the_file_does_not_outgrow_the_bound(tmp_path: Path) -> None:
    path = tmp_path / "r"
    async with make(path, max_bytes=200_000) as store:
        for number in range(60):
            await store.put(response(str(number), size=40_000), [])
    assert size_of(tmp_path) < 3 * 200_000


async def test_what_is_old_is_deleted(tmp_path: Path) -> None:
    clock = Clock()
    async with make(tmp_path / "r", clock, max_age_s=100.0) as store:
        await store.put(response("a"), [])
        clock.now_s += 200
        await store.put(response("b"), [])
        assert await ids(store, "a", "b") == ["b"]


async def test_only_its_user_may_read_it(store: ResponseStore, tmp_path: Path) -> None:
    await store.put(response("a"), [])
    folder = tmp_path / "deep"
    assert folder.stat().st_mode & 0o077 == 0
    files = list(folder.iterdir())
    assert files
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)


async def test_many_at_once(store: ResponseStore) -> None:
    await asyncio.gather(*(store.put(response(str(number)), [f"m{number}"]) for number in range(50)))
    assert len(await ids(store, *map(str, range(50)))) == 50


async def test_two_processes_may_share_it(tmp_path: Path) -> None:
    async with make(tmp_path / "r") as one, make(tmp_path / "r") as two:
        await one.put(response("a"), [])
        await two.put(response("b"), [])
        assert await ids(one, "a", "b") == ["a", "b"]


@pytest.mark.parametrize("content", [b"this is no database, but somebody's notes " * 100])
async def test_a_damaged_file_turns_storing_off_with_one_line(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "r"
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        async with make(path) as store:
            await store.put(response("a"), [])
            await store.put(response("b"), [])
            assert await store.get("a") is None
            assert await store.chain("a") == ([], "a")
            assert not store.works
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert path.read_bytes() == content


async def test_a_file_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "r"
    database = sqlite3.connect(path)
    database.executescript("PRAGMA user_version = 99; CREATE TABLE later (x);")
    database.close()
    async with make(path) as store:
        await store.put(response("a"), [])
        assert not store.works


async def test_a_folder_that_cannot_be_made_turns_storing_off(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with make(tmp_path / "file" / "r") as store:
        await store.put(response("a"), [])
        assert not store.works


async def test_a_full_disk_turns_storing_off(store: ResponseStore, caplog: pytest.LogCaptureFixture) -> None:
    await store.put(response("a"), [])
    database = store._open()
    (pages,) = await asyncio.get_running_loop().run_in_executor(
        store._thread, lambda: database.execute("PRAGMA page_count").fetchone()
    )
    await asyncio.get_running_loop().run_in_executor(
        store._thread, lambda: database.execute(f"PRAGMA max_page_count = {pages}")
    )
    with caplog.at_level(logging.WARNING):
        await store.put(response("b", size=9_000), [])
        await store.put(response("c", size=9_000), [])
    assert not store.works
    assert len(caplog.records) == 1
    assert "full" in caplog.text
