"""What every request passes: ids, error objects, origins, hosts, keys."""

from __future__ import annotations

import logging

import aiohttp
import pytest

from impetus.api.middleware import is_loopback

CHAT = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}


async def error_of(response: aiohttp.ClientResponse) -> dict:
    body = await response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    return body["error"]


async def test_an_unknown_route_is_told_which_there_are(live) -> None:
    async with live.session.post(live.url + "/v1/audio/speech", json={}) as response:
        error = await error_of(response)
        assert response.status == 404
        assert "POST /v1/audio/speech" in error["message"]
        for known in ("POST /v1/chat/completions", "GET /v1/models", "GET /openapi.json"):
            assert known in error["message"]
        assert "POST /chat/completions" not in error["message"]
        assert "/impetus/v1/status" not in error["message"]


async def test_a_wrong_method_is_told_the_right_one(live) -> None:
    async with live.session.get(live.url + "/v1/chat/completions") as response:
        error = await error_of(response)
        assert (response.status, response.headers["Allow"]) == (405, "POST")
        assert "use POST" in error["message"]


async def test_every_answer_says_who_gave_it_and_which_request_it_was(live) -> None:
    seen: set[str] = set()
    for path in ("/health", "/v1/models", "/nowhere"):
        async with live.session.get(live.url + path) as response:
            assert response.headers["Server"].startswith("impetus/")
            seen.add(response.headers["x-request-id"])
    assert len(seen) == 3


async def test_a_generations_id_is_the_journals(live) -> None:
    for stream in (False, True):
        async with live.session.post(live.url + "/v1/chat/completions", json=CHAT | {"stream": stream}) as response:
            await response.read()
            assert response.headers["x-request-id"] == live.runtime.journal.newest(1)[0].id


async def test_what_nobody_foresaw_is_a_500_that_tells_nothing_of_the_inside(live, monkeypatch, caplog) -> None:
    def broken() -> None:
        raise RuntimeError("a secret path")

    monkeypatch.setattr(live.runtime, "statuses", broken)
    with caplog.at_level(logging.ERROR, logger="impetus.api.middleware"):
        async with live.session.get(live.url + "/v1/models") as response:
            error = await error_of(response)
            assert (response.status, error["type"], error["code"]) == (500, "server_error", "internal_error")
            assert "secret" not in error["message"]
            assert response.headers["x-request-id"] in error["message"]
    assert "a secret path" in caplog.text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "[::ffff:1.2.3.4]", "a]b"])
async def test_a_foreign_host_name_is_refused(live, host: str) -> None:
    async with live.session.get(live.url + "/v1/models", headers={"Host": host}) as response:
        assert response.status == 403
        assert (await error_of(response))["code"] == "foreign_origin"


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:9999", "127.0.0.1:1", "127.8.8.8", "[::1]:8080", "impetus.localhost", "host.docker.internal:8080"],
)
async def test_this_machines_names_are_taken(live, host: str) -> None:
    async with live.session.get(live.url + "/v1/models", headers={"Host": host}) as response:
        assert response.status == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "http://evil.example:8080", "null"])
async def test_a_foreign_web_page_cannot_post(live, origin: str) -> None:
    headers = {"Origin": origin, "Content-Type": "text/plain"}
    async with live.session.post(live.url + "/impetus/v1/models/unload", data=b'{"model":"echo"}', headers=headers) as response:
        assert response.status == 403
        assert "cors_origins" in (await error_of(response))["message"]
        assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "http://127.0.0.1", "vscode-webview://abc", "app://obsidian.md", "file://"]
)
async def test_pages_and_applications_of_this_machine_may(live, origin: str) -> None:
    async with live.session.post(live.url + "/v1/chat/completions", json=CHAT, headers={"Origin": origin}) as response:
        assert response.status == 200
        assert "Access-Control-Allow-Origin" not in response.headers


async def test_a_listed_origin_may_read_the_answers_and_errors(serve) -> None:
    origin = "https://chat.example"
    async with serve(cors_origins=[origin]) as live:
        for body, status in ((CHAT, 200), (CHAT | {"stream": True}, 200), ({}, 400)):
            async with live.session.post(live.url + "/v1/chat/completions", json=body, headers={"Origin": origin}) as response:
                await response.read()
                assert response.status == status
                assert response.headers["Access-Control-Allow-Origin"] == origin
        async with live.session.get(live.url + "/v1/models", headers={"Origin": "https://other.example"}) as response:
            assert response.status == 403


async def test_a_browser_that_asks_first_is_told_without_a_key(serve) -> None:
    origin = "https://chat.example"
    asks = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, x-extra",
    }
    async with (
        serve(cors_origins=["*"], api_key="k") as live,
        live.session.options(live.url + "/v1/chat/completions", headers=asks) as response,
    ):
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == origin
        assert response.headers["Access-Control-Allow-Headers"] == "authorization, x-extra"
        assert "POST" in response.headers["Access-Control-Allow-Methods"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Basic s3cret"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"x-api-key": "s3cre"}, 401),
        ({"Authorization": "Bearer s3cret"}, 200),
        ({"authorization": "bearer  s3cret "}, 200),
        ({"x-api-key": "s3cret"}, 200),
    ],
)
async def test_a_key_is_asked_for_where_one_is_set(serve, headers: dict[str, str], status: int) -> None:
    async with serve(api_key="s3cret") as live:
        async with live.session.get(live.url + "/v1/models", headers=headers) as response:
            assert response.status == status
            if status == 401:
                assert (await error_of(response))["code"] == "invalid_api_key"
                assert response.headers["WWW-Authenticate"] == "Bearer"
        async with live.session.get(live.url + "/health") as response:
            assert response.status == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("box", False),
    ],
)
def test_loopback_is_known(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
