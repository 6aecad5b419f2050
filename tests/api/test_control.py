"""Impetus' own routes."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from impetus.api.client import ControlClient
from impetus.api.dialects.control import StatusAnswer
from impetus.runtime.errors import ImpetusError
from impetus.runtime.events import Finished, PrefixMiss, PrefixReport

CHAT = {"model": "echo", "messages": [{"role": "user", "content": "one two three"}], "max_tokens": 5}


async def chat(live, **fields: object) -> dict:
    async with live.session.post(live.url + "/v1/chat/completions", json=CHAT | fields) as response:
        return await response.json()


async def scrape(live) -> dict[tuple[str, str], float]:
    async with live.session.get(live.url + "/metrics") as response:
        assert response.content_type == "text/plain"
        families = text_string_to_metric_families(await response.text())
        return {
            (sample.name, ",".join(str(value) for value in sample.labels.values())): sample.value
            for family in families
            for sample in family.samples
        }


async def status(live) -> StatusAnswer:
    async with live.session.get(live.url + "/impetus/v1/status") as response:
        return msgspec.json.decode(await response.read(), type=StatusAnswer)


async def test_the_root_says_what_this_is(live) -> None:
    async with live.session.get(live.url) as response:
        assert "/v1/models" in await response.text()


async def test_metrics_count_requests_tokens_and_times(live) -> None:
    before = await scrape(live)
    assert before["impetus_requests_total", "done"] == 0
    assert before["impetus_models_loaded", ""] == 0
    await chat(live)
    await chat(live, model="nobody")
    after = await scrape(live)
    assert after["impetus_requests_total", "done"] == 1
    assert after["impetus_requests_total", "failed"] == 1
    assert after["impetus_completion_tokens_total", "echo"] == 5
    assert after["impetus_prompt_tokens_total", "echo"] == 3
    assert after["impetus_prefix_tokens_total", "echo,computed"] == 3
    assert after["impetus_prefix_tokens_total", "echo,ram"] == after["impetus_prefix_tokens_total", "echo,disk"] == 0
    assert after["impetus_draft_tokens_total", "echo"] == after["impetus_draft_tokens_accepted_total", "echo"] == 0
    assert after["impetus_time_to_first_token_seconds_count", "echo"] == 1
    assert after["impetus_request_duration_seconds_count", "echo,done"] == 1
    assert after["impetus_models_loaded", ""] == 1
    assert after["impetus_requests_running", ""] == 0
    assert not any("nobody" in labels for _, labels in after)


async def test_metrics_tell_of_the_engine_and_the_machine_once_they_are_known(live) -> None:
    loop, read = asyncio.get_running_loop(), asyncio.Event()
    remove = live.runtime.monitor.listen(lambda sample: loop.call_soon_threadsafe(read.set))
    slow = CHAT | {"stream": True, "echo_tps": 20, "max_tokens": 200}
    async with asyncio.timeout(10), live.session.post(live.url + "/v1/chat/completions", json=slow) as response:
        async for _ in response.content:
            if live.runtime.engine_stats() and read.is_set():
                break
    remove()
    after = await scrape(live)
    assert after["impetus_memory_bytes", "total"] > 0
    assert after["impetus_engine_kv_size_tokens", "echo"] > 0


async def test_the_status_shows_models_machine_and_running_requests(live) -> None:
    await chat(live)
    asking = asyncio.create_task(chat(live, echo_tps=1, max_tokens=100))
    await live.until("decode")
    answer = await status(live)
    [model] = answer.models
    assert (model.id, model.state, model.format, model.running) == ("echo", "ready", "echo", 1)
    assert model.context_length is not None
    assert [request.stage for request in answer.running] == ["decode"]
    assert answer.url == live.url
    assert answer.uptime_s >= 0
    assert answer.profile is not None
    asking.cancel()
    await live.until("cancelled")
    assert (await status(live)).running == []


async def test_the_newest_requests_come_first(live) -> None:
    await chat(live)
    await chat(live, model="nobody")
    async with live.session.get(live.url + "/impetus/v1/requests?limit=2") as response:
        failed, done = (await response.json())["requests"]
    assert (failed["stage"], failed["model"]) == ("failed", "nobody")
    assert "does not exist" in failed["error"]
    assert (done["stage"], done["completion_tokens"], done["finish_reason"]) == ("done", 5, "length")
    assert done["client"].startswith("Python/")
    assert done["route"] == "/v1/chat/completions"


async def test_one_request_is_shown_with_where_its_prompt_came_from(live) -> None:
    async with live.session.post(live.url + "/v1/chat/completions", json=CHAT) as response:
        request_id = response.headers["x-request-id"]
        details = (await response.json())["usage"]["prompt_tokens_details"]
    assert details["cached_tokens"] == 0
    async with live.session.get(f"{live.url}/impetus/v1/requests/{request_id}") as response:
        shown = await response.json()
    assert (shown["id"], shown["stage"], shown["prompt_tokens"]) == (request_id, "done", 3)
    assert (shown["cached_tokens"], shown["ram_tokens"], shown["disk_tokens"], shown["computed_tokens"]) == (0, 0, 0, 3)
    assert (shown["draft_tokens"], shown["accepted_tokens"], shown["miss"]) == (0, 0, None)


async def test_one_request_is_shown_with_why_not_more_of_it_was_reused(live) -> None:
    journal = live.runtime.journal
    record = journal.open(model="m", client="cline", route="/v1/chat/completions")
    url = f"{live.url}/impetus/v1/requests/{record.id}"
    async with live.session.get(url) as response:
        shown = await response.json()
    assert (shown["stage"], shown["ram_tokens"], shown["draft_tokens"], shown["miss"]) == ("queued", None, None, None)
    why = "4,812 tokens were computed again because the line 'Now: 10:01' changed at token 37."
    miss = PrefixMiss(37, "Now: 10:00\n", "Now: 10:01\n", "timestamp", why)
    journal.note_prefix(record, PrefixReport(20, 17, 4900, miss))
    journal.end_choice(record, Finished(0, "stop", 4937, 40, draft_tokens=24, accepted_tokens=19))
    journal.move(record, "done")
    async with live.session.get(url) as response:
        shown = await response.json()
    assert (shown["cached_tokens"], shown["ram_tokens"], shown["disk_tokens"], shown["computed_tokens"]) == (37, 20, 17, 4900)
    assert (shown["draft_tokens"], shown["accepted_tokens"]) == (24, 19)
    assert shown["miss"] == {
        "at": 37,
        "expected": "Now: 10:00\n",
        "found": "Now: 10:01\n",
        "cause": "timestamp",
        "why": why,
    }
    async with live.session.get(live.url + "/impetus/v1/requests?limit=1") as response:
        [listed] = (await response.json())["requests"]
    assert listed == {name: value for name, value in shown.items() if name != "miss"}
    after = await scrape(live)
    assert (after["impetus_prefix_tokens_total", "m,ram"], after["impetus_prefix_tokens_total", "m,disk"]) == (20, 17)
    assert after["impetus_draft_tokens_total", "m"] == 24
    assert after["impetus_draft_tokens_accepted_total", "m"] == 19


async def test_a_request_nobody_made_is_not_found(live) -> None:
    async with live.session.get(live.url + "/impetus/v1/requests/req-999999") as response:
        error = (await response.json())["error"]
    assert (response.status, error["type"], error["code"]) == (404, "invalid_request_error", "request_not_found")
    assert "req-999999" in error["message"]


@pytest.mark.parametrize("limit", ["0", "-1", "501", "x", "", "9" * 5000, "²"])
async def test_a_silly_limit_is_refused(live, limit: str) -> None:
    async with live.session.get(live.url + "/impetus/v1/requests", params={"limit": limit}) as response:
        assert response.status == 400
        assert (await response.json())["error"]["param"] == "limit"


async def test_a_model_is_loaded_and_unloaded_by_any_case_of_its_name(live) -> None:
    async with live.session.post(live.url + "/impetus/v1/models/load", json={"model": "ECHO"}) as response:
        assert (response.status, (await response.json())["state"]) == (200, "ready")
    async with live.session.post(live.url + "/impetus/v1/models/unload", json={"model": "echo"}) as response:
        assert (response.status, (await response.json())["state"]) == (200, "unloaded")
    async with live.session.post(live.url + "/impetus/v1/models/load", json={"model": "nobody"}) as response:
        assert (response.status, (await response.json())["error"]["param"]) == (404, "model")
    async with live.session.post(live.url + "/impetus/v1/models/load", json={"name": "echo"}) as response:
        assert (response.status, (await response.json())["error"]["param"]) == (400, "model")


async def test_the_command_lines_client_reads_status_and_steers_models(serve) -> None:
    def talk(url: str) -> tuple[str, str, str]:
        with ControlClient(url, api_key="k") as client:
            client.load("echo")
            [loaded] = client.status().models
            client.unload("echo")
            [unloaded] = client.status().models
            with pytest.raises(ImpetusError) as caught:
                client.load("nobody")
            return loaded.state, unloaded.state, caught.value.message

    async with serve(api_key="k") as live:
        loaded, unloaded, refused = await asyncio.to_thread(talk, live.url)
    assert (loaded, unloaded) == ("ready", "unloaded")
    assert "nobody" in refused
