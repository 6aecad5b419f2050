"""Bodies that are wrong in every way: each is answered by a 4xx that names the field, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import msgspec
import psutil
import pytest

from impetus.api.body import decode_body
from impetus.api.dialects import openai
from impetus.runtime.errors import InvalidRequest

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
LEAST_BODIES = 200
MIB = 1024 * 1024

Case = tuple[str, bytes, str | None]
"""A path, a body, and the field that the answer must name (None: there is no such field)."""

CHAT_BODY = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}
TEXT_BODY = {"model": "echo", "prompt": "hi"}
WRONG: dict[str, list[str]] = {
    "model": ["null", "5", "[]", "{}", "true", '""', '"' + "m" * 2000 + '"', "1.5"],
    "stream": ['"yes"', "1", "[]", "{}", "0.5"],
    "stream_options": ["true", '"usage"', "[]", "1"],
    "n": ["0", "-1", "17", "1.5", '"2"', "true", "[]", "1e400", "1" + "0" * 30, "NaN", "Infinity"],
    "max_tokens": ["0", "1.5", '"5"', "true", "{}", "1e400", "1" + "0" * 30, "-1" + "0" * 30, "NaN"],
    "stop": ["5", "true", "{}", "[1]", "[null]", "[[]]", json.dumps(["x"] * 17)],
    "temperature": ["-0.1", "2.1", '"hot"', "true", "[]", "{}", "1e400", "-1e400", "1" + "0" * 30, "NaN", "-Infinity"],
    "top_p": ["-0.1", "1.1", '"x"', "false", "[]"],
    "top_k": ["-2", "1.5", '"x"', "true", "9999999999"],
    "min_p": ["-1", "2", '"x"'],
    "presence_penalty": ["-2.1", "2.1", '"x"', "[]"],
    "frequency_penalty": ["-2.1", "2.1", '"x"', "[]"],
    "repeat_penalty": ["0", "-1", '"x"', "1e9"],
    "repetition_penalty": ["0", "-1", '"x"', "[]"],
    "repeat_last_n": ["-2", "1.5", '"x"'],
    "logit_bias": ["5", "[]", '"x"', '{"a":1}', '{"5":101}', '{"5":-101}', '{"5":"x"}', '{"-1":1}', '{"5":null}'],
    "seed": ["1.5", '"x"', "true", "1" + "0" * 30, "-1" + "0" * 30, "18446744073709551616"],
    "typical_p": ["-0.1", "1.1", '"x"'],
    "dry_multiplier": ["-1", '"x"', "1e400"],
    "dry_base": ["0.5", '"x"'],
    "dry_allowed_length": ["-1", "1.5"],
    "dry_penalty_last_n": ["-2", "1.5"],
    "dry_sequence_breakers": ['"x"', "5", "{}"],
    "xtc_probability": ["-0.1", "1.1", '"x"'],
    "xtc_threshold": ["-0.1", "1.1", '"x"'],
    "mirostat": ["3", "-1", '"x"', "1.5"],
    "mirostat_tau": ["-1", '"x"'],
    "mirostat_eta": ["-1", '"x"'],
    "num_ctx": ["0", "-1", '"x"', "1.5"],
    "cache_prompt": ["1", '"x"'],
    "draft_tokens": ["-1", "65", '"x"'],
    "grammar": ["5", "[]"],
    "json_schema": ["5", "[]", "true", '"x"'],
    "guided_json": ["5", "[]", '"[]"'],
    "guided_choice": ["[]", '[""]', '"x"'],
    "echo_tps": ["-1", '"fast"', "1e400"],
}
WRONG_IN_CHAT: dict[str, list[str]] = {
    "messages": ["null", "5", '"hi"', "{}", "[]", "true"],
    "messages[0]": ["null", "5", '"hi"', "[]"],
    "messages[0].role": ["null", "5", '"robot"', '""', "[]"],
    "messages[0].content": ["5", "true", "{}", "1.5"],
    "messages[0].content[0]": ["5", '"hi"', "null", "[]"],
    "messages[0].content[0].type": ['"audio"', "5", "null"],
    "messages[0].name": ["5", "[]"],
    "messages[0].tool_calls": ["5", '"x"', "{}"],
    "messages[0].tool_calls[0]": ["5", "null"],
    "messages[0].tool_calls[0].function": ["5", "null", '"x"'],
    "messages[0].tool_call_id": ["5", "{}"],
    "max_completion_tokens": ["0", "-1", "1.5", '"x"', "1" + "0" * 30],
    "logprobs": ["1", '"x"', "[]"],
    "top_logprobs": ["99", "-1", "21", '"x"', "true", "5"],
    "response_format": ["5", '"json"', "[]", '{"type":"json_object"}'],
    "response_format.type": ['{"type":"x"}', "{}", '{"type":5}', '{"type":null}'],
    "response_format.schema": ['{"type":"json_object","schema":5}'],
    "response_format.json_schema": ['{"type":"json_schema"}', '{"type":"json_schema","json_schema":[]}'],
    "response_format.json_schema.name": [
        '{"type":"json_schema","json_schema":{"schema":{}}}',
        '{"type":"json_schema","json_schema":{"name":"a b","schema":{}}}',
        '{"type":"json_schema","json_schema":{"name":"","schema":{}}}',
    ],
    "response_format.json_schema.schema": [
        '{"type":"json_schema","json_schema":{"name":"a"}}',
        '{"type":"json_schema","json_schema":{"name":"a","schema":null}}',
        '{"type":"json_schema","json_schema":{"name":"a","schema":[]}}',
    ],
}
WRONG_IN_TEXT: dict[str, list[str]] = {
    "prompt": ["null", "5", "{}", "[]", "true", "[[]]", '[1,"a"]', '["a",[1]]', "[[1],[]]", json.dumps(["a"] * 200)],
    "prompt[0]": ["-1", "null", "1.5", "{}", "1" + "0" * 30],
    "logprobs": ["99", "-1", "true", '"x"'],
    "best_of": ["0", "17", '"x"'],
    "suffix": ["5", "[]"],
    "echo": ['"x"', "5"],
}
FORMAT = '{"messages":[{"role":"user","content":"hi"}],"response_format":%s}'
NESTED: dict[str, str] = {
    "messages[0]": '{"messages":[%s]}',
    "messages[0].role": '{"messages":[{"role":%s,"content":"hi"}]}',
    "messages[0].content": '{"messages":[{"role":"user","content":%s}]}',
    "messages[0].content[0]": '{"messages":[{"role":"user","content":[%s]}]}',
    "messages[0].content[0].type": '{"messages":[{"role":"user","content":[{"type":%s,"text":"hi"}]}]}',
    "messages[0].name": '{"messages":[{"role":"user","content":"hi","name":%s}]}',
    "messages[0].tool_calls": '{"messages":[{"role":"assistant","tool_calls":%s}]}',
    "messages[0].tool_calls[0]": '{"messages":[{"role":"assistant","tool_calls":[%s]}]}',
    "messages[0].tool_calls[0].function": '{"messages":[{"role":"assistant","tool_calls":[{"function":%s}]}]}',
    "messages[0].tool_call_id": '{"messages":[{"role":"tool","content":"hi","tool_call_id":%s}]}',
    "prompt[0]": '{"prompt":[%s]}',
    "response_format.type": FORMAT,
    "response_format.schema": FORMAT,
    "response_format.json_schema": FORMAT,
    "response_format.json_schema.name": FORMAT,
    "response_format.json_schema.schema": FORMAT,
}


def with_field(body: dict[str, object], field: str, value: str) -> bytes:
    """Puts raw JSON into a good body."""
    rest = {name: part for name, part in body.items() if name != field}
    return (json.dumps(rest)[:-1] + f', "{field}": {value}}}').encode()


def nested(field: str, value: str) -> bytes:
    """Puts raw JSON deep into a good body."""
    return (NESTED[field] % value).replace("{", '{"model":"echo",', 1).encode()


def by_field() -> Iterator[Case]:
    """One body for each wrong value."""
    for path, body, fields in (
        (CHAT, CHAT_BODY, WRONG | WRONG_IN_CHAT),
        (TEXT, TEXT_BODY, {"max_tokens": WRONG["max_tokens"], "n": WRONG["n"], "stop": WRONG["stop"]} | WRONG_IN_TEXT),
    ):
        for field, values in fields.items():
            for value in values:
                yield path, nested(field, value) if field in NESTED else with_field(body, field, value), field


def by_hand() -> Iterator[Case]:
    """Bodies that are wrong as a whole."""
    good = json.dumps(CHAT_BODY).encode()
    for body in (
        b"",
        b" ",
        b"\n",
        b"{",
        b"}",
        b"[",
        b"[]",
        b"null",
        b"5",
        b'"text"',
        b"true",
        b"not json",
        b"model=echo",
        b"\x00",
    ):
        yield CHAT, body, None
    for body in (
        good[:-1],
        good + b"x",
        good + good,
        b"\xef\xbb\xbf" + good,
        good.decode().encode("utf-16"),
        b"\xff\xfe",
        b"<x/>",
    ):
        yield CHAT, body, None
    yield CHAT, good.replace(b'"', b"'"), None
    yield CHAT, b"{}", "model"
    yield CHAT, b'{"messages":[{"role":"user","content":"hi"}]}', "model"
    yield CHAT, b'{"model":"echo"}', "messages"
    yield CHAT, b'{"model":"echo","messages":[{}]}', "messages[0].role"
    yield CHAT, b'{"model":"echo","messages":[{"content":"hi"}]}', "messages[0].role"
    yield CHAT, b'{"model":"echo","messages":[{"role":"user","content":[{"text":"x"}]}]}', "messages[0].content[0].type"
    yield CHAT, b'{"model":"echo","messages":[{"role":"user","content":[{"type":"text"}]}]}', "messages[0].content[0].text"
    yield TEXT, b'{"model":"echo"}', "prompt"
    yield TEXT, b"[]", None
    for bad in (b"\xff", b"\xc3\x28", b"\xe2\x82", b"\xf0\x28\x8c\xbc", b"\xed\xa0\x80"):
        yield CHAT, good.replace(b"hi", b"a, b " + bad), "content"
        yield CHAT, good.replace(b"echo", bad), "model"
        yield CHAT, good[:-1] + b',"user":"' + bad + b'"}', "user"
    for bad in (
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'"\\x"',
        b'"\x01"',
        b'"a',
        b"01",
        b"+1",
        b"1.",
        b".5",
        b"tru",
        b"--1",
        b"0x10",
    ):
        yield CHAT, good[:-1] + b',"user":' + bad + b"}", None
    for deep in (b"[" * 100_000, b'{"a":' * 50_000, b"[" * 5000 + b"]" * 5000, b'{"a":' * 3000 + b"1" + b"}" * 3000):
        yield CHAT, good[:-1] + b',"user":' + deep + b"}", None
        yield CHAT, deep, None
    yield CHAT, json.dumps(CHAT_BODY | {"model": "no-such-model"}).encode(), "model"
    yield TEXT, json.dumps(TEXT_BODY | {"model": "../../etc/passwd"}).encode(), "model"


CASES = [*by_field(), *by_hand()]


def test_there_are_enough_of_them_and_none_twice() -> None:
    assert len({(path, body) for path, body, _ in CASES}) == len(CASES) >= LEAST_BODIES


@pytest.mark.parametrize("field", ["user", "metadata"])
def test_what_is_not_known_is_ignored_whatever_it_is(field: str) -> None:
    for value in ("null", "1e999", '"x"', '{"a":[1,{"b":null}]}', "true"):
        assert decode_body(with_field(CHAT_BODY, field, value), openai.CHAT).model == "echo"


def test_a_fault_is_named_where_it_stands_and_not_where_it_does_not() -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_body(b'{"model":"echo","n":1,}', openai.CHAT)
    assert caught.value.param is None
    with pytest.raises(InvalidRequest) as caught:
        decode_body(b'{"model":"echo","top_p":NaN}', openai.CHAT)
    assert caught.value.param == "top_p"


async def post(session: aiohttp.ClientSession, url: str, body: bytes) -> tuple[int, dict]:
    async with session.post(url, data=io.BytesIO(body), headers={"Content-Type": "text/plain"}) as response:
        return response.status, msgspec.json.decode(await response.read())


async def test_each_is_answered_by_a_4xx_that_names_the_field(live) -> None:
    wrong: list[object] = []
    for path, body, field in CASES:
        status, answer = await post(live.session, live.url + path, body)
        error = answer["error"]
        named = field is None or (error["param"] or "").startswith(field)
        words = all(set(error) == {"message", "type", "param", "code"} and error[name] for name in ("message", "type", "code"))
        if not (400 <= status < 500 and named and words):
            wrong.append((body[:120], field, status, answer))
    assert wrong == []
    status, _ = await post(live.session, live.url + CHAT, json.dumps(CHAT_BODY).encode())
    assert status == 200


async def test_a_body_over_the_limit_is_refused_without_being_kept(live) -> None:
    large = b'{"model":"' + b"x" * (50 * MIB) + b'"}'
    status, answer = await post(live.session, live.url + CHAT, large)
    assert (status, answer["error"]["code"]) == (413, "request_too_large")
    assert "max_body_mb" in answer["error"]["message"]


async def test_a_chunked_body_over_the_limit_is_refused_too(serve) -> None:
    async def pieces():
        for _ in range(40):
            yield b" " * (MIB // 16)

    async with serve(max_body_mb=1) as live, live.session.post(live.url + CHAT, data=pieces()) as response:
        assert response.status == 413
        assert (await response.json())["error"]["code"] == "request_too_large"


async def test_a_compressed_body_counts_as_what_it_unpacks_to(serve) -> None:
    async with serve(max_body_mb=1) as live:
        for body, expected in ((gzip.compress(b" " * (64 * MIB)), 413), (b"no gzip", 400)):
            async with live.session.post(live.url + CHAT, data=body, headers={"Content-Encoding": "gzip"}) as response:
                assert response.status == expected
                assert (await response.json())["error"]["message"]


async def test_the_servers_memory_does_not_grow_with_them(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "impetus", "serve", "--echo", "--port", "0"]
    (tmp_path / "impetus.toml").write_text('[models]\nload_at_start = false\n[log]\nlevel = "error"\n')
    server = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, cwd=tmp_path, env=os.environ | {"IMPETUS_HOME": str(tmp_path)}
    )
    try:
        assert server.stdout is not None
        url = (await server.stdout.readline()).decode().split()[-1]
        async with aiohttp.ClientSession() as session:

            async def rounds(count: int) -> int:
                for _ in range(count):
                    for path, body, _ in CASES:
                        status, _ = await post(session, url + path, body)
                        assert 400 <= status < 500
                    status, _ = await post(session, url + CHAT, b'{"model":"' + b"x" * (50 * MIB) + b'"}')
                    assert status == 413
                return psutil.Process(server.pid).memory_info().rss

            warm_bytes = await rounds(3)
            assert await rounds(6) - warm_bytes < 4 * MIB
    finally:
        server.terminate()
        assert await server.wait() == 0
