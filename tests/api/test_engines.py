"""Real processes behind the API: a model that answers, and an engine that is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import Literal

import pytest
from openai import AsyncOpenAI, BadRequestError
from pydantic import BaseModel, Field

CHAT = "/v1/chat/completions"
QUESTION = [{"role": "user", "content": "Name a colour."}]


async def test_a_killed_engine_ends_its_stream_with_an_error_and_serves_again_soon(live) -> None:
    body = {"model": "echo", "messages": QUESTION, "stream": True, "max_tokens": 10_000, "echo_tps": 50}
    async with live.session.post(live.url + CHAT, json=body) as response:
        await response.content.readuntil(b"colour")
        pid = live.runtime.statuses()[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        last = (await response.read()).decode().strip().split("\n\n")[-1]
    error = json.loads(last.removeprefix("data: "))["error"]
    assert error["code"] == "engine_crashed"
    assert "SIGKILL" in error["message"]
    assert live.runtime.journal.newest(1)[0].stage == "failed"
    async with asyncio.timeout(5), live.session.post(live.url + CHAT, json={"model": "echo", "messages": QUESTION}) as response:
        assert response.status == 200
        assert (await response.json())["choices"][0]["message"]["content"] == "Name a colour."


@pytest.mark.engine
async def test_the_starter_model_answers_the_same_whole_and_streamed(serve) -> None:
    async with (
        serve(starter=True) as live,
        AsyncOpenAI(base_url=live.url + "/v1", api_key="any", max_retries=0, timeout=60) as client,
    ):
        [model] = [model.id for model in (await client.models.list()).data if "smollm2-135m-instruct" in model.id.lower()]
        options = {
            "model": model,
            "messages": QUESTION,
            "temperature": 0,
            "max_tokens": 12,
            "logprobs": True,
            "top_logprobs": 3,
        }
        whole = await client.chat.completions.create(**options)
        stream = await client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True})
        chunks = [chunk async for chunk in stream]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == whole.choices[0].message.content != ""
        assert chunks[-1].usage is not None
        assert whole.usage is not None
        assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens == 12
        logprobs = whole.choices[0].logprobs
        assert logprobs is not None
        assert logprobs.content is not None
        assert "".join(token.token for token in logprobs.content) == text
        assert all(len(token.top_logprobs) == 3 and token.top_logprobs[0].logprob <= 0 for token in logprobs.content)
        # One choice at a time: what else is in the batch may turn a near tie of a quantised model.
        seeded = {"model": model, "messages": QUESTION, "temperature": 1, "max_tokens": 12}
        first, again = [await client.chat.completions.create(**seeded, seed=7) for _ in range(2)]
        assert first.choices[0].message.content == again.choices[0].message.content
        two = await client.chat.completions.create(**seeded, n=2)
        assert [choice.index for choice in two.choices] == [0, 1]


class Finish(BaseModel):
    glossy: bool


class Colour(BaseModel):
    name: Literal["red", "green", "blue"]
    brightness: int = Field(ge=0, le=100)
    finish: Finish | None


@pytest.mark.engine
async def test_the_sdks_own_schema_is_held_for_each_choice(serve) -> None:
    async with (
        serve(starter=True) as live,
        AsyncOpenAI(base_url=live.url + "/v1", api_key="any", max_retries=0, timeout=60) as client,
    ):
        asked = {"model": "smollm2", "messages": QUESTION, "temperature": 1, "max_tokens": 300}
        found = await client.chat.completions.parse(**asked, response_format=Colour, n=2)
        assert [choice.finish_reason for choice in found.choices] == ["stop", "stop"]
        assert all(isinstance(choice.message.parsed, Colour) for choice in found.choices)
        stream = await client.chat.completions.create(**asked, response_format={"type": "json_object"}, stream=True, stop=["}"])
        assert [chunk async for chunk in stream][1].choices[0].delta.content == "{"
        grammar = {"grammar": 'root ::= "red" | "green"'}
        assert (await client.chat.completions.create(**asked, extra_body=grammar)).choices[0].message.content in {
            "red",
            "green",
        }
        wrong = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "array", "contains": {}}}}
        with pytest.raises(BadRequestError, match="'contains'") as caught:
            await client.chat.completions.create(**asked, response_format=wrong)
        assert (caught.value.param, caught.value.code) == ("response_format", "invalid_value")


@pytest.mark.engine
async def test_what_was_taken_over_from_another_request_is_told_in_every_form(serve) -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 30
    chat = {"messages": [{"role": "user", "content": text}], "max_tokens": 2}
    completion = {"prompt": text, "max_tokens": 2}
    async with (
        serve(starter=True) as live,
        AsyncOpenAI(base_url=live.url + "/v1", api_key="any", max_retries=0, timeout=60) as client,
    ):
        model = "smollm2-135m-instruct"
        for create, body in ((client.chat.completions.create, chat), (client.completions.create, completion)):
            first = await create(model=model, **{**body, "max_tokens": 200}, stream=True)
            await anext(aiter(first))
            await live.until("decode")
            whole = await create(model=model, **body)
            chunks = [
                chunk async for chunk in await create(model=model, **body, stream=True, stream_options={"include_usage": True})
            ]
            await first.close()
            streamed, recorded = live.runtime.journal.newest(2)
            for usage, record in ((whole.usage, recorded), (chunks[-1].usage, streamed)):
                cached = usage.prompt_tokens_details.cached_tokens
                assert cached > 0.9 * usage.prompt_tokens > 200
                assert record.prefix is not None
                assert record.prefix.ram_tokens == record.cached_tokens == cached
                assert record.prefix.computed_tokens == usage.prompt_tokens - cached


async def test_a_model_whose_template_knows_no_tools_is_marked_so_and_calls_them_all_the_same(serve) -> None:
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": PLACE}}]
    question = [{"role": "user", "content": "What is the weather in Paris?"}]
    async with serve(starter=True) as live, AsyncOpenAI(base_url=f"{live.url}/v1", api_key="none", timeout=60) as client:
        [name] = [model.id async for model in client.models.list() if model.id != "echo"]
        answer = await client.chat.completions.create(
            model=name, messages=question, tools=tools, tool_choice="required", temperature=1, seed=5, max_tokens=400
        )
        async with live.session.get(f"{live.url}/v1/models/{name}") as response:
            shown = await response.json()
    assert shown["tools"] == "generic"
    calls = answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "tool_calls"
    assert calls
    for call in calls:
        assert call.function.name == "get_weather"
        assert 0 < len(json.loads(call.function.arguments)["city"]) <= 30


PLACE = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 1, "maxLength": 30}},
    "required": ["city"],
    "additionalProperties": False,
}
