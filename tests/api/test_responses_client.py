"""OpenAI's own client against the live server's Responses API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest
from openai import AsyncOpenAI
from response_events import check_response, read_stream

TOOL = {"type": "function", "name": "read", "parameters": {"type": "object"}, "strict": False}


@pytest.fixture
async def client(live) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=live.url + "/v1", api_key="any", max_retries=0, timeout=20) as client:
        yield client


async def post(live, path: str = "/v1/responses", **fields: object) -> tuple[int, dict]:
    async with live.session.post(live.url + path, json={"model": "echo"} | fields) as answer:
        return answer.status, json.loads(await answer.read())


async def test_a_whole_answer(client: AsyncOpenAI) -> None:
    answer = await client.responses.create(model="Echo", instructions="Be brief.", input="alpha beta gamma")
    assert (answer.output_text, answer.status, answer.model) == ("alpha beta gamma", "completed", "echo")
    assert answer.usage is not None
    assert (answer.usage.output_tokens, answer.usage.total_tokens) == (3, answer.usage.input_tokens + 3)


async def test_a_streamed_answer_is_the_whole_one_in_pieces(client: AsyncOpenAI) -> None:
    async with client.responses.stream(model="echo", input="alpha beta gamma", tools=[TOOL]) as stream:
        events = [event async for event in stream]
        final = await stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "alpha beta gamma"
    assert final.output_text == "alpha beta gamma"
    assert final.id == events[0].response.id


async def test_every_event_over_the_socket_has_what_is_demanded(live) -> None:
    body = {"model": "echo", "input": "alpha beta", "stream": True}
    async with live.session.post(live.url + "/v1/responses", json=body) as answer:
        assert answer.content_type == "text/event-stream"
        events = read_stream(await answer.read())
    assert events[-1]["type"] == "response.completed"


@pytest.mark.parametrize("path", ["/v1/responses", "/responses"])
async def test_the_preload_of_codex_succeeds(live, path: str) -> None:
    status, answer = await post(live, path, input="", max_output_tokens=1)
    assert status == 200
    check_response(answer)
    assert [one.state for one in live.runtime.statuses()] == ["ready"]


async def test_max_output_tokens_makes_it_incomplete(client: AsyncOpenAI) -> None:
    answer = await client.responses.create(model="echo", input="alpha beta gamma", max_output_tokens=2)
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"


async def test_a_conversation_goes_on_by_id(client: AsyncOpenAI) -> None:
    first = await client.responses.create(model="echo", input="one two", instructions="s")
    async with client.responses.stream(model="echo", input="three", previous_response_id=first.id) as stream:
        second = await stream.get_final_response()
    third = await client.responses.create(model="echo", input="four", previous_response_id=second.id)
    assert second.previous_response_id == first.id
    assert first.usage is not None
    assert second.usage is not None
    assert third.usage is not None
    assert first.usage.input_tokens == 3
    assert second.usage.input_tokens == 2 + 2 + 1
    assert third.usage.input_tokens == 5 + 1 + 1


async def test_a_response_is_shown_and_forgotten(client: AsyncOpenAI) -> None:
    made = await client.responses.create(model="echo", input="one two", metadata={"a": "b"})
    assert await client.responses.retrieve(made.id) == made
    await client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError, match=f"Response with id '{made.id}' not found"):
        await client.responses.retrieve(made.id)
    with pytest.raises(openai.NotFoundError, match="not found"):
        await client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError, match=f"Previous response with id '{made.id}' not found.") as caught:
        await client.responses.create(model="echo", input="x", previous_response_id=made.id)
    assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "previous_response_id")


async def test_what_must_not_be_stored_is_not(client: AsyncOpenAI) -> None:
    made = await client.responses.create(model="echo", input="one", store=False)
    assert made.store is False
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(made.id)


async def test_storing_can_be_switched_off(serve, tmp_path: Path) -> None:
    async with serve(store_responses=False) as live:
        _, made = await post(live, input="x")
        assert made["store"] is False
        status, error = await post(live, input="x", previous_response_id=made["id"])
        assert status == 404
        assert error["error"]["message"].endswith("not found. This server stores no responses.")
    assert not (tmp_path / "state" / "responses.sqlite3").exists()


async def test_responses_outlive_the_server(serve) -> None:
    async with serve() as live:
        _, made = await post(live, input="one")
    async with serve() as live:
        status, answer = await post(live, input="two", previous_response_id=made["id"])
        assert (status, answer["usage"]["input_tokens"]) == (200, 3)


async def test_a_disk_that_fails_fails_no_answer(serve, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "responses.sqlite3").write_bytes(b"notes" * 1000)
    async with serve() as live:
        status, made = await post(live, input="one")
        assert (status, made["status"]) == (200, "completed")
        status, made = await post(live, input="one")
        assert (status, made["store"]) == (200, False)


async def test_input_items_come_in_pages(client: AsyncOpenAI) -> None:
    items = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"type": "function_call", "call_id": "c", "name": "read", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "x"},
        {"role": "user", "content": [{"type": "input_text", "text": "d"}]},
    ]
    made = await client.responses.create(model="echo", input=items)
    listed = [item async for item in client.responses.input_items.list(made.id, order="asc", limit=2)]
    kinds = ["message", "message", "function_call", "function_call_output", "message"]
    assert [item.type for item in listed] == kinds
    assert [item.content[0].type for item in (listed[0], listed[1])] == ["input_text", "output_text"]
    assert all(item.id for item in listed)
    newest_first = [item.id async for item in client.responses.input_items.list(made.id)]
    assert newest_first == [item.id for item in listed][::-1]


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "order=up", "after=nobody"])
async def test_wrong_pages_are_refused(live, query: str) -> None:
    _, made = await post(live, input="x")
    async with live.session.get(f"{live.url}/v1/responses/{made['id']}/input_items?{query}") as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["param"] == query.partition("=")[0]


async def test_items_may_be_named_in_place_of_being_sent(client: AsyncOpenAI) -> None:
    made = await client.responses.create(model="echo", input="one two three")
    named = [{"type": "item_reference", "id": made.output[0].id}, {"role": "user", "content": "x"}]
    answer = await client.responses.create(model="echo", input=named)
    assert answer.usage is not None
    assert answer.usage.input_tokens == 3 + 1


async def test_input_is_counted(client: AsyncOpenAI) -> None:
    counted = await client.responses.input_tokens.count(model="echo", input="one two", instructions="be brief")
    assert counted.input_tokens == 4


async def test_a_stream_is_cancelled_by_its_id(live, client: AsyncOpenAI) -> None:
    stream = await client.responses.create(model="echo", input="a " * 50, stream=True, extra_body={"echo_tps": 4})
    kinds: list[str] = []
    async with asyncio.timeout(20), stream:
        async for event in stream:
            kinds.append(event.type)
            if event.type == "response.created":
                made = event.response.id
            if event.type == "response.output_text.delta" and kinds.count(event.type) == 1:
                assert (await client.responses.retrieve(made)).status == "in_progress"
                assert (await client.responses.cancel(made)).status == "cancelled"
    assert kinds[-1] == "response.incomplete"
    assert kinds.count("response.output_text.delta") < 40
    assert live.runtime.journal.newest(1)[0].stage == "cancelled"
    assert (await client.responses.retrieve(made)).status == "cancelled"


async def test_what_is_over_cannot_be_cancelled(client: AsyncOpenAI) -> None:
    made = await client.responses.create(model="echo", input="x")
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a completed response"):
        await client.responses.cancel(made.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.cancel("resp_nobody")


async def test_a_client_that_leaves_stops_its_generation(live) -> None:
    body = {"model": "echo", "input": "a " * 500, "stream": True, "echo_tps": 5}
    async with live.session.post(live.url + "/v1/responses", json=body) as answer:
        await answer.content.readuntil(b"output_text.delta")
    assert (await live.until("cancelled")).completion_tokens < 400


async def test_background_is_taken_and_runs_at_once(client: AsyncOpenAI) -> None:
    made = await client.responses.create(model="echo", input="x", background=True)
    assert (made.status, made.background) == ("completed", False)


async def test_waiting_clients_hear_that_it_goes_on(serve) -> None:
    async with serve(heartbeat_s=0.1) as live:
        body = {"model": "echo", "input": "a b", "stream": True, "echo_tps": 2}
        async with live.session.post(live.url + "/v1/responses", json=body) as answer:
            events = read_stream(await answer.read())
        assert sum(event["type"] == "response.in_progress" for event in events) > 2
        assert events[-1]["type"] == "response.completed"


async def test_overflow_is_a_status_with_the_code_that_clients_know(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.responses.create(model="echo", input="a " * 140_000, truncation="auto", stream=True)
    assert caught.value.code == "context_length_exceeded"


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"model": "nobody", "input": "x"}, 404, "model"),
        ({}, 400, "input"),
        ({"input": [{"role": "user", "content": 3}]}, 400, "input[0].content"),
        ({"input": "x", "temperature": 9}, 400, "temperature"),
        ({"input": "x", "metadata": {"a": 1}}, 400, "metadata[...]"),
        ({"input": "x", "text": {"format": {"type": "json_object"}}}, 400, "text.format"),
        ({"input": "x", "previous_response_id": "resp_x"}, 404, "previous_response_id"),
    ],
)
async def test_what_is_wrong_is_named(live, fields: dict[str, object], status: int, param: str) -> None:
    got, error = await post(live, **fields)
    assert (got, error["error"]["param"]) == (status, param)
    assert error["error"]["type"] == "invalid_request_error"


async def test_a_kept_response_is_not_streamed(live) -> None:
    _, made = await post(live, input="x")
    async with live.session.get(f"{live.url}/v1/responses/{made['id']}?stream=true") as answer:
        assert answer.status == 400
