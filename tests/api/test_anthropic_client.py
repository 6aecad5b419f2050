"""Anthropic's own client against the live server."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator

import anthropic
import msgspec
import pytest
from anthropic import AsyncAnthropic

from impetus.runtime.errors import EngineCrashed
from impetus.runtime.events import Admitted, CallBegun, CallDelta, Event, Finished, ReasoningDelta, TextDelta

ASK = {"model": "echo", "max_tokens": 3, "messages": [{"role": "user", "content": "alpha beta gamma"}]}


@pytest.fixture
async def client(live) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=live.url, api_key="any", max_retries=0, timeout=20) as client:
        yield client


def say(live, monkeypatch, events: list[Event], *, failing: Exception | None = None) -> None:
    """Lets the runtime answer with these events, whatever is asked."""

    async def generate(*_args: object) -> AsyncIterator[list[Event]]:
        for event in events:
            yield [event]
        if failing is not None:
            raise failing

    monkeypatch.setattr(live.runtime, "generate", generate)


async def test_a_whole_message(live, client: AsyncAnthropic) -> None:
    message = await client.messages.create(**ASK)
    assert (message.type, message.role, message.model) == ("message", "assistant", "echo")
    assert [(block.type, block.text) for block in message.content] == [("text", "alpha beta gamma")]
    assert message.stop_reason == "max_tokens"
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens == 3
    assert message.id.startswith("msg_")
    assert message._request_id == live.runtime.journal.newest(1)[0].id


async def test_a_streamed_message_is_the_whole_one_in_pieces(client: AsyncAnthropic) -> None:
    whole = await client.messages.create(**ASK)
    async with client.messages.stream(**ASK) as stream:
        pieces = [piece async for piece in stream.text_stream]
        message = await stream.get_final_message()
    assert pieces == ["alpha", " beta", " gamma"]
    assert [block.text for block in message.content] == ["alpha beta gamma"]
    assert (message.stop_reason, message.model) == (whole.stop_reason, whole.model)
    assert message.usage.output_tokens == whole.usage.output_tokens


async def test_the_beta_client_asks_the_same_route(client: AsyncAnthropic) -> None:
    message = await client.beta.messages.create(**ASK, betas=["novel-2030-01-01"])
    assert message.content[0].text == "alpha beta gamma"
    stream = await client.beta.messages.create(**ASK, stream=True)
    assert [event.type async for event in stream][0::6] == ["message_start", "message_delta"]


async def test_a_base_url_with_its_version_taken_off_does_too(live) -> None:
    async with live.session.post(live.url + "/messages", json=ASK) as response:
        assert (await response.json())["content"] == [{"type": "text", "text": "alpha beta gamma"}]


async def test_a_stop_sequence_is_named(client: AsyncAnthropic) -> None:
    message = await client.messages.create(**ASK | {"stop_sequences": ["nothing", " gamma"]})
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", " gamma")
    assert message.content[0].text == "alpha beta"


async def test_tokens_are_counted_as_a_generation_counts_them(client: AsyncAnthropic) -> None:
    question = {"model": "echo", "messages": ASK["messages"], "system": "Repeat."}
    counted = await client.messages.count_tokens(**question)
    message = await client.messages.create(**question, max_tokens=1)
    usage = message.usage
    assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)
    assert (await client.beta.messages.count_tokens(**question)).input_tokens == counted.input_tokens


async def test_models_are_listed_and_shown(live, client: AsyncAnthropic) -> None:
    assert (await client.models.retrieve("echo")).max_input_tokens == 131072
    await client.messages.create(**ASK)
    models = [model async for model in client.models.list(limit=1)]
    assert [(model.type, model.id, model.display_name) for model in models] == [("model", "echo", "echo")]
    assert models[0].max_input_tokens == live.runtime.statuses()[0].context_length is not None
    assert models[0].created_at.year >= 2024
    assert (await client.models.retrieve("Echo")).id == "echo"
    async with live.session.get(live.url + "/v1/models") as response:
        assert (await response.json())["object"] == "list"


async def test_aliases_are_listed_and_pages_followed(serve) -> None:
    async with (
        serve(aliases={"claude-sonnet": {"model": "echo"}}) as live,
        AsyncAnthropic(base_url=live.url, api_key="any", max_retries=0) as client,
    ):
        assert [model.id async for model in client.models.list(limit=1)] == ["claude-sonnet", "echo"]
        assert (await client.models.retrieve("claude-sonnet")).id == "claude-sonnet"
        assert (await client.messages.create(**ASK | {"model": "claude-sonnet"})).model == "echo"


async def test_errors_are_the_clients_own_classes(live, client: AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as unknown:
        await client.messages.create(**ASK | {"model": "nobody"})
    assert unknown.value.body["error"]["type"] == "not_found_error"
    assert unknown.value.body["request_id"] == unknown.value.request_id
    assert "echo" in unknown.value.message
    with pytest.raises(anthropic.NotFoundError):
        await client.models.retrieve("owner/nobody")
    for stream in (False, True):
        with pytest.raises(anthropic.BadRequestError, match="temperature") as wrong:
            await client.messages.create(**ASK | {"extra_body": {"temperature": 9}, "stream": stream})
        assert wrong.value.body["error"]["type"] == "invalid_request_error"
    async with live.session.get(live.url + "/v1/messages") as response:
        assert (response.status, (await response.json())["type"]) == (405, "error")
    headers = {"anthropic-version": "2023-06-01"}
    async with live.session.post(live.url + "/v1/complete", headers=headers) as response:
        assert (await response.json())["error"]["type"] == "not_found_error"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_prompt_that_does_not_fit_is_told_with_both_numbers(client: AsyncAnthropic, stream: bool) -> None:
    long = [{"role": "user", "content": "word " * 140_000}]
    with pytest.raises(anthropic.BadRequestError) as error:
        await client.messages.create(**ASK | {"messages": long, "stream": stream})
    found = re.fullmatch(r"prompt is too long: (\d+) tokens > (\d+) maximum", error.value.body["error"]["message"])
    assert found
    assert int(found[1]) >= 140_000 > int(found[2])
    counted = await client.messages.count_tokens(model="echo", messages=long)
    assert counted.input_tokens == int(found[1])


async def test_either_key_opens(serve) -> None:
    async with serve(api_key="secret") as live:
        for keys in ({"api_key": "secret"}, {"auth_token": "secret"}):
            async with AsyncAnthropic(base_url=live.url, max_retries=0, **keys) as client:
                assert (await client.messages.create(**ASK)).content
        both = {"x-api-key": "secret", "Authorization": "Bearer other"}
        async with live.session.post(live.url + "/v1/messages", json=ASK, headers=both) as response:
            assert response.status == 200
        async with AsyncAnthropic(base_url=live.url, api_key="wrong", max_retries=0) as client:
            with pytest.raises(anthropic.AuthenticationError) as refused:
                await client.messages.create(**ASK)
            assert refused.value.body["error"]["type"] == "authentication_error"


async def test_thoughts_and_calls_reach_the_client(live, client: AsyncAnthropic, monkeypatch) -> None:
    say(
        live,
        monkeypatch,
        [
            Admitted("echo", 40, 100),
            ReasoningDelta(0, "I should "),
            ReasoningDelta(0, "look."),
            TextDelta(0, "Let me look."),
            CallBegun(0, 0, "call_a", "Read"),
            CallDelta(0, 0, '{"path":'),
            CallDelta(0, 0, ' "a.txt"}'),
            CallBegun(0, 1, "call_b", "Now"),
            CallDelta(0, 1, "{}"),
            Finished(0, "tool_calls", 40, 20, cached_tokens=30, reasoning_tokens=4),
        ],
    )
    whole = await client.messages.create(**ASK)
    async with client.messages.stream(**ASK) as stream:
        seen = [event.type async for event in stream]
        streamed = await stream.get_final_message()
    assert {"thinking", "signature", "text", "input_json"} <= set(seen)
    for message in (whole, streamed):
        thinking, text, read, now = message.content
        assert (thinking.thinking, bool(thinking.signature), text.text) == ("I should look.", True, "Let me look.")
        assert [(call.id, call.name, call.input) for call in (read, now)] == [
            ("call_a", "Read", {"path": "a.txt"}),
            ("call_b", "Now", {}),
        ]
        assert message.stop_reason == "tool_use"
        assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (10, 30)
        assert message.usage.output_tokens_details.thinking_tokens == 4


async def test_what_was_answered_can_be_sent_back(live, client: AsyncAnthropic, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        said = [ReasoningDelta(0, "hm"), TextDelta(0, "so"), CallBegun(0, 0, "c1", "Read"), CallDelta(0, 0, '{"path": "x"}')]
        say(live, patch, [Admitted("echo", 4, 100), *said, Finished(0, "tool_calls", 4, 4)])
        first = await client.messages.create(**ASK)
    result = {"type": "tool_result", "tool_use_id": first.content[2].id, "content": "a file"}
    turns = [*ASK["messages"], first.to_param(), {"role": "user", "content": [result, {"type": "text", "text": "and now"}]}]
    assert (await client.messages.create(**ASK | {"messages": turns, "max_tokens": 2})).content[0].text == "and now"


async def test_an_engine_that_ends_in_a_stream_is_an_error_event(live, client: AsyncAnthropic, monkeypatch) -> None:
    begun: list[Event] = [Admitted("echo", 4, 100), TextDelta(0, "half")]
    say(live, monkeypatch, begun, failing=EngineCrashed("echo", how="SIGKILL"))
    stream = await client.messages.create(**ASK, stream=True)
    kinds = [(await anext(stream)).type for _ in range(3)]
    assert kinds == ["message_start", "content_block_start", "content_block_delta"]
    with pytest.raises(anthropic.APIStatusError) as error:
        await anext(stream)
    assert error.value.body["error"]["type"] == "overloaded_error"
    assert "SIGKILL" in error.value.body["error"]["message"]


async def test_a_stream_that_waits_is_kept_alive(serve) -> None:
    body = msgspec.json.encode(ASK | {"stream": True, "echo_tps": 2})
    async with serve(heartbeat_s=0.1) as live:
        async with live.session.post(live.url + "/v1/messages", data=body) as response:
            assert response.content_type == "text/event-stream"
            kinds = [json.loads(line[6:])["type"] async for line in response.content if line.startswith(b"data: ")]
        async with (
            AsyncAnthropic(base_url=live.url, api_key="any", max_retries=0) as client,
            client.messages.stream(**ASK, extra_body={"echo_tps": 2}) as stream,
        ):
            text = await stream.get_final_text()
    assert kinds.count("ping") > 4
    assert kinds[-1] == "message_stop"
    assert text == "alpha beta gamma"


@pytest.mark.parametrize(
    ("headers", "counted"),
    [
        ({"User-Agent": "claude-cli/0.24.4 (external, cli)", "anthropic-beta": "interleaved-thinking-2025-05-14"}, True),
        ({"User-Agent": "claude-cli/0.24.4 (external, cli)"}, True),
        ({"User-Agent": "QwenCode/0.24.4 (darwin; arm64)"}, True),
        (
            {"User-Agent": "claude-cli/2.1.330 (external, cli)", "anthropic-beta": "claude-code-20250219,oauth-2025-04-20"},
            False,
        ),
        ({"User-Agent": "Anthropic/Python 2.12.0"}, False),
    ],
)
async def test_who_does_not_see_pings_gets_a_change_of_nothing(serve, headers: dict[str, str], counted: bool) -> None:
    body = msgspec.json.encode(ASK | {"stream": True, "echo_tps": 4})
    async with (
        serve(heartbeat_s=0.05) as live,
        live.session.post(live.url + "/v1/messages", data=body, headers=headers) as response,
    ):
        events = [json.loads(line[6:]) async for line in response.content if line.startswith(b"data: ")]
    changes = [event for event in events if event["type"] == "message_delta"]
    assert changes[-1]["delta"]["stop_reason"] == "max_tokens"
    nothing = {"type": "message_delta", "delta": {"stop_reason": None, "stop_sequence": None}}
    assert changes[:-1] == [nothing] * (len(changes) - 1)
    assert (len(changes) > 1) is counted
    assert sum(event["type"] == "ping" for event in events) > 1


async def test_a_ping_before_the_message_is_no_trouble(serve, monkeypatch) -> None:
    async with serve(heartbeat_s=0.05) as live, AsyncAnthropic(base_url=live.url, api_key="any", max_retries=0) as client:
        pinged = asyncio.Event()

        async def generate(*_args: object) -> AsyncIterator[list[Event]]:
            await pinged.wait()
            yield [Admitted("echo", 4, 100), TextDelta(0, "late"), Finished(0, "stop", 4, 1)]

        monkeypatch.setattr(live.runtime, "generate", generate)
        async with asyncio.timeout(10):
            # The head comes with the first ping; only then may the message begin.
            async with client.messages.stream(**ASK) as stream:
                assert stream.response.status_code == 200
                pinged.set()
                assert (await stream.get_final_message()).content[0].text == "late"


async def test_a_client_that_leaves_frees_its_place(live, client: AsyncAnthropic) -> None:
    slow = ASK | {"max_tokens": 10_000, "extra_body": {"echo_tps": 50}}
    stream = await client.messages.create(**slow, stream=True)
    async for event in stream:
        if event.type == "content_block_delta":
            break
    assert live.runtime.statuses()[0].running == 1
    await stream.close()
    assert (await live.until("cancelled")).completion_tokens < 100
    asking = asyncio.create_task(client.messages.create(**slow))
    await live.until("decode")
    asking.cancel()
    await live.until("cancelled")
    assert live.runtime.statuses()[0].running == 0
