"""LM Studio's REST APIs over a live server: `/api/v0` and `/api/v1`."""

from __future__ import annotations

import json

import pytest

MESSAGES = [{"role": "user", "content": "one two three"}]
ECHO_CONTEXT = 131_072


async def get(live, path: str, *, status: int = 200) -> dict:
    async with live.session.get(live.url + path) as response:
        answer = await response.json()
        assert response.status == status, answer
        return answer


async def post(live, path: str, body: object, *, status: int = 200) -> dict:
    async with live.session.post(live.url + path, json=body) as response:
        answer = await response.json()
        assert response.status == status, answer
        return answer


async def stream(live, path: str, body: dict) -> list[tuple[str, str]]:
    """The events of a stream, each a name and its data; comments are left out."""
    async with live.session.post(live.url + path, json=body | {"stream": True}) as response:
        assert response.status == 200, await response.text()
        blocks = (await response.text()).strip().split("\n\n")
    events = []
    for block in blocks:
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if fields:
            events.append((fields.get("event", ""), fields["data"]))
    return events


async def test_v0_lists_a_model_with_what_is_served_of_it_once_it_is_loaded(live) -> None:
    [before] = (await get(live, "/api/v0/models"))["data"]
    assert before == {
        "id": "echo",
        "object": "model",
        "type": "llm",
        "publisher": "builtin",
        "arch": None,
        "compatibility_type": "gguf",
        "quantization": None,
        "state": "not-loaded",
        "max_context_length": 131072,
    }
    await live.runtime.load("echo")
    after = await get(live, "/api/v0/models/ECHO")
    assert (after["state"], after["loaded_context_length"], after["max_context_length"]) == (
        "loaded",
        ECHO_CONTEXT,
        ECHO_CONTEXT,
    )


async def test_v0_names_aliases_and_refuses_what_is_not_there(serve) -> None:
    async with serve(aliases={"mine": {"model": "echo"}}) as live:
        assert [entry["id"] for entry in (await get(live, "/api/v0/models"))["data"]] == ["mine", "echo"]
        assert (await get(live, "/api/v0/models/Mine"))["id"] == "mine"
        error = (await get(live, "/api/v0/models/nobody", status=404))["error"]
    assert error["code"] == "model_not_found"


async def test_v0_says_beside_openais_answer_what_it_took(live) -> None:
    answer = await post(live, "/api/v0/chat/completions", {"model": "Echo", "messages": MESSAGES, "echo_tps": 100})
    assert answer["choices"][0]["message"]["content"] == "one two three"
    assert answer["model"] == "echo"
    stats = answer["stats"]
    assert stats["stop_reason"] == "eosFound"
    assert 20 < stats["tokens_per_second"] < 400
    assert 0 < stats["generation_time"] < 1
    assert stats["time_to_first_token"] >= 0
    assert answer["model_info"] == {"arch": None, "quant": None, "format": "echo", "context_length": ECHO_CONTEXT}
    assert answer["runtime"] == {"name": "echo", "version": "", "supported_formats": ["echo"]}


async def test_v0_streams_what_it_took_in_the_last_chunk_of_each_choice(live) -> None:
    body = {"model": "echo", "messages": MESSAGES, "max_tokens": 2, "n": 2, "stream_options": {"include_usage": True}}
    events = await stream(live, "/api/v0/chat/completions", body)
    assert events[-1] == ("", "[DONE]")
    chunks = [json.loads(data) for _, data in events[:-1]]
    told = [chunk for chunk in chunks if "stats" in chunk]
    assert sorted(chunk["choices"][0]["index"] for chunk in told) == [0, 1]
    for chunk in told:
        assert chunk["choices"][0]["finish_reason"] == "length"
        assert chunk["stats"]["stop_reason"] == "maxPredictedTokensReached"
        assert chunk["model_info"]["context_length"] == ECHO_CONTEXT
        assert chunk["runtime"]["name"] == "echo"
    assert chunks[-1]["usage"]["completion_tokens"] == 4
    assert "stats" not in chunks[-1]


@pytest.mark.parametrize("streamed", [False, True])
async def test_v0_continues_texts_and_says_where_they_stopped(live, streamed: bool) -> None:
    body = {"model": "echo", "prompt": ["a b c", "d e f"], "stop": " b"}
    if streamed:
        chunks = [json.loads(data) for _, data in (await stream(live, "/api/v0/completions", body))[:-1]]
        reasons = [chunk["stats"]["stop_reason"] for chunk in chunks if "stats" in chunk]
        assert reasons == ["stopStringFound", "eosFound"]
        text = "".join(chunk["choices"][0]["text"] for chunk in chunks)
    else:
        answer = await post(live, "/api/v0/completions", body)
        assert answer["stats"]["stop_reason"] == "eosFound"
        text = "".join(choice["text"] for choice in answer["choices"])
    assert text == "ad e f"


async def test_v0_refuses_what_it_does_not_keep(live) -> None:
    error = (await post(live, "/api/v0/completions", {"model": "echo", "prompt": "a", "echo": True}, status=400))["error"]
    assert error["param"] == "echo"
    error = (await post(live, "/api/v0/embeddings", {"model": "echo", "input": "a"}, status=400))["error"]
    assert error["code"] == "model_lacks_ability"


async def test_v1_loads_and_unloads_and_lists_what_is_served(live) -> None:
    [before] = (await get(live, "/api/v1/models"))["models"]
    assert (before["key"], before["type"], before["loaded_instances"]) == ("echo", "llm", [])
    assert before["capabilities"] == {"vision": False, "trained_for_tool_use": False}
    body = {"model": "ECHO", "context_length": 4096, "flash_attention": True, "echo_load_config": True}
    loaded = await post(live, "/api/v1/models/load", body)
    assert loaded.pop("load_time_seconds") > 0
    assert loaded == {
        "type": "llm",
        "instance_id": "echo",
        "status": "loaded",
        "load_config": {"context_length": 4096},
    }
    [after] = (await get(live, "/api/v1/models"))["models"]
    assert after["loaded_instances"] == [{"id": "echo", "config": {"context_length": 4096}}]
    await post(live, "/api/v1/models/load", {"model": "echo"})
    assert live.runtime.statuses()[0].context_length == 4096
    assert await post(live, "/api/v1/models/unload", {"instance_id": "echo"}) == {"instance_id": "echo"}
    [gone] = (await get(live, "/api/v1/models"))["models"]
    assert gone["loaded_instances"] == []
    await post(live, "/api/v1/models/load", {"model": "echo"})
    assert live.runtime.statuses()[0].context_length == ECHO_CONTEXT
    await post(live, "/api/v1/models/unload", {"instance_id": "echo"})
    error = (await post(live, "/api/v1/models/unload", {"instance_id": "echo"}, status=400))["error"]
    assert (error["type"], error["param"]) == ("model_not_found", "instance_id")


async def test_v1_words_errors_as_lm_studio_does(live) -> None:
    error = (await post(live, "/api/v1/models/load", {"model": "nobody"}, status=404))["error"]
    assert (error["type"], error["code"], error["param"]) == ("model_not_found", "model_not_found", "model")
    error = (await post(live, "/api/v1/models/load", {}, status=400))["error"]
    assert error == {
        "type": "invalid_request",
        "message": "The field 'model' is missing.",
        "code": "missing_required_parameter",
        "param": "model",
    }
    error = (await get(live, "/api/v1/models/download/status/job_1", status=404))["error"]
    assert error["type"] == "job_not_found"
    error = (await post(live, "/api/v1/models/download", {"model": "no reference"}, status=400))["error"]
    assert (error["type"], error["param"]) == ("invalid_request", "model")
    error = (await get(live, "/api/v1/nothing", status=404))["error"]
    assert error["type"] == "invalid_request"


async def test_v1_chat_goes_on_from_any_answer_it_gave(live) -> None:
    first = await post(live, "/api/v1/chat", {"model": "Echo", "input": "my colour is blue", "system_prompt": "be brief"})
    assert first["model_instance_id"] == "echo"
    assert first["output"] == [{"type": "message", "content": "my colour is blue"}]
    assert first["response_id"].startswith("resp_")
    assert first["stats"]["model_load_time_seconds"] > 0
    assert (first["stats"]["input_tokens"], first["stats"]["total_output_tokens"]) == (6, 4)
    follow = {"model": "echo", "input": "which", "previous_response_id": first["response_id"]}
    second = await post(live, "/api/v1/chat", follow)
    assert second["output"] == [{"type": "message", "content": "which"}]
    assert "model_load_time_seconds" not in second["stats"]
    assert second["stats"]["input_tokens"] == 6 + 4 + 1
    branch = await post(live, "/api/v1/chat", follow | {"store": False})
    assert branch["stats"]["input_tokens"] == 11
    assert "response_id" not in branch
    third = await post(live, "/api/v1/chat", follow | {"previous_response_id": second["response_id"], "system_prompt": "a b c"})
    assert third["stats"]["input_tokens"] == 3 + 4 + 4 + 1 + 1 + 1


async def test_v1_chat_refuses_what_it_does_not_know(live) -> None:
    body = {"model": "echo", "input": "x"}
    error = (await post(live, "/api/v1/chat", body | {"previous_response_id": "resp_0"}, status=400))["error"]
    assert (error["code"], error["param"]) == ("previous_response_not_found", "previous_response_id")
    error = (await post(live, "/api/v1/chat", body | {"integrations": ["mcp/playwright"]}, status=400))["error"]
    assert (error["type"], error["param"]) == ("invalid_request", "integrations")
    picture = {"input": [{"type": "image", "data_url": "https://example.org/a.png"}]}
    error = (await post(live, "/api/v1/chat", body | picture, status=400))["error"]
    assert error["param"] == "input[0].data_url"
    error = (await post(live, "/api/v1/chat", {"model": "nobody", "input": "x", "stream": True}, status=404))["error"]
    assert error["type"] == "model_not_found"


async def test_v1_chat_streams_named_events_and_the_whole_answer_last(live) -> None:
    given = [{"type": "text", "content": "one "}, {"type": "message", "content": "two"}]
    events = await stream(live, "/api/v1/chat", {"model": "ECHO", "input": given, "max_output_tokens": 2})
    assert [name for name, _ in events] == [
        "chat.start",
        "model_load.start",
        "model_load.end",
        "prompt_processing.start",
        "prompt_processing.end",
        "message.start",
        "message.delta",
        "message.delta",
        "message.end",
        "chat.end",
    ]
    bodies = [json.loads(data) for _, data in events]
    assert all(body["type"] == name for body, (name, _) in zip(bodies, events, strict=True))
    assert bodies[0]["model_instance_id"] == "echo"
    assert bodies[2]["load_time_seconds"] > 0
    result = bodies[-1]["result"]
    assert result["output"] == [{"type": "message", "content": "one two"}]
    again = {"model": "echo", "input": "x", "previous_response_id": result["response_id"]}
    assert (await post(live, "/api/v1/chat", again))["stats"]["input_tokens"] == 2 + 2 + 1


async def test_a_common_name_is_answered_by_the_real_one(live) -> None:
    await live.runtime.load("echo")
    for path in ("/v1/chat/completions", "/api/v0/chat/completions"):
        assert (await post(live, path, {"model": "gpt-4o", "messages": MESSAGES}))["model"] == "echo"
    assert (await get(live, "/v1/models/gpt-4o"))["id"] == "echo"
    chat = await post(live, "/api/v1/chat", {"model": "claude-sonnet-4-5", "input": "x"})
    assert chat["model_instance_id"] == "echo"
    error = (await post(live, "/v1/chat/completions", {"model": "ecko", "messages": MESSAGES}, status=404))["error"]
    assert "Did you mean 'echo'?" in error["message"]
