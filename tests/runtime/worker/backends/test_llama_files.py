"""GGUF files that lie, or lack something: what is said of them, and that no process is left."""

import asyncio
import os
from pathlib import Path

import pytest
from engine_tools import GREEDY, answer, chat, find_starter, make_engine, opened

from impetus.runtime.errors import InvalidRequest, LoadFailed
from impetus.runtime.frames import LoadOptions
from impetus.runtime.request import GenerateRequest, TextPrompt

pytestmark = pytest.mark.engine

SMALL = LoadOptions(context_length=256, threads=2, max_sequences=2, batch_tokens=128)
TEMPLATE_KEY = b"tokenizer.chat_template"
BOS_KEY = b"tokenizer.ggml.add_bos_token"


@pytest.fixture(scope="module")
def starter() -> bytes:
    return find_starter().read_bytes()


def with_template(data: bytes, template: bytes) -> bytes:
    """Writes another template over the model's own, filled up with a comment to the same length."""
    at = data.index(TEMPLATE_KEY) + len(TEMPLATE_KEY) + 4
    length = int.from_bytes(data[at : at + 8], "little")
    comment = b"{#" + b"-" * (length - len(template) - 4) + b"#}"
    return data[: at + 8] + template + comment + data[at + 8 + length :]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing", "no file"),
        ("empty", "magic"),
        ("magic", "invalid magic characters"),
        ("garbage", "invalid magic characters"),
        ("head", "key-value pairs"),
        ("half", "corrupted or incomplete"),
        ("short", "corrupted or incomplete"),
        ("version", "version 99"),
        ("architecture", "unknown model architecture: 'lxxma'"),
    ],
)
async def test_a_bad_file_is_refused_with_the_reason(tmp_path: Path, starter: bytes, name: str, says: str) -> None:
    contents = {
        "empty": b"",
        "magic": b"GARB" + starter[4:5000],
        "garbage": os.urandom(1) * 5000,
        "head": starter[:1000],
        "half": starter[: len(starter) // 2],
        "short": starter[:-1000],
        "version": starter[:4] + (99).to_bytes(4, "little") + starter[8:20_000],
        "architecture": starter[:5000].replace(b"llama", b"lxxma") + starter[5000:],
    }
    path = tmp_path / "model.gguf"
    if name in contents:
        path.write_bytes(contents[name])
    engine = make_engine("llama", path, options=SMALL)
    async with asyncio.timeout(30):
        with pytest.raises(LoadFailed) as caught:
            await engine.start()
    assert says in caught.value.why
    assert "\n" not in caught.value.why
    assert not engine.alive


async def test_a_context_beyond_the_memory_is_refused(tmp_path: Path, starter: bytes) -> None:
    # The trained length is what bounds a wish, so the file has to claim a long one.
    key = b"llama.context_length"
    at = starter.index(key) + len(key) + 4
    path = tmp_path / "model.gguf"
    path.write_bytes(starter[:at] + (2_000_000_000).to_bytes(4, "little") + starter[at + 4 :])
    engine = make_engine("llama", path, options=LoadOptions(context_length=1_900_000_000, threads=2))
    async with asyncio.timeout(30):
        with pytest.raises(LoadFailed, match="no memory for a context of 1900000000 tokens"):
            await engine.start()


async def test_a_broken_template_refuses_chats_and_serves_text(tmp_path: Path, starter: bytes) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(with_template(starter, b"{% for x in %}"))
    async with asyncio.timeout(30), opened("llama", path, options=SMALL) as engine:
        assert "broken" in engine.ready.details["chat template"]
        with pytest.raises(InvalidRequest, match="template is broken") as caught:
            await answer(engine, chat("hi"))
        assert caught.value.param == "messages"
        assert (await answer(engine, GenerateRequest("m", TextPrompt("Hello"), GREEDY, 2))).done.completion_tokens == 2


async def test_a_template_that_objects_is_quoted(tmp_path: Path, starter: bytes) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(with_template(starter, b"{{ raise_exception('roles must alternate') }}"))
    async with asyncio.timeout(30), opened("llama", path, options=SMALL) as engine:
        with pytest.raises(InvalidRequest, match="roles must alternate"):
            await answer(engine, chat("hi"))


async def test_a_model_without_template_gets_chatml(tmp_path: Path, starter: bytes) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(starter.replace(TEMPLATE_KEY, b"tokenizer.chat_tomplate", 1))
    async with asyncio.timeout(30), opened("llama", path, options=SMALL) as engine:
        assert "ChatML" in engine.ready.details["chat template"]
        found = await answer(engine, chat("Why is the sky blue?", sampling=GREEDY, max_tokens=8))
        assert "sky" in found.text


async def test_a_model_that_wants_a_beginning_gets_one_and_only_one(tmp_path: Path, starter: bytes) -> None:
    at = starter.index(BOS_KEY) + len(BOS_KEY) + 4
    assert starter[at] == 0
    path = tmp_path / "model.gguf"
    path.write_bytes(starter[:at] + b"\x01" + starter[at + 1 :])
    async with (
        asyncio.timeout(30),
        opened("llama", path, options=SMALL) as wants,
        opened("llama", find_starter(), options=SMALL) as plain,
    ):
        text = GenerateRequest("m", TextPrompt("Hello"), GREEDY, 1)
        assert (await answer(wants, text)).accepted.prompt_tokens == (await answer(plain, text)).accepted.prompt_tokens + 1
        # The template writes <|im_start|>, which is this model's beginning, by itself.
        assert (await answer(wants, chat("hi"))).accepted.prompt_tokens == (
            await answer(plain, chat("hi"))
        ).accepted.prompt_tokens
