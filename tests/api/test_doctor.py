"""The doctor: over real sockets, with the scripted and the echo engine, and with a server that does everything wrong."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from impetus.api.doctor import machine
from impetus.api.doctor.check import Check
from impetus.api.doctor.clients import CHAT, CLIENTS
from impetus.api.doctor.conversation import Ask, Call, Tool, Turn
from impetus.api.doctor.examine import choose_clients, examine
from impetus.api.doctor.exchange import Exchange
from impetus.api.doctor.speak_chat import ChatSpeaker
from impetus.api.doctor.speak_messages import MessagesSpeaker
from impetus.api.doctor.speak_ollama import OllamaSpeaker
from impetus.api.doctor.speak_responses import ResponsesSpeaker
from impetus.api.doctor.trials import TRIALS, Subject, try_client
from impetus.runtime.config import Config, ServerConfig
from impetus.runtime.errors import InvalidRequest

CHAT_CLIENTS = [client.name for client in CLIENTS if client.path == CHAT]


async def test_each_client_of_a_dialect_that_is_spoken_here_passes(serve, tmp_path) -> None:
    async with serve(scripted=True) as live:
        await live.runtime.load("scripted")
        [status] = [status for status in live.runtime.statuses() if status.model.id == "scripted"]
        subject = Subject(Exchange(live.url), "scripted", status.context_length, repeats=False)
        checks = [check for client in CLIENTS for check in await asyncio.to_thread(try_client, client, subject)]
    named = {(check.group, check.name): check for check in checks}
    for name in CHAT_CLIENTS:
        for trial in ("stream", "tool round trip", "cache hit", "cancel", "overflow"):
            assert named[name, trial].verdict == "pass", named[name, trial]
    for check in checks:
        assert (check.verdict == "fail") == (check.change is not None)
    assert "write_to_file was called" in named["cline", "tool round trip"].found
    assert "edits in the text" in named["aider", "tool round trip"].found


async def test_with_the_echo_engine_what_it_cannot_show_is_skipped(live) -> None:
    await live.runtime.load("echo")
    subject = Subject(Exchange(live.url), "echo", 131_072, repeats=True)
    checks = {check.name: check for check in await asyncio.to_thread(try_client, choose_clients("cline")[0], subject)}
    assert [check for check in checks.values() if check.verdict == "fail"] == []
    assert checks["tool round trip"].verdict == checks["cache hit"].verdict == "skip"
    assert checks["cancel"].verdict == checks["overflow"].verdict == "pass"


async def test_a_key_is_sent(serve) -> None:
    async with serve(api_key="k") as live:
        await live.runtime.load("echo")
        for key, verdict in (("k", "pass"), ("wrong", "fail")):
            subject = Subject(Exchange(live.url, api_key=key), "echo", 131_072, repeats=True)
            checks = await asyncio.to_thread(try_client, choose_clients("continue")[0], subject)
            assert next(check for check in checks if check.name == "stream").verdict == verdict


async def test_the_whole_examination_names_server_and_model(live) -> None:
    def look() -> list[Check]:
        runtime = live.runtime
        return list(examine(runtime.config, runtime.home, {}, client="aider", url=live.url, model="echo"))

    checks = await asyncio.to_thread(look)
    named = {(check.group, check.name): check for check in checks}
    assert live.url in named["server", "server"].found
    assert named["server", "model"].found.startswith("echo, ")
    assert {check.group for check in checks} == {"machine", "server", "aider"}
    assert named["machine", "engine for GGUF"].verdict == "pass"
    assert "llama" in named["machine", "engine for GGUF"].found


async def test_without_a_model_in_memory_it_says_how_to_get_one_there(live) -> None:
    runtime = live.runtime
    checks = await asyncio.to_thread(lambda: list(examine(runtime.config, runtime.home, {}, url=live.url)))
    assert (checks[-1].name, checks[-1].verdict) == ("model", "skip")
    assert "impetus load" in (checks[-1].change or "")


async def test_without_a_server_it_looks_at_the_machine_alone(live) -> None:
    runtime = live.runtime
    checks = await asyncio.to_thread(lambda: list(examine(runtime.config, runtime.home, {})))
    assert (checks[-1].group, checks[-1].verdict) == ("server", "skip")


def test_an_unknown_client_is_told_which_there_are() -> None:
    with pytest.raises(InvalidRequest, match="claude-code"):
        choose_clients("clyne")


@pytest.mark.parametrize(
    ("server", "verdict"),
    [
        (ServerConfig(), "pass"),
        (ServerConfig(host="0.0.0.0"), "fail"),
        (ServerConfig(host="0.0.0.0", api_key="short"), "fail"),
        (ServerConfig(host="0.0.0.0", api_key="k" * 32), "pass"),
        (ServerConfig(host="127.0.0.2"), "pass"),
        (ServerConfig(cors_origins=["*"]), "fail"),
    ],
)
def test_open_doors_are_told(server: ServerConfig, verdict: str) -> None:
    assert machine._access(Config(server=server)).verdict == verdict


def test_ports_are_free_ours_or_taken(taken_port: int) -> None:
    config = Config(server=ServerConfig(port=taken_port))
    first, *_ = machine._ports(config, ours=())
    assert (first.verdict, "listens there" in first.found) == ("fail", True)
    first, *_ = machine._ports(config, ours=[taken_port])
    assert (first.verdict, first.found) == ("pass", "Impetus answers there")


def test_an_engine_that_cannot_be_imported_is_told_with_its_last_words() -> None:
    check = machine._engine("antigravity_that_is_not_there", "X")
    assert (check.verdict, check.change) == ("skip", None)
    broken = machine._engine("idlelib", "X")
    assert broken.verdict == "fail"  # there is no distribution of this name
    assert "idlelib" in broken.found


class Wrong(BaseHTTPRequestHandler):
    """Answers every request with what the test put there."""

    status, kind, data = 200, "text/event-stream", b""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        kind = type(self)
        self.send_response(kind.status)
        self.send_header("Content-Type", kind.kind)
        self.send_header("Content-Length", str(len(kind.data)))
        self.end_headers()
        self.wfile.write(kind.data)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def taken_port():
    with socket.create_server(("127.0.0.1", 0)) as held:
        yield held.getsockname()[1]


@pytest.fixture
def wrong_server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Wrong) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "kind", "data", "trial", "words"),
    [
        (200, "text/event-stream", b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n', "stream", "no proper end"),
        (200, "text/event-stream", b'data: {"error":{"message":"boom"}}\n\n', "stream", "boom"),
        (
            200,
            "application/json",
            b'data: {"choices":[{"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
            "stream",
            "content type",
        ),
        (500, "application/json", b"{}", "overflow", "status is 500"),
        (400, "application/json", b'{"error":{"message":"no","code":"x"}}', "overflow", "'x'"),
        (404, "application/json", b'{"error":{"message":"There is no route POST"}}', "route", "route missing"),
        (200, "application/json", b"{}", "finds the model", "lacks"),
        (
            200,
            "text/event-stream",
            b'data: {"choices":[{"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
            "tool round trip",
            "no call",
        ),
    ],
)
def test_what_is_wrong_fails(wrong_server: str, status: int, kind: str, data: bytes, trial: str, words: str) -> None:
    Wrong.status, Wrong.kind, Wrong.data = status, kind, data
    client = choose_clients("cline")[0]
    subject = Subject(Exchange(wrong_server), "m", 100, repeats=False)
    if trial == "route":
        checks = try_client(client, subject)
        assert [check.verdict for check in checks] == ["fail", *["skip"] * len(TRIALS)]
    else:
        from impetus.api.doctor import trials

        checks = [trials._run(trial, dict(TRIALS)[trial], client, subject)]
    assert checks[0].verdict == "fail"
    assert words in checks[0].found
    assert checks[0].change


TURNS = (
    Turn("user", "Do it."),
    Turn("assistant", "", (Call("c1", "write", '{"path":"x"}'), Call("c2", "read", "{}"))),
    Turn("tool", "ok", answers=Call("c1", "write", "{}")),
    Turn("tool", "no", answers=Call("c2", "read", "{}")),
)
ASK = Ask("Be brief.", TURNS, (Tool("write", "Writes.", ("path",)),), required=True, tps=5.0)


def written(speaker) -> dict:
    import msgspec

    return json.loads(msgspec.json.encode(speaker.to_body(ASK, "m")))


def test_chat_is_written_and_heard() -> None:
    body = written(ChatSpeaker(parts=True))
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "tool", "tool"]
    assert body["messages"][1]["content"] == [{"type": "text", "text": "Do it."}]
    assert (body["tool_choice"], body["echo_tps"]) == ("required", 5.0)
    chunks = [
        {"choices": [{"delta": {"content": "a"}}]},
        {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "write", "arguments": '{"a"'}}]}}]},
        {
            "choices": [
                {"delta": {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}, "finish_reason": "tool_calls"}
            ]
        },
    ]
    data = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
    assert not ChatSpeaker().hear(data).ended
    heard = ChatSpeaker().hear(data + b": ping\n\ndata: [DONE]\n\n")
    assert (heard.text, heard.calls, heard.ended) == ("a", (Call("c", "write", '{"a":1}'),), True)


def test_responses_are_written_and_heard() -> None:
    body = written(ResponsesSpeaker())
    kinds = ["message", "function_call", "function_call", "function_call_output", "function_call_output"]
    assert [item["type"] for item in body["input"]] == kinds
    events = [
        {"type": "response.output_text.delta", "delta": "a"},
        {
            "type": "response.output_item.done",
            "item": {"type": "function_call", "call_id": "c", "name": "w", "arguments": "{}"},
        },
        {"type": "response.completed", "response": {"id": "r"}},
    ]
    heard = ResponsesSpeaker().hear(b"".join(b"event: x\ndata: " + json.dumps(event).encode() + b"\n\n" for event in events))
    assert (heard.text, heard.calls, heard.ended) == ("a", (Call("c", "w", "{}"),), True)
    failed = ResponsesSpeaker().hear(b'data: {"type":"response.failed","response":{"id":"r","error":{"message":"boom"}}}\n\n')
    assert (failed.ended, failed.error) == (False, "boom")


def test_messages_are_written_and_heard() -> None:
    body = written(MessagesSpeaker())
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert [block["tool_use_id"] for block in body["messages"][2]["content"]] == ["c1", "c2"]
    assert body["messages"][1]["content"][0]["input"] == {"path": "x"}
    events = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "c", "name": "w", "input": {}}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
        {"type": "message_stop"},
    ]
    heard = MessagesSpeaker().hear(b"".join(b"event: x\ndata: " + json.dumps(event).encode() + b"\n\n" for event in events))
    assert (heard.text, heard.calls, heard.ended) == ("a", (Call("c", "w", "{}"),), True)


def test_ollamas_chat_is_written_and_heard() -> None:
    body = written(OllamaSpeaker())
    assert body["messages"][2]["tool_calls"][0]["function"]["arguments"] == {"path": "x"}
    assert body["messages"][3]["tool_name"] == "write"
    line = b'{"message":{"content":"a","tool_calls":[{"function":{"name":"w","arguments":{"p":1}}}]},"done":false}'
    data = line + b'\n{"done":true}\n'
    heard = OllamaSpeaker().hear(data)
    assert (heard.text, heard.calls, heard.ended) == ("a", (Call("call_0", "w", '{"p":1}'),), True)
    assert OllamaSpeaker().hear(b'{"error":"boom"}\n').error == "boom"


@pytest.mark.parametrize(
    ("speaker", "good"),
    [
        (ResponsesSpeaker(), {"error": {"message": "maximum context length is 1 tokens", "code": "context_length_exceeded"}}),
        (
            MessagesSpeaker(),
            {"error": {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8 maximum"}},
        ),
        (OllamaSpeaker(), {"error": "the prompt exceeds the context length"}),
    ],
)
def test_only_words_after_which_a_client_compacts_are_good(speaker, good: dict) -> None:
    assert speaker.misses_overflow(400, json.dumps(good).encode()) is None
    assert speaker.misses_overflow(500, json.dumps(good).encode()) is not None
    assert speaker.misses_overflow(400, b"<html>") is not None
    assert speaker.misses_overflow(400, json.dumps(good).encode().replace(b"con", b"x").replace(b"too", b"x")) is not None
