"""LM Studio's own Python SDK against a live server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import lmstudio
import pytest
from lmstudio import AsyncClient

ECHO_CONTEXT = 131_072


@pytest.fixture
async def sdk(live) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(live.url.removeprefix("http://")) as client:
        yield client


async def test_models_are_listed_loaded_and_unloaded(sdk: AsyncClient) -> None:
    [downloaded] = await sdk.list_downloaded_models()
    assert (downloaded.model_key, downloaded.type) == ("echo", "llm")
    assert await sdk.list_loaded_models() == []
    progress: list[float] = []
    model = await downloaded.model(on_load_progress=progress.append)
    assert (model.identifier, progress[-1]) == ("echo", 1.0)
    assert [loaded.identifier for loaded in await sdk.llm.list_loaded()] == ["echo"]
    assert await sdk.embedding.list_loaded() == []
    assert (await sdk.llm.model()).identifier == "echo"
    assert await model.get_context_length() == ECHO_CONTEXT
    assert (await model.get_load_config()).context_length == ECHO_CONTEXT
    info = await model.get_info()
    assert (info.model_key, info.context_length, info.vision) == ("echo", ECHO_CONTEXT, False)
    await model.unload()
    assert await sdk.list_loaded_models() == []
    with pytest.raises(lmstudio.LMStudioModelNotFoundError, match="not loaded"):
        await model.get_info()


async def test_a_model_is_held_as_the_client_wants_until_it_is_unloaded(live, sdk: AsyncClient) -> None:
    model = await sdk.llm.load_new_instance("ECHO", "mine", config={"contextLength": 512})
    assert (model.identifier, await model.get_context_length()) == ("echo", 512)
    first = live.runtime.statuses()[0].pid
    assert (await model.get_load_config()).context_length == 512
    for again in (sdk.llm.model("echo"), sdk.llm.model("echo", config={"contextLength": 256})):
        assert await (await again).get_context_length() == 512
    await sdk.llm.load_new_instance("echo", config={"contextLength": 512})
    assert live.runtime.statuses()[0].pid == first
    await sdk.llm.load_new_instance("echo", config={"contextLength": 256})
    assert await model.get_context_length() == 256
    assert live.runtime.statuses()[0].pid != first
    await model.unload()
    assert await (await sdk.llm.model("echo")).get_context_length() == ECHO_CONTEXT


async def test_a_model_that_is_not_there_is_told_as_such(sdk: AsyncClient) -> None:
    with pytest.raises(lmstudio.LMStudioModelNotFoundError, match="'nobody' does not exist"):
        await sdk.llm.model("nobody")


async def test_an_answer_streams_with_what_it_took(live, sdk: AsyncClient) -> None:
    model = await sdk.llm.model("echo")
    stream = await model.respond_stream("one two three", config={"maxTokens": 2, "temperature": 0, "topPSampling": 0.5})
    fragments = [fragment.content async for fragment in stream]
    assert fragments == ["one", " two"]
    result = stream.result()
    assert result.content == "one two"
    stats = result.stats
    assert (stats.stop_reason, stats.prompt_tokens_count, stats.predicted_tokens_count) == ("maxPredictedTokensReached", 3, 2)
    assert result.load_config.context_length == ECHO_CONTEXT
    assert result.prediction_config.max_tokens == 2
    assert live.runtime.journal.newest(1)[0].route == "/llm"
    whole = await model.complete("a b", config={"stopStrings": [" b"]})
    assert (whole.content, whole.stats.stop_reason) == ("a", "stopStringFound")


async def test_a_conversation_has_turns(sdk: AsyncClient) -> None:
    chat = lmstudio.Chat("be brief")
    chat.add_user_message("first")
    model = await sdk.llm.model("echo")
    chat.add_assistant_response(await model.respond(chat))
    chat.add_user_message("and now this")
    result = await model.respond(chat)
    assert (result.content, result.stats.prompt_tokens_count) == ("and now this", 2 + 1 + 1 + 3)


async def test_a_cancelled_answer_ends_with_what_there_is_of_it(live, sdk: AsyncClient) -> None:
    model = await sdk.llm.model("echo")
    stream = await model.respond_stream("word " * 100_000)
    async for _ in stream:
        await stream.cancel()
    assert stream.result().stats.stop_reason == "userStopped"
    await live.until("cancelled")
    assert (await model.respond("still there")).content == "still there"


async def test_tools_are_offered_and_an_answer_without_a_call_ends_the_act(sdk: AsyncClient) -> None:
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    messages: list[str] = []
    model = await sdk.llm.model("echo")
    result = await model.act("one", [add], on_message=lambda message: messages.append(str(message)))
    assert result.rounds == 1
    assert len(messages) == 1


async def test_a_form_that_cannot_be_held_is_an_error_on_its_channel(sdk: AsyncClient) -> None:
    model = await sdk.llm.model("echo")
    with pytest.raises(lmstudio.LMStudioServerError, match="keeps to no form"):
        await model.respond("x", response_format={"type": "object", "properties": {"a": {"type": "integer"}}})
    with pytest.raises(lmstudio.LMStudioServerError, match="only writes text"):
        await model.tokenize("x")


async def test_a_picture_is_taken_and_any_other_file_refused(sdk: AsyncClient) -> None:
    handle = await sdk.prepare_image(b"\x89PNG and more", "a.png")
    assert (handle.file_type, handle.size_bytes) == ("image", 13)
    chat = lmstudio.Chat()
    chat.add_user_message("look", images=[handle])
    assert (await (await sdk.llm.model("echo")).respond(chat)).content == "look"
    with pytest.raises(lmstudio.LMStudioServerError, match="only pictures"):
        await sdk.prepare_image(b"text", "a.txt")
    with pytest.raises(lmstudio.LMStudioServerError, match="'searchModels' is not served"):
        await sdk.repository.search_models("x")


async def connect(live, path: str, passkey: str = "") -> aiohttp.ClientWebSocketResponse:
    socket = await live.session.ws_connect(live.url + path)
    await socket.send_json({"authVersion": 1, "clientIdentifier": "c", "clientPasskey": passkey})
    return socket


async def test_where_a_key_is_set_it_is_the_passkey(serve) -> None:
    async with serve(api_key="secret") as live:
        async with live.session.get(live.url + "/lmstudio-greeting") as response:
            assert await response.json() == {"lmstudio": True}
        socket = await connect(live, "/llm", "wrong")
        refused = await socket.receive_json()
        assert refused["success"] is False
        assert "API key" in refused["error"]
        assert (await socket.receive()).type == aiohttp.WSMsgType.CLOSE
        socket = await connect(live, "/llm", "secret")
        assert await socket.receive_json() == {"success": True}
        await socket.close()


async def test_web_pages_from_elsewhere_reach_no_socket(live) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await live.session.ws_connect(live.url + "/llm", origin="https://evil.example")
    assert caught.value.status == 403
    async with live.session.get(live.url + "/llm") as response:
        assert (response.status, (await response.json())["error"]["code"]) == (400, "upgrade_required")


async def test_what_is_not_understood_is_answered_and_the_connection_goes_on(live) -> None:
    socket = await connect(live, "/system")
    assert await socket.receive_json() == {"success": True}
    await socket.send_str("{not json")
    assert (await socket.receive_json())["type"] == "communicationWarning"
    await socket.send_json({"type": "keepAlive"})
    assert await socket.receive_json() == {"type": "keepAliveAck"}
    await socket.send_json({"type": "signalSubscribe", "endpoint": "x", "subscribeId": 3, "creationParameter": {}})
    error = await socket.receive_json()
    assert (error["type"], error["subscribeId"]) == ("signalError", 3)
    await socket.send_json({"type": "rpcCall", "endpoint": "version", "callId": 1})
    answer = await socket.receive_json()
    assert (answer["type"], answer["callId"], sorted(answer["result"])) == ("rpcResult", 1, ["build", "version"])
    await socket.send_json({"type": "rpcCall", "endpoint": "notify", "callId": 2, "parameter": {"title": "x"}})
    assert await socket.receive_json() == {"type": "rpcResult", "callId": 2}
    await socket.send_json({"type": "channelCreate", "endpoint": "alive", "channelId": 1})
    await socket.send_json({"type": "channelCreate", "endpoint": "alive", "channelId": 1})
    assert (await socket.receive_json())["type"] == "communicationWarning"
    await socket.send_json({"type": "channelSend", "channelId": 1, "message": {"type": "stop"}, "ackId": 7})
    assert await socket.receive_json() == {"type": "channelAck", "channelId": 1, "ackId": 7}
    assert await socket.receive_json() == {"type": "channelClose", "channelId": 1}
    await socket.close()


async def test_a_connection_holds_so_many_channels_and_no_more(live) -> None:
    socket = await connect(live, "/system")
    await socket.receive_json()
    for channel in range(65):
        await socket.send_json({"type": "channelCreate", "endpoint": "alive", "channelId": channel})
    refused = await socket.receive_json()
    assert (refused["type"], refused["channelId"]) == ("channelError", 64)
    await socket.send_json({"type": "channelSend", "channelId": 0, "message": {"type": "stop"}})
    assert await socket.receive_json() == {"type": "channelClose", "channelId": 0}
    await socket.close()


async def test_a_client_that_leaves_stops_its_answers(live) -> None:
    socket = await connect(live, "/llm")
    await socket.receive_json()
    history = {"messages": [{"role": "user", "content": [{"type": "text", "text": "word " * 100_000}]}]}
    parameter = {"modelSpecifier": {"type": "query", "query": {"identifier": "echo"}}, "history": history}
    created = {"type": "channelCreate", "endpoint": "predict", "channelId": 1, "creationParameter": parameter}
    await socket.send_str(json.dumps(created))
    async for message in socket:
        # The JavaScript SDK takes no null for a field that may be missing.
        assert '"ackId"' not in message.data
        if '"fragment"' in message.data:
            break
    await socket.close()
    await live.until("cancelled")


@pytest.mark.engine
async def test_the_starter_model_answers_in_a_form_and_knows_its_tokens(serve) -> None:
    async with serve(starter=True) as live, AsyncClient(live.url.removeprefix("http://")) as sdk:
        [key] = [model.model_key for model in await sdk.llm.list_downloaded() if model.model_key != "echo"]
        model = await sdk.llm.model(key)
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
        result = await model.respond("A number?", response_format=schema, config={"maxTokens": 40, "temperature": 0})
        assert isinstance(result.parsed, dict)
        assert list(result.parsed) == ["n"]
        assert await model.count_tokens("hello there") == len(await model.tokenize("hello there")) > 1
        assert "hello there" in await model.apply_prompt_template("hello there")


@pytest.mark.engine
async def test_a_model_for_vectors_gives_them(serve, tmp_path: Path) -> None:
    from tiny_embedding import WIDTH, write_bert

    (tmp_path / "models").mkdir()
    write_bert(tmp_path / "models" / "tiny-bert.gguf")
    async with serve() as live, AsyncClient(live.url.removeprefix("http://")) as sdk:
        assert [model.model_key for model in await sdk.embedding.list_downloaded()] == ["tiny-bert"]
        model = await sdk.embedding.model("tiny-bert")
        one, two = await model.embed(["the cat sat on the mat", "a small dog ran"])
        assert len(one) == len(two) == WIDTH
        assert sum(number * number for number in one) == pytest.approx(1, abs=1e-5)
        with pytest.raises(lmstudio.LMStudioServerError, match="does not write text"):
            await (await sdk.llm.model("tiny-bert")).respond("x")
