"""Downloads by the real huggingface_hub against a stand-in for the Hub, through every kind of trouble."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx
from crafted_gguf import LLAMA, TENSORS, make_gguf
from hub_stand_in import GRANTED_TOKEN, HubStandIn, Repo
from pull_child import pull_until_killed

from impetus.runtime.errors import DownloadError
from impetus.runtime.models.download import AT_ONCE, Download, Downloads
from impetus.runtime.models.model import Model
from impetus.runtime.models.registry import Registry
from impetus.runtime.models.stores import PARTIAL_DIR, FolderStore

BIG = make_gguf(LLAMA, [*TENSORS, ("big", (32, 32_768), 2)])
"""Some 600 kB, more than fits into the buffers of a connection's two ends."""
SMALL = make_gguf()


@pytest.fixture(autouse=True)
def no_blocking_in_the_loop() -> Iterator[None]:
    with blockbuster_ctx(scanned_modules=["impetus.runtime.models"]):
        yield


@pytest.fixture
async def hub() -> AsyncIterator[HubStandIn]:
    async with HubStandIn() as stand_in:
        yield stand_in


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    return tmp_path / "models"


async def scan(models_dir: Path) -> tuple[Model, ...]:
    return await asyncio.to_thread(Registry([FolderStore(models_dir)]).scan)


async def listed(models_dir: Path) -> list[str]:
    return [model.id for model in await scan(models_dir)]


def partial_files(models_dir: Path) -> list[Path]:
    return sorted(path for path in (models_dir / PARTIAL_DIR).rglob("*") if path.is_file())


class Watch:
    """Keeps every picture of the downloads that a listener could see."""

    def __init__(self) -> None:
        self.downloads: Downloads | None = None
        self.pictures: list[Download] = []
        self._changed = asyncio.Event()

    def __call__(self) -> None:
        assert self.downloads is not None
        self.pictures += self.downloads.all()
        self._changed.set()

    def states(self) -> list[str]:
        states = [picture.state for picture in self.pictures]
        return [state for index, state in enumerate(states) if index == 0 or states[index - 1] != state]

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not reached():
                self._changed.clear()
                await self._changed.wait()

    async def until_bytes(self, count: int) -> None:
        await self.until(lambda: any(picture.done_bytes >= count for picture in self.pictures))


@asynccontextmanager
async def opened(models_dir: Path, hub: HubStandIn, *, free_bytes: int = 10**12) -> AsyncIterator[tuple[Downloads, Watch]]:
    watch = Watch()
    downloads = Downloads(models_dir, endpoint=hub.url, on_change=watch, read_free_bytes=lambda _: free_bytes)
    watch.downloads = downloads
    async with downloads:
        yield downloads, watch


async def pull(models_dir: Path, hub: HubStandIn, reference: str, *, free_bytes: int = 10**12) -> Download:
    async with opened(models_dir, hub, free_bytes=free_bytes) as (downloads, _), asyncio.timeout(30):
        return await downloads.wait(downloads.pull(reference).id)


async def test_a_model_is_there_once_it_is_complete(hub: HubStandIn, models_dir: Path) -> None:
    hub.repos["Own/Tiny-GGUF"] = Repo({"Tiny-Q8_0.gguf": SMALL, "Tiny-Q4_K_M.gguf": BIG, "README.md": b"hi"})
    async with opened(models_dir, hub) as (downloads, watch), asyncio.timeout(30):
        first = downloads.pull("own/tiny-gguf")
        assert (first.state, first.total_bytes) == ("queued", None)
        done = await downloads.wait(first.id)
        assert downloads.all() == (done,)
        assert downloads.get(first.id) == done
    assert (done.state, done.error, done.rate_bytes_per_s) == ("done", None, None)
    assert (done.repo, done.file) == ("Own/Tiny-GGUF", "Tiny-Q4_K_M.gguf")
    assert done.done_bytes == done.total_bytes == len(BIG)
    assert (models_dir / "Own" / "Tiny-GGUF" / "Tiny-Q4_K_M.gguf").read_bytes() == BIG
    assert await listed(models_dir) == ["Tiny-Q4_K_M"]
    assert not (models_dir / PARTIAL_DIR).exists()
    assert watch.states()[:2] == ["queued", "checking"]
    assert watch.states()[-1] == "done"


async def test_shards_arrive_together_or_not_at_all(hub: HubStandIn, models_dir: Path) -> None:
    parts = {
        f"q/Big-Q4_0-0000{index + 1}-of-00002.gguf": make_gguf(
            {**(LLAMA if index == 0 else {}), "split.no": index, "split.count": 2}, TENSORS[index : 2 * index + 1]
        )
        for index in range(2)
    }
    hub.repos["o/big"] = Repo(parts)
    hub.repos["o/big"].stated_checksums = {"q/Big-Q4_0-00002-of-00002.gguf": "0" * 64}
    failed = await pull(models_dir, hub, "o/big")
    assert failed.state == "failed"
    assert await listed(models_dir) == []
    assert [path.name.partition(".")[0] for path in partial_files(models_dir)] == ["q--Big-Q4_0-00001-of-00002"]
    hub.repos["o/big"].stated_checksums = {}
    done = await pull(models_dir, hub, "o/big:Q4_0")
    assert done.state == "done"
    assert done.total_bytes == sum(len(part) for part in parts.values())
    (model,) = await scan(models_dir)
    assert (model.id, model.problem, model.header.shards) == ("Big-Q4_0", None, 2)
    asked = [seen.path.removeprefix("q/Big-Q4_0-").removesuffix("-of-00002.gguf") for seen in hub.downloads]
    assert asked == ["00001", "00002", "00002"]


async def test_a_cancel_acts_at_once_though_no_byte_comes_and_the_next_pull_goes_on(hub: HubStandIn, models_dir: Path) -> None:
    hub.repos["o/m"] = Repo({"M-Q4_0.gguf": BIG})
    hub.stall_after = 200_000
    async with opened(models_dir, hub) as (downloads, watch):
        download = downloads.pull("o/m")
        await watch.until_bytes(200_000)
        async with asyncio.timeout(1.5):
            downloads.cancel(download.id)
            cancelled = await downloads.wait(download.id)
        assert cancelled.state == "cancelled"
        assert await listed(models_dir) == []
        (part,) = partial_files(models_dir)
        assert part.stat().st_size == 200_000
        hub.go_on.set()
        async with asyncio.timeout(30):
            again = downloads.pull("o/m")
            assert again.id != download.id
            done = await downloads.wait(again.id)
        assert downloads.all() == (done,)
    assert done.state == "done"
    assert [seen.range for seen in hub.downloads] == [None, "bytes=200000-"]
    assert (models_dir / "o" / "m" / "M-Q4_0.gguf").read_bytes() == BIG


async def test_leaving_ends_the_downloads_and_their_threads(hub: HubStandIn, models_dir: Path) -> None:
    hub.repos["o/m"] = Repo({"M-Q4_0.gguf": BIG})
    hub.stall_after = 100_000
    async with opened(models_dir, hub) as (downloads, watch):
        download = downloads.pull("o/m")
        await watch.until_bytes(100_000)
    assert (await downloads.wait(download.id)).state == "cancelled"
    for thread in threading.enumerate():
        if thread.name == download.id:
            await asyncio.to_thread(thread.join, 5)
            assert not thread.is_alive()


async def test_a_download_cancelled_before_its_first_step_is_over(hub: HubStandIn, models_dir: Path) -> None:
    async with opened(models_dir, hub) as (downloads, _), asyncio.timeout(5):
        download = downloads.pull("o/m")
        downloads.cancel(download.id)
        assert (await downloads.wait(download.id)).state == "cancelled"
        downloads.cancel("download-99")
        assert downloads.get("download-99") is None


async def test_a_pull_after_kill_9_goes_on_where_the_dead_one_was(hub: HubStandIn, models_dir: Path) -> None:
    hub.repos["o/m"] = Repo({"M-Q4_0.gguf": BIG})
    hub.stall_after = 300_000
    await pull_until_killed(models_dir, hub.url, "o/m", stop_at=300_000)
    assert await listed(models_dir) == []
    hub.go_on.set()
    assert (await pull(models_dir, hub, "o/m")).state == "done"
    assert [seen.range for seen in hub.downloads] == [None, "bytes=300000-"]
    assert (models_dir / "o" / "m" / "M-Q4_0.gguf").read_bytes() == BIG


async def test_a_lost_connection_and_a_busy_hub_are_tried_again(
    hub: HubStandIn, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("impetus.runtime.models.transfer.FIRST_PAUSE_S", 0.01)
    hub.repos["o/m"] = Repo({"M-Q4_0.gguf": BIG})
    hub.statuses.extend([503, 429])
    hub.cuts.extend([150_000, 0, 100_000])
    assert (await pull(models_dir, hub, "o/m")).state == "done"
    ranges = [seen.range for seen in hub.downloads]
    assert len(ranges) == 6
    assert ranges[:3] == [None, None, None]
    assert ranges[3] == ranges[4] == "bytes=150000-"
    assert ranges[5] == "bytes=250000-"
    assert (models_dir / "o" / "m" / "M-Q4_0.gguf").read_bytes() == BIG


async def test_a_connection_that_never_brings_a_byte_is_given_up(
    hub: HubStandIn, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("impetus.runtime.models.transfer.FIRST_PAUSE_S", 0.001)
    hub.repos["o/m"] = Repo({"M-Q4_0.gguf": BIG})
    hub.cuts.extend([100_000] + [0] * 50)
    failed = await pull(models_dir, hub, "o/m")
    assert failed.state == "failed"
    assert "cannot be reached" in (failed.error or "")
    assert len(hub.downloads) == 1 + 6 - 1
    assert partial_files(models_dir)[0].stat().st_size == 100_000


async def test_a_server_that_knows_no_ranges_starts_over(hub: HubStandIn, models_dir: Path) -> None:
    hub.repos["o/m"] = Repo({"M-Q4_0.gguf": BIG})
    hub.ignores_ranges = True
    hub.cuts.append(100_000)
    done = await pull(models_dir, hub, "o/m")
    assert (done.state, done.done_bytes) == ("done", len(BIG))
    assert (models_dir / "o" / "m" / "M-Q4_0.gguf").read_bytes() == BIG


@pytest.mark.parametrize("lie", [-1000, +1000])
async def test_a_file_of_another_size_than_announced_is_refused(hub: HubStandIn, models_dir: Path, lie: int) -> None:
    hub.repos["o/m"] = Repo({"M-Q4_0.gguf": BIG}, stated_sizes={"M-Q4_0.gguf": len(BIG) + lie})
    failed = await pull(models_dir, hub, "o/m")
    assert failed.state == "failed"
    assert f"announced {len(BIG) + lie:,} bytes, but has {len(BIG):,}" in (failed.error or "")
    assert await listed(models_dir) == []


async def test_a_file_with_another_checksum_is_thrown_away(hub: HubStandIn, models_dir: Path) -> None:
    hub.repos["o/m"] = Repo({"M-Q4_0.gguf": BIG}, stated_checksums={"M-Q4_0.gguf": "ab" * 32})
    failed = await pull(models_dir, hub, "o/m")
    assert failed.state == "failed"
    assert "its checksum is not the Hub's" in (failed.error or "")
    assert await listed(models_dir) == []
    assert partial_files(models_dir) == []


async def test_a_size_the_listing_leaves_out_is_asked_for(hub: HubStandIn, models_dir: Path) -> None:
    hub.repos["o/m"] = Repo({"M-Q4_0.gguf": SMALL}, stated_sizes={"M-Q4_0.gguf": None})
    done = await pull(models_dir, hub, "o/m")
    assert (done.state, done.total_bytes) == ("done", len(SMALL))
    assert [seen.method for seen in hub.seen] == ["HEAD", "GET"]


async def test_what_is_here_already_is_not_fetched_but_what_is_damaged_is(hub: HubStandIn, models_dir: Path) -> None:
    hub.repos["o/m"] = Repo({"M-Q4_0.gguf": SMALL})
    await pull(models_dir, hub, "o/m")
    assert (await pull(models_dir, hub, "o/m")).state == "done"
    assert len(hub.downloads) == 1
    target = models_dir / "o" / "m" / "M-Q4_0.gguf"
    target.write_bytes(SMALL[:-1] + b"!")
    assert (await pull(models_dir, hub, "o/m")).state == "done"
    assert target.read_bytes() == SMALL


async def test_a_new_version_replaces_what_was_half_done_of_the_old(hub: HubStandIn, models_dir: Path) -> None:
    hub.repos["o/m"] = Repo({"M-Q4_0.gguf": BIG})
    hub.stall_after = 100_000
    async with opened(models_dir, hub) as (downloads, watch):
        downloads.pull("o/m")
        await watch.until_bytes(100_000)
    hub.go_on.set()
    newer = make_gguf({**LLAMA, "general.name": "Newer"}, [*TENSORS, ("big", (32, 32_768), 2)])
    hub.repos["o/m"] = Repo({"M-Q4_0.gguf": newer}, commit="beef" * 10)
    assert (await pull(models_dir, hub, "o/m")).state == "done"
    assert hub.downloads[-1].range is None
    assert (models_dir / "o" / "m" / "M-Q4_0.gguf").read_bytes() == newer
    assert partial_files(models_dir) == []


async def test_gated_models_need_a_login_and_a_login_opens_them(
    hub: HubStandIn, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repos["o/m"] = Repo({"M-Q4_0.gguf": SMALL}, gated=True)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    refused = await pull(models_dir, hub, "o/m")
    assert refused.error == (
        f"'o/m' is gated: accept its terms at {hub.url}/o/m, then log in with `hf auth login` and try again."
    )
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    assert (await pull(models_dir, hub, "o/m")).state == "failed"
    monkeypatch.setenv("HF_TOKEN", GRANTED_TOKEN)
    assert (await pull(models_dir, hub, "o/m")).state == "done"
    assert hub.downloads[-1].authorization == f"Bearer {GRANTED_TOKEN}"
    assert hub.cdn_authorizations == [None]


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("o/missing", "does not exist on"),
        ("o/m:Q2_K", "Quantisations there: Q4_0"),
        ("o/tensors", "has no model in a format that is served"),
        ("o/evil", "a name that is not safe here"),
    ],
)
async def test_what_cannot_be_had_is_explained(hub: HubStandIn, models_dir: Path, reference: str, words: str) -> None:
    hub.repos["o/m"] = Repo({"M-Q4_0.gguf": SMALL})
    hub.repos["o/tensors"] = Repo({"model.safetensors": b"x"})
    hub.repos["o/evil"] = Repo({"../../../evil-Q4_0.gguf": SMALL})
    failed = await pull(models_dir, hub, reference)
    assert failed.state == "failed"
    assert words in (failed.error or "")
    assert partial_files(models_dir) == []
    assert await listed(models_dir) == []


async def test_a_reference_that_names_nothing_is_refused_at_once(hub: HubStandIn, models_dir: Path) -> None:
    async with opened(models_dir, hub) as (downloads, _):
        with pytest.raises(DownloadError, match="write owner/repo"):
            downloads.pull("qwen")
        assert downloads.all() == ()


async def test_without_room_nothing_is_fetched_and_both_numbers_are_told(hub: HubStandIn, models_dir: Path) -> None:
    hub.repos["o/m"] = Repo({"M-Q4_0.gguf": SMALL}, stated_sizes={"M-Q4_0.gguf": 40 * 10**9})
    failed = await pull(models_dir, hub, "o/m", free_bytes=41 * 10**9)
    assert failed.state == "failed"
    assert "it needs 40.0 GB and 2.0 GB should stay free" in (failed.error or "")
    assert "has 41.0 GB left" in (failed.error or "")
    assert hub.downloads == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
async def test_a_disk_that_fills_up_fails_the_download_clearly(hub: HubStandIn, models_dir: Path) -> None:
    hub.repos["o/m"] = Repo({"M-Q4_0.gguf": BIG})
    hub.stall_after = 100_000
    async with opened(models_dir, hub) as (downloads, watch):
        downloads.pull("o/m")
        await watch.until_bytes(100_000)
    hub.go_on.set()
    (part,) = partial_files(models_dir)
    part.unlink()
    part.symlink_to("/dev/full")
    failed = await pull(models_dir, hub, "o/m")
    assert failed.state == "failed"
    assert failed.error is not None
    assert failed.error.startswith("The disk is full: 'o/m' is not complete.")
    assert part.is_symlink()
    assert await listed(models_dir) == []


async def test_pulls_of_one_file_share_one_download(hub: HubStandIn, models_dir: Path) -> None:
    hub.repos["o/m"] = Repo({"M-Q4_0.gguf": BIG, "M-Q8_0.gguf": SMALL})
    hub.stall_after = 100_000
    async with opened(models_dir, hub) as (downloads, watch), asyncio.timeout(30):
        first = downloads.pull("o/m")
        await watch.until_bytes(100_000)
        assert downloads.pull("O/M").id == first.id
        by_name = downloads.pull("o/m:M-Q4_0.gguf")
        waiting = asyncio.create_task(downloads.wait(by_name.id))
        await watch.until(lambda: len(downloads.all()) == 1)
        hub.go_on.set()
        assert (await waiting).id == first.id
        assert downloads.get(by_name.id) == await downloads.wait(first.id)
    assert len(hub.downloads) == 1


async def test_more_than_a_few_at_once_wait_their_turn(hub: HubStandIn, models_dir: Path) -> None:
    names = [f"o/m{index}" for index in range(AT_ONCE + 1)]
    for name in names:
        hub.repos[name] = Repo({f"{name[2:]}-Q4_0.gguf": BIG})
    hub.stall_after = 100_000
    async with opened(models_dir, hub) as (downloads, watch), asyncio.timeout(30):
        pulled = [downloads.pull(name) for name in names]
        await watch.until_bytes(100_000)
        assert downloads.all()[-1].state == "queued"
        hub.go_on.set()
        assert [(await downloads.wait(download.id)).state for download in pulled] == ["done"] * len(names)
    assert len(await listed(models_dir)) == len(names)


async def test_progress_and_rate_are_told_while_bytes_come(hub: HubStandIn, models_dir: Path) -> None:
    hub.repos["o/m"] = Repo({"M-Q4_0.gguf": BIG})
    hub.piece_pause_s = 0.03
    async with opened(models_dir, hub) as (downloads, watch), asyncio.timeout(30):
        await downloads.wait(downloads.pull("o/m").id)
    moving = [picture for picture in watch.pictures if picture.state == "downloading"]
    sizes = [picture.done_bytes for picture in moving]
    assert len(set(sizes)) >= 3
    assert sizes == sorted(sizes)
    assert all(picture.total_bytes == len(BIG) for picture in moving)
    assert any(picture.rate_bytes_per_s for picture in moving)
