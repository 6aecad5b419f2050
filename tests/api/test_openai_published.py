"""Answers, and every chunk of streams, against what OpenAI publishes: its description, and the types made of it in its SDK."""

from __future__ import annotations

import json
from typing import Any

import openai.types as sdk
import pytest
from openai.types import chat as sdk_chat
from openai_facts import CHAT, CHUNK, COMPLETION, COMPLETION_CHUNK, ERROR, MODELS, check

SCRIPT = {
    "turns": [
        {
            "reasoning": "Let me see.",
            "text": "I look it up.",
            "calls": [{"name": "look", "arguments": {"at": 'a "b"\n'}}, {"name": "look", "arguments": {}}],
        },
        {"text": "Done, and that is all there is to say."},
    ]
}
TOOLS = [
    {
        "type": "function",
        "function": {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}},
    }
]
FIRST = {"role": "user", "content": f"SCRIPT: {json.dumps(SCRIPT)}"}


async def post(live: Any, path: str, body: dict[str, Any], status: int = 200) -> Any:
    async with live.session.post(live.url + path, json=body) as answer:
        told = await answer.json()
        assert answer.status == status, told
        return told


async def stream(live: Any, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    async with live.session.post(live.url + path, json=body | {"stream": True}) as answer:
        lines = (await answer.text()).split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-2] if line.startswith("data: ")]


def bodies() -> list[dict[str, Any]]:
    base = {"model": "scripted", "messages": [FIRST]}
    answered = [
        FIRST,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "found"},
    ]
    plain = {"model": "echo", "messages": [{"role": "user", "content": "some words to say again"}]}
    return [
        base | {"tools": TOOLS},
        base | {"tools": TOOLS, "parallel_tool_calls": False},
        base | {"messages": answered, "tools": TOOLS},
        plain,
        plain | {"n": 2},
        plain | {"max_tokens": 2},
        plain | {"logprobs": True, "top_logprobs": 2},
        plain | {"stop": ["to"]},
    ]


@pytest.mark.parametrize("number", range(len(bodies())))
async def test_chats_whole_and_streamed(serve, number: int) -> None:
    body = bodies()[number]
    async with serve(scripted=True) as live:
        whole = await post(live, "/v1/chat/completions", body)
        check(CHAT, whole)
        sdk_chat.ChatCompletion.model_validate(whole)
        for options in ({}, {"stream_options": {"include_usage": True}}):
            chunks = await stream(live, "/v1/chat/completions", body | options)
            for chunk in chunks:
                check(CHUNK, chunk)
                sdk_chat.ChatCompletionChunk.model_validate(chunk)
            assert bool(chunks[-1].get("usage")) == bool(options)
            assert len({chunk["id"] for chunk in chunks}) == 1
            reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]]
            assert reasons == [choice["finish_reason"] for choice in whole["choices"]]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"n": 2, "max_tokens": 4},
        {"logprobs": 2, "max_tokens": 3},
        {"echo": True, "max_tokens": 2},
        {"best_of": 2, "n": 1, "max_tokens": 3},
        {"prompt": ["one two", "three four"]},
    ],
)
async def test_completions_whole_and_streamed(live, more: dict[str, Any]) -> None:
    body = {"model": "echo", "prompt": "words that come again"} | more
    whole = await post(live, "/v1/completions", body)
    check(COMPLETION, whole)
    sdk.Completion.model_validate(whole)
    if "best_of" in more:
        return
    for chunk in await stream(live, "/v1/completions", body):
        check(COMPLETION_CHUNK, chunk)


async def test_models(live) -> None:
    async with live.session.get(live.url + "/v1/models") as answer:
        told = await answer.json()
    check(MODELS, told)
    for entry in told["data"]:
        sdk.Model.model_validate(entry)
        async with live.session.get(f"{live.url}/v1/models/{entry['id']}") as answer:
            check(MODELS["data"][0], await answer.json())


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", {"model": "nobody", "messages": [{"role": "user", "content": "x"}]}, 404),
        ("/v1/chat/completions", {"messages": []}, 400),
        ("/v1/chat/completions", {"model": "echo", "messages": [{"role": "user", "content": "x"}], "temperature": "hot"}, 400),
        ("/v1/completions", {"model": "echo", "prompt": 5}, 400),
        ("/v1/embeddings", {"model": "echo", "input": []}, 400),
        ("/v1/nothing", {}, 404),
    ],
)
async def test_errors(live, path: str, body: dict[str, Any], status: int) -> None:
    check(ERROR, await post(live, path, body, status))
