"""What clients and scripts see of the models that suit this machine."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from crafted_gguf import make_gguf
from hub_stand_in import HubStandIn, Repo
from tiny_models import tiny_llama

from impetus.runtime.models.recommended import TASKS, read_list
from impetus.runtime.tuning.recommend import Recommendations, name_machine


async def looked_at(live) -> None:
    """Waits until the machine has been read."""
    changed = asyncio.Event()
    remove = live.runtime.listen(changed.set)
    async with asyncio.timeout(10):
        while live.runtime.profile is None:
            await changed.wait()
            changed.clear()
    remove()


async def read(live, **query: str) -> Recommendations:
    async with live.session.get(live.url + "/impetus/v1/recommendations", params=query) as response:
        assert response.status == 200, await response.text()
        return msgspec.json.decode(await response.read(), type=Recommendations)


@pytest.mark.parametrize("task", [None, *TASKS])
async def test_models_are_recommended_for_a_task_off_the_loop(live, task) -> None:
    read_list.cache_clear()
    await looked_at(live)
    found = await read(live, **({} if task is None else {"task": task}))
    assert (found.as_of, found.task) == (read_list().as_of, task)
    assert found.machine == name_machine(live.runtime.profile)
    assert found.models or found.notes
    assert all(task is None or task in model.tasks for model in found.models)


async def test_what_is_on_the_disk_is_marked(live) -> None:
    await looked_at(live)
    name = (await read(live)).models[-1].model
    assert all(model.on_disk is None for model in (await read(live)).models)
    folder = live.runtime.home.models_dir
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.gguf").write_bytes(make_gguf())
    await live.runtime.rescan()
    assert {model.model for model in (await read(live)).models if model.on_disk is not None} == {name}


async def test_a_task_that_nobody_knows_is_refused_with_those_there_are(live) -> None:
    async with live.session.get(live.url + "/impetus/v1/recommendations", params={"task": "cooking"}) as response:
        assert response.status == 400
        error = (await response.json())["error"]
    assert (error["param"], error["code"]) == ("task", "invalid_value")
    assert "chat, code, embed" in error["message"]


async def test_a_search_tells_of_what_the_hub_finds_and_only_then_asks_it(serve, tmp_path) -> None:
    weights = tiny_llama(tmp_path / "tiny-F32.gguf").read_bytes()
    async with HubStandIn() as hub:
        hub.repos["some/tiny-GGUF"] = Repo({"tiny-F32.gguf": weights}, downloads=20)
        hub.repos["some/tiny-broken-GGUF"] = Repo({"tiny-Q4_0.gguf": b"GGUF, but no more of it"})
        async with serve(hub=hub.url) as live:
            await looked_at(live)
            await read(live, search=" ")
            assert not hub.seen
            found = await read(live, search="tiny")
            assert [(model.model, model.pull, model.on_disk) for model in found.models] == [
                ("some/tiny-GGUF", "some/tiny-GGUF:F32", None)
            ]
            assert (found.source, found.upgrades) == ("the Hub on", [])
            assert any("some/tiny-broken-GGUF" in note for note in found.notes)
            assert [model.model for model in (await read(live, search="tiny", task="chat")).models] == ["some/tiny-GGUF"]
            embed = await read(live, search="tiny", task="embed")
            assert (embed.models, embed.task) == ([], "embed")
            assert "some/tiny-GGUF: not for embed" in embed.notes
            folder = live.runtime.home.models_dir
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "tiny.gguf").write_bytes(weights)
            await live.runtime.rescan()
            held = (await read(live, search="tiny")).models[0].on_disk
            assert held is not None
            assert held.suits


async def test_a_hub_that_does_not_answer_is_an_error_that_says_so(serve) -> None:
    async with HubStandIn() as hub:
        url = hub.url
    async with serve(hub=url) as live:
        await looked_at(live)
        async with live.session.get(live.url + "/impetus/v1/recommendations", params={"search": "tiny"}) as response:
            assert response.status == 502
            assert (await response.json())["error"]["code"] == "download_failed"
