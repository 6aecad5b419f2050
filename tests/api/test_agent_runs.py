"""Whole agent runs against the scripted engine: a task done by tools, and what an agent is told when it goes wrong."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {"type": "object", "properties": {field: {"type": "string"} for field in fields}, "required": fields},
        },
    }
    for name, fields in (("write_to_file", ["path", "content"]), ("read_file", ["path"]), ("attempt_completion", ["result"]))
]
TASK = [
    {"role": "system", "content": "You are an agent.\nCurrent Working Directory: /somewhere/here\n"},
    {"role": "user", "content": "Create a file named hello.txt with content hi-there"},
]


def client_of(url: str) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=20)


async def turn(client: AsyncOpenAI, messages: list[Any]) -> tuple[list[tuple[str, Any]], dict[str, Any], Any]:
    """Streams one answer; gives its calls, itself as a message, and the usage."""
    text, calls, usage, reason = "", {}, None, None
    stream = await client.chat.completions.create(
        model="scripted", messages=messages, tools=TOOLS, stream=True, stream_options={"include_usage": True}
    )
    async for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reason = choice.finish_reason or reason
            for part in choice.delta.tool_calls or ():
                call = calls.setdefault(part.index, {"id": part.id, "name": part.function.name, "arguments": ""})
                call["arguments"] += part.function.arguments or ""
    assert reason == ("tool_calls" if calls else "stop")
    functions = [
        {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
        for call in calls.values()
    ]
    said = [(call["name"], json.loads(call["arguments"])) for call in calls.values()]
    return said, {"role": "assistant", "content": text or None, "tool_calls": functions}, usage


async def test_an_agent_writes_a_file_reads_it_and_finishes(serve) -> None:
    files: dict[str, str] = {}
    done: list[str] = []

    def use(name: str, arguments: dict[str, str]) -> str:
        if name == "write_to_file":
            files[arguments["path"]] = arguments["content"]
            return "saved"
        if name == "read_file":
            return files[arguments["path"]]
        done.append(arguments["result"])
        return "thank you"

    messages: list[Any] = list(TASK)
    async with serve(scripted=True) as live, client_of(live.url) as client:
        for number in range(6):
            calls, message, usage = await turn(client, messages)
            assert usage.prompt_tokens_details.cached_tokens > 0 or number == 0
            messages.append(message)
            for call, (name, arguments) in zip(message["tool_calls"], calls, strict=True):
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": use(name, arguments)})
            if done:
                break
    assert files == {"/somewhere/here/hello.txt": "hi-there"}
    assert done == ["Done: hello.txt holds hi-there."]
    assert [message["role"] for message in messages[2:]] == ["assistant", "tool"] * 3


async def test_an_overflow_is_told_in_the_words_that_agents_compact_at(serve) -> None:
    async with serve(scripted=True, context_length=64) as live, client_of(live.url) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(
                model="scripted", messages=[{"role": "user", "content": "word " * 200}], stream=True
            )
    assert refused.value.code == "context_length_exceeded"
    assert "maximum context length is 64 tokens" in refused.value.message


def scripted(**fields: object) -> list[Any]:
    return [{"role": "user", "content": "SCRIPT: " + json.dumps({"turns": [fields]})}]


async def test_a_busy_server_says_when_to_come_back(serve) -> None:
    async with serve(scripted=True) as live, client_of(live.url) as client:
        with pytest.raises(openai.InternalServerError) as refused:
            await client.chat.completions.create(model="scripted", messages=scripted(text="x", fault="busy"))
    assert refused.value.status_code == 503
    assert int(refused.value.response.headers["Retry-After"]) >= 1


async def test_a_crash_ends_the_stream_with_an_error_and_the_next_request_is_served(serve) -> None:
    async with serve(scripted=True) as live, client_of(live.url) as client:
        stream = await client.chat.completions.create(model="scripted", messages=scripted(text="x", fault="crash"), stream=True)
        with pytest.raises(openai.APIError) as crashed:
            async for _ in stream:
                pass
        assert "ended unexpectedly" in crashed.value.message
        answer = await client.chat.completions.create(model="scripted", messages=scripted(text="back again"))
        assert answer.choices[0].message.content == "back again"


async def test_a_crash_before_the_first_word_is_not_noticed_by_who_asked(serve) -> None:
    async with serve(scripted=True) as live, client_of(live.url) as client:
        stream = await client.chat.completions.create(
            model="scripted", messages=scripted(text="made again", fault="crash", times=1), stream=True
        )
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "made again"
    assert [chunk.choices[0].delta.role for chunk in chunks].count("assistant") == 1


async def test_a_slow_prompt_keeps_its_client_with_empty_chunks(serve) -> None:
    async with serve(scripted=True, heartbeat_s=0.2) as live, client_of(live.url) as client:
        stream = await client.chat.completions.create(
            model="scripted", messages=scripted(text="at last", delay_s=1.5), stream=True
        )
        deltas = [chunk.choices[0].delta.content async for chunk in stream]
    assert deltas.count("") >= 4
    assert "".join(delta or "" for delta in deltas) == "at last"
