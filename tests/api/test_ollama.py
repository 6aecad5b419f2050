"""Ollama's own client, and what agents send there, against the live server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import ollama
import pytest
from ollama import AsyncClient

QUESTION = [{"role": "user", "content": "alpha beta gamma"}]
LINE = {"model": str, "created_at": str, "message": dict, "done": bool}
LAST_LINE = LINE | {
    "done_reason": str,
    "total_duration": int,
    "load_duration": int,
    "prompt_eval_count": int,
    "prompt_eval_duration": int,
    "eval_count": int,
    "eval_duration": int,
}


@pytest.fixture
async def client(live) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(host=live.url, timeout=20) as client:
        yield client


async def lines(live, path: str, body: dict[str, object]) -> list[dict[str, object]]:
    async with live.session.post(live.url + path, json=body) as response:
        assert response.status == 200, await response.text()
        assert response.headers["Content-Type"] == "application/x-ndjson"
        return [json.loads(line) for line in (await response.text()).splitlines()]


async def refusal(live, path: str, body: dict[str, object], *, status: int, method: str = "POST") -> str:
    async with live.session.request(method, live.url + path, json=body) as response:
        answer = await response.json()
        assert response.status == status, answer
        assert list(answer) == ["error"]
        return answer["error"]


async def test_clients_find_what_they_look_for_first(live) -> None:
    for method in ("GET", "HEAD"):
        async with live.session.request(method, live.url + "/") as response:
            assert response.status == 200
    async with live.session.get(live.url + "/api/version") as response:
        version = tuple(map(int, (await response.json())["version"].split(".")))
    assert version >= (0, 13, 4)


async def test_every_line_has_the_fields_that_clients_need(live) -> None:
    said = await lines(live, "/api/chat", {"model": "echo", "messages": QUESTION})
    for line in said[:-1]:
        assert {name: type(value) for name, value in line.items()} == LINE
        assert line["message"]["role"] == "assistant"  # type: ignore[index]
        assert line["done"] is False
    last = said[-1]
    assert {name: type(value) for name, value in last.items()} == LAST_LINE
    assert (last["done"], last["done_reason"], last["eval_count"]) == (True, "stop", 3)
    assert last["total_duration"] >= last["load_duration"] + last["prompt_eval_duration"] > 0  # type: ignore[operator]
    assert "".join(line["message"]["content"] for line in said) == "alpha beta gamma"  # type: ignore[index]


async def test_a_chat_streamed_and_whole(client: AsyncClient) -> None:
    whole = await client.chat("echo", messages=QUESTION)
    assert (whole.message.content, whole.done_reason, whole.eval_count) == ("alpha beta gamma", "stop", 3)
    pieces = [piece.message.content async for piece in await client.chat("echo", messages=QUESTION, stream=True)]
    assert "".join(piece or "" for piece in pieces) == "alpha beta gamma"
    short = await client.chat("echo:latest", messages=QUESTION, options={"num_predict": 2})
    assert (short.message.content, short.done_reason) == ("alpha beta", "length")


async def test_a_text_is_continued_and_logprobs_are_given(client: AsyncClient) -> None:
    answer = await client.generate("echo", "one two", raw=True, logprobs=True, top_logprobs=1)
    assert (answer.response, answer.done_reason) == ("one two", "stop")
    assert answer.logprobs is not None
    assert [entry.token for entry in answer.logprobs] == ["one", " two"]
    pieces = [piece.response async for piece in await client.generate("echo", "one two", system="be short", stream=True)]
    assert "".join(piece or "" for piece in pieces) == "one two"


async def test_models_are_listed_and_shown_as_they_are_asked_for(client: AsyncClient, live) -> None:
    [model] = (await client.list()).models
    assert model.model == "echo"
    assert model.digest is not None
    assert len(model.digest) == 64
    await client.chat(model.model, messages=QUESTION)
    shown = await client.show("echo:latest")
    assert shown.capabilities == ["completion", "tools"]
    assert shown.modelinfo is not None
    kind = shown.modelinfo["general.architecture"]
    served = next(status.context_length for status in live.runtime.statuses() if status.model.id == "echo")
    assert shown.modelinfo[f"{kind}.context_length"] == served
    assert f"num_ctx {served}" in (shown.parameters or "").splitlines()


async def test_a_model_stays_as_long_as_the_newest_request_says(client: AsyncClient, live) -> None:
    assert (await client.ps()).models == []
    await client.chat("echo", messages=QUESTION, keep_alive="5m")
    [first] = (await client.ps()).models
    await client.chat("echo", messages=QUESTION, keep_alive=1800)
    [second] = (await client.ps()).models
    assert 1400 < (second.expires_at - first.expires_at).total_seconds() < 1600  # type: ignore[operator]
    assert second.context_length
    assert (await client.generate("echo", "", keep_alive=-1)).done_reason == "load"
    [third] = (await client.ps()).models
    assert third.expires_at is not None
    assert third.expires_at.year == 2300
    left = asyncio.Event()
    remove = live.runtime.listen(lambda: left.set() if live.runtime.statuses()[0].state == "unloaded" else None)
    assert (await client.generate("echo", "", keep_alive=0)).done_reason == "unload"
    async with asyncio.timeout(10):
        await left.wait()
    remove()
    assert (await client.ps()).models == []


async def test_names_are_copied_made_and_taken_back(client: AsyncClient, live) -> None:
    await client.copy("echo", "mine")
    made = await client.create("brief", from_="mine", system="be brief", parameters={"num_predict": 1, "stop": ["x"]})
    assert made.status == "success"
    assert {model.model for model in (await client.list()).models} == {"echo", "mine", "brief"}
    assert (await client.chat("brief:latest", messages=QUESTION)).message.content == "alpha"
    assert (await client.chat("brief", messages=QUESTION, options={"num_predict": 2})).message.content == "alpha beta"
    shown = await client.show("brief")
    assert {'stop "x"', "num_predict 1"} <= set((shown.parameters or "").splitlines())
    steps = [step.status async for step in await client.create("brief", from_="echo", stream=True)]
    assert steps[-1] == "success"
    for name in ("brief", "mine"):
        await client.delete(name)
    assert [model.model for model in (await client.list()).models] == ["echo"]
    assert "is a model here" in await refusal(live, "/api/copy", {"source": "echo", "destination": "Echo"}, status=400)
    assert "'quantize' is not supported" in await refusal(
        live, "/api/create", {"model": "x", "from": "echo", "quantize": "q4_0"}, status=400
    )


async def test_what_is_not_ours_is_not_removed(client: AsyncClient, live) -> None:
    assert "is a part of Impetus" in await refusal(live, "/api/delete", {"model": "echo"}, status=400, method="DELETE")
    assert "does not exist" in await refusal(live, "/api/delete", {"name": "none"}, status=404, method="DELETE")
    assert "takes no files" in await refusal(live, "/api/blobs/sha256:00", {}, status=400)


async def test_a_pull_of_what_is_here_succeeds_at_once(client: AsyncClient, live) -> None:
    assert (await client.pull("echo:latest")).status == "success"
    assert [step.status async for step in await client.pull("echo", stream=True)][-1] == "success"
    assert "names no model" in await refusal(live, "/api/pull", {"model": "llama3:8b"}, status=502)


async def test_what_is_wrong_is_said_in_ollamas_words(client: AsyncClient, live) -> None:
    with pytest.raises(ollama.ResponseError, match="does not exist") as caught:
        await client.chat("none", messages=QUESTION)
    assert caught.value.status_code == 404
    long = [{"role": "user", "content": "word " * 140_000}]
    with pytest.raises(ollama.ResponseError, match=r"maximum context length is 131072 tokens. However") as caught:
        await client.chat("echo", messages=long)
    assert caught.value.status_code == 400
    for body, said in (
        ({"format": "yaml"}, "format"),
        ({"keep_alive": "soon"}, "no duration"),
        ({"options": {"mirostat": 3}}, "mirostat"),
        ({"options": {"temperature": "hot"}}, "options.temperature"),
        ({"messages": [{"role": "user", "content": "x", "images": ["?"]}]}, "images[0]"),
    ):
        assert said in await refusal(live, "/api/chat", {"model": "echo", "messages": QUESTION} | body, status=400)


async def test_a_context_that_a_client_thinks_of_refuses_nothing(client: AsyncClient) -> None:
    long = [{"role": "user", "content": "word " * 9000}]
    answer = await client.chat("echo", messages=long, options={"num_ctx": 8192})
    assert answer.prompt_eval_count == answer.eval_count == 9001


async def test_a_waiting_client_gets_empty_lines(serve) -> None:
    async with serve(heartbeat_s=0.1) as live:
        body = {"model": "echo", "messages": QUESTION, "options": {"echo_tps": 3}}
        said = await lines(live, "/api/chat", body)
    beats = [line for line in said[:-1] if line["message"] == {"role": "assistant", "content": ""}]
    assert len(beats) > 3


@pytest.mark.parametrize(
    "body",
    [
        {  # Cline
            "messages": [
                {"role": "system", "content": "You are Cline."},
                {"role": "user", "content": "hi"},
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "read", "arguments": {"path": "a"}}}],
                },
                {"role": "tool", "content": "text", "tool_name": "read", "tool_call_id": "c1"},
            ],
            "tools": [
                {"type": "function", "function": {"name": "read", "description": "Reads.", "parameters": {"type": "object"}}}
            ],
            "tool_choice": "auto",
            "options": {"num_ctx": 32768},
        },
        {  # Continue
            "messages": [{"role": "user", "content": "hi"}],
            "options": {"num_ctx": 8192, "num_predict": 1024, "stop": [], "temperature": None},
            "keep_alive": 1800,
        },
    ],
)
async def test_what_agents_send_is_answered_without_a_new_load(live, body: dict[str, object]) -> None:
    await lines(live, "/api/chat", {"model": "echo", "messages": QUESTION})
    pid = live.runtime.statuses()[0].pid
    said = await lines(live, "/api/chat", {"model": "echo"} | body)
    assert said[-1]["done"] is True
    assert live.runtime.statuses()[0].pid == pid
