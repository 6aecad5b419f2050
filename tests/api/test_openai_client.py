"""OpenAI's own client against the live server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import openai
import pytest
from openai import AsyncOpenAI

QUESTION = [{"role": "user", "content": "alpha beta gamma"}]


@pytest.fixture
async def client(live) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=live.url + "/v1", api_key="any", max_retries=0, timeout=20) as client:
        yield client


async def test_the_models_are_listed_and_shown(client: AsyncOpenAI) -> None:
    models = (await client.models.list()).data
    assert [model.id for model in models] == ["echo"]
    assert (await client.models.retrieve("Echo")).id == "echo"


async def test_an_id_with_slashes_finds_its_way(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match=r"'owner/repo/file' does not exist.*echo"):
        await client.models.retrieve("owner/repo/file")


async def test_a_whole_chat_answer(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="echo", messages=QUESTION)
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content == "alpha beta gamma"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "echo"
    assert answer.system_fingerprint
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 3
    assert answer.usage.prompt_tokens_details is not None


async def test_a_streamed_chat_is_the_whole_one_in_pieces(client: AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(model="echo", messages=QUESTION)
    stream = await client.chat.completions.create(
        model="echo", messages=QUESTION, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert (
        "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == whole.choices[0].message.content
    )
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert len({chunk.id for chunk in chunks}) == 1


async def test_the_streaming_helper_puts_a_chat_together(client: AsyncOpenAI) -> None:
    async with client.chat.completions.stream(model="echo", messages=QUESTION, n=2) as stream:
        answer = await stream.get_final_completion()
    assert [choice.message.content for choice in answer.choices] == ["alpha beta gamma"] * 2


async def test_max_tokens_ends_with_length(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="echo", messages=QUESTION, max_completion_tokens=2)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 2


async def test_a_stop_string_ends_before_itself(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="echo", messages=QUESTION, stop=" gamma")
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("alpha beta", "stop")


async def test_three_choices_count_their_prompt_once(client: AsyncOpenAI) -> None:
    one = await client.chat.completions.create(model="echo", messages=QUESTION)
    three = await client.chat.completions.create(model="echo", messages=QUESTION, n=3)
    assert [choice.index for choice in three.choices] == [0, 1, 2]
    assert {choice.message.content for choice in three.choices} == {"alpha beta gamma"}
    assert one.usage is not None
    assert three.usage is not None
    assert three.usage.prompt_tokens == one.usage.prompt_tokens
    assert three.usage.completion_tokens == 9


async def test_chat_logprobs_whole_and_streamed(client: AsyncOpenAI) -> None:
    options = {"model": "echo", "messages": QUESTION, "logprobs": True, "top_logprobs": 2}
    whole = (await client.chat.completions.create(**options)).choices[0].logprobs
    assert whole is not None
    assert whole.content is not None
    assert "".join(token.token for token in whole.content) == "alpha beta gamma"
    assert all(1 <= len(token.top_logprobs) <= 2 and token.logprob <= 0 for token in whole.content)
    streamed = []
    async for chunk in await client.chat.completions.create(**options, stream=True):
        if chunk.choices[0].logprobs is not None:
            streamed += chunk.choices[0].logprobs.content or []
    assert [token.token for token in streamed] == [token.token for token in whole.content]


async def test_completions_whole_for_several_prompts(client: AsyncOpenAI) -> None:
    answer = await client.completions.create(model="echo", prompt=["one two", "three"], n=2, logprobs=1)
    assert [choice.text for choice in answer.choices] == ["one two", "one two", "three", "three"]
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.choices[0].logprobs is not None
    assert answer.choices[0].logprobs.text_offset == [0, 3]


async def test_completions_streamed_for_several_prompts(client: AsyncOpenAI) -> None:
    texts: dict[int, str] = {}
    reasons: dict[int, str] = {}
    usage = None
    stream = await client.completions.create(
        model="echo", prompt=["one two", "three"], stream=True, stream_options={"include_usage": True}
    )
    async for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + choice.text
            reasons[choice.index] = choice.finish_reason or ""
    assert texts == {0: "one two", 1: "three"}
    assert reasons == {0: "stop", 1: "stop"}
    assert usage is not None
    assert usage.completion_tokens == 3


async def test_errors_are_the_clients_own_classes(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.chat.completions.create(model="nobody", messages=QUESTION)
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    assert "echo" in unknown.value.message
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as wrong:
            await client.chat.completions.create(model="echo", messages=QUESTION, temperature=9, stream=stream)
        assert wrong.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as long:
        await client.chat.completions.create(
            model="echo", messages=[{"role": "user", "content": "word " * 140_000}], stream=True
        )
    assert (long.value.code, long.value.param) == ("context_length_exceeded", "messages")
    served, sent = (int(number) for number in re.findall(r"(\d+) tokens", long.value.message))
    assert served < 140_000 <= sent


async def test_a_client_that_leaves_frees_its_place(live, client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="echo", messages=QUESTION, stream=True, max_tokens=10_000, extra_body={"echo_tps": 50}
    )
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    assert live.runtime.statuses()[0].running == 1
    await stream.close()
    record = await live.until("cancelled")
    assert record.completion_tokens < 100
    assert live.runtime.statuses()[0].running == 0


async def test_a_client_that_leaves_a_whole_answer_frees_its_place_too(live, client: AsyncOpenAI) -> None:
    asking = asyncio.create_task(
        client.chat.completions.create(model="echo", messages=QUESTION, max_tokens=10_000, extra_body={"echo_tps": 50})
    )
    await live.until("decode")
    asking.cancel()
    await live.until("cancelled")
    assert live.runtime.statuses()[0].running == 0


async def test_a_base_url_without_its_version_does_too(live) -> None:
    async with AsyncOpenAI(base_url=live.url, api_key="any", max_retries=0) as client:
        assert [model.id for model in (await client.models.list()).data] == ["echo"]
        answer = await client.chat.completions.create(model="echo", messages=QUESTION)
        assert answer.choices[0].message.content == "alpha beta gamma"


async def test_a_stream_that_waits_is_kept_alive_with_chunks_the_client_can_read(serve) -> None:
    async with serve(heartbeat_s=0.1) as live, AsyncOpenAI(base_url=live.url + "/v1", api_key="any", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="echo", messages=QUESTION, stream=True, max_tokens=3, extra_body={"echo_tps": 2}
        )
        deltas = [chunk.choices[0].delta async for chunk in stream]
    assert sum(1 for delta in deltas if delta.role == "assistant" and delta.content == "") > 3
    assert "".join(delta.content or "" for delta in deltas) == "alpha beta gamma"


async def test_a_completion_may_begin_with_its_prompt(client: AsyncOpenAI) -> None:
    answer = await client.completions.create(model="echo", prompt="say it", echo=True)
    assert answer.choices[0].text == "say itsay it"
    stream = await client.completions.create(model="echo", prompt=["a b", "c"], echo=True, stream=True)
    texts = ["", ""]
    async for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == ["a ba b", "cc"]


async def test_the_best_of_several_choices_are_given(client: AsyncOpenAI) -> None:
    answer = await client.completions.create(model="echo", prompt="say it", n=2, best_of=4)
    assert [(choice.index, choice.text, choice.logprobs) for choice in answer.choices] == [
        (0, "say it", None),
        (1, "say it", None),
    ]
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 4 * 2
