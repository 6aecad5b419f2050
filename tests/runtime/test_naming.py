"""Names that clients use for whatever model there is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from impetus.runtime.errors import UnknownModel
from impetus.runtime.made_aliases import MadeAlias
from impetus.runtime.naming import is_common
from impetus.runtime.runtime import Runtime

OpenRuntime = Callable[..., AbstractAsyncContextManager[Runtime]]


@pytest.mark.parametrize(
    "name",
    ["gpt-4o", "gpt-5.2-codex", "GPT-4", "chatgpt-4o-latest", "o3-mini", "claude-sonnet-4-5", "openai/gpt-4.1", "default", ""],
)
def test_names_of_hosted_models_and_words_for_any_are_common(name: str) -> None:
    assert is_common(name)


@pytest.mark.parametrize("name", ["gpt-oss-20b", "openai/gpt-oss-120b", "gpt2", "qwen3", "nobody", "olmo", "defaults"])
def test_names_of_models_that_one_may_have_are_not(name: str) -> None:
    assert not is_common(name)


async def test_a_common_name_is_the_one_model_in_memory(opened: OpenRuntime) -> None:
    async with opened() as runtime:
        with pytest.raises(UnknownModel, match="'gpt-4o' does not exist"):
            runtime.resolve("gpt-4o")
        await runtime.load("echo")
        assert runtime.resolve("gpt-4o").id == runtime.resolve("claude-opus-4-1").id == "echo"
        with pytest.raises(UnknownModel, match=r"'gpt-oss-20b' does not exist.*echo"):
            runtime.resolve("gpt-oss-20b")
        with pytest.raises(UnknownModel):
            await runtime.unload("gpt-4o")


async def test_a_common_name_is_the_configured_model_and_an_alias_goes_before(opened: OpenRuntime) -> None:
    aliases = {"gpt-4o": {"model": "missing"}}
    async with opened(models={"default": "echo"}, aliases=aliases) as runtime:
        assert runtime.resolve("gpt-5").id == "echo"
        assert runtime.resolve("local-model").id == "echo"
    async with opened(models={"default": "missing"}) as runtime:
        await runtime.load("echo")
        with pytest.raises(UnknownModel, match="'gpt-5' does not exist"):
            runtime.resolve("gpt-5")


@pytest.mark.parametrize(
    ("server", "taken"),
    [
        ({}, True),
        ({"host": "::1"}, True),
        ({"host": "0.0.0.0", "api_key": "k"}, False),
        ({"host": "0.0.0.0", "api_key": "k", "common_names": "on"}, True),
        ({"common_names": "off"}, False),
    ],
)
async def test_common_names_are_taken_while_only_this_machine_asks(opened: OpenRuntime, server: dict, taken: bool) -> None:
    async with opened(server=server, models={"default": "echo"}) as runtime:
        if taken:
            assert runtime.resolve("gpt-4o").id == "echo"
        else:
            with pytest.raises(UnknownModel):
                runtime.resolve("gpt-4o")


async def test_names_that_are_made_at_the_same_time_are_all_kept(opened: OpenRuntime) -> None:
    wanted = [f"name-{number}" for number in range(20)]
    async with opened() as runtime:
        await asyncio.gather(*(runtime.make_alias(name, MadeAlias(model="echo")) for name in wanted))
        assert sorted(runtime.aliases()) == sorted(wanted)
        await asyncio.gather(*(runtime.drop(name) for name in wanted[5:]))
    async with opened() as runtime:
        await runtime.scanned.wait()
        assert sorted(runtime.aliases()) == sorted(wanted[:5])
