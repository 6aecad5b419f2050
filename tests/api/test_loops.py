"""An agent that shortens in vain is told so in words; whoever else asks too much is told by errors for ever."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest

from impetus.api.keys import LOOPS
from impetus.api.loops import Loops
from impetus.api.run import _end_loops as end_loops
from impetus.runtime.errors import ContextOverflow, Overloaded
from impetus.runtime.events import Admitted, Event, Finished, TextDelta
from impetus.runtime.request import GenerateRequest, TokenPrompt

OPENCODE = "opencode/1.18.33 ai-sdk/openai-compatible/1.0"


async def ask(live: Any, words: int, agent: str, *, stream: bool = False) -> tuple[int, str]:
    body = {"model": "echo", "messages": [{"role": "user", "content": "word " * words}], "stream": stream}
    async with live.session.post(live.url + "/v1/chat/completions", json=body, headers={"User-Agent": agent}) as answer:
        return answer.status, await answer.text()


async def test_opencode_is_told_in_words_once_it_shortens_in_vain(serve) -> None:
    async with serve(context_length=64) as live:
        # Its instructions, its attempt to have them summed up, and the same again.
        told = [await ask(live, words, OPENCODE) for words in (300, 250, 300, 250)]
        assert [status for status, _ in told] == [400, 400, 400, 400]
        assert all("maximum context length is 64 tokens" in text for _, text in told)
        status, text = await ask(live, 300, OPENCODE)
        assert status == 200
        assert "cannot go on" in text
        assert '"finish_reason":"stop"' in text
        status, text = await ask(live, 300, OPENCODE, stream=True)
        assert status == 200
        assert "cannot go on" in text
        assert text.endswith("data: [DONE]\n\n")
        status, text = await ask(live, 5, OPENCODE)
        assert status == 200
        assert "word word" in text


async def test_others_get_the_error_they_shorten_at(serve) -> None:
    async with serve(context_length=64) as live:
        for agent in ("Cline/3.1", "python-httpx/0.28"):
            assert {(await ask(live, 300, agent))[0] for _ in range(8)} == {400}


def test_prompts_that_do_get_shorter_are_no_loop() -> None:
    loops = Loops()
    assert not any(loops.goes_on(OPENCODE, "m", ContextOverflow(tokens, 64)) for tokens in range(2000, 100, -100))
    assert not loops.goes_on(OPENCODE, "other", ContextOverflow(2000, 64))


def busy(times: int) -> str:
    return "Make it. SCRIPT: " + json.dumps({"turns": [{"text": "There was room.", "fault": "busy", "times": times}]})


@pytest.mark.parametrize(
    ("path", "agent"), [("/v1/chat/completions", "QwenCode/0.24.4 (linux; x64)"), ("/v1/messages", "claude-cli/2.1 (external)")]
)
async def test_qwen_code_is_told_in_words_once_the_server_stays_busy(
    serve, monkeypatch: pytest.MonkeyPatch, path: str, agent: str
) -> None:
    clock = iter(range(0, 100_000, 100))
    monkeypatch.setattr("impetus.api.loops.time", SimpleNamespace(monotonic=lambda: next(clock)))
    async with serve(scripted=True) as live:

        async def ask_scripted(times: int, agent: str = agent) -> tuple[int, str]:
            message = {"role": "user", "content": busy(times)}
            body = {"model": "scripted", "messages": [message], "max_tokens": 50}
            async with live.session.post(live.url + path, json=body, headers={"User-Agent": agent}) as answer:
                return answer.status, await answer.text()

        # Two refusals and an answer; what was before does not count any more.
        assert [(await ask_scripted(2))[0] for _ in range(3)] == [503, 503, 200]
        # 200 seconds are over at the third.
        told = [await ask_scripted(100) for _ in range(3)]
        assert [status for status, _ in told] == [503, 503, 200]
        assert "too busy for this request for more than 3 minutes" in told[-1][1]
        assert (await ask_scripted(100))[0] == 200
        assert {(await ask_scripted(200, "Cline/3.1"))[0] for _ in range(6)} == {503}


async def test_a_prompt_that_meets_a_full_memory_once_it_is_admitted_was_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 100))
    monkeypatch.setattr("impetus.api.loops.time", SimpleNamespace(monotonic=lambda: next(clock)))
    request: Any = SimpleNamespace(headers={"User-Agent": "QwenCode/0.24.4"}, app={LOOPS: Loops()})
    admitted = Admitted("m", 10, 64)

    async def batches() -> AsyncGenerator[list[Event], None]:
        yield [admitted]
        raise Overloaded("There is no memory.", retry_after_s=5)

    async def run() -> list[Event]:
        generation = GenerateRequest("m", TokenPrompt((1,)))
        return [event async for batch in end_loops(request, generation, batches()) for event in batch]

    for _ in range(2):
        with pytest.raises(Overloaded):
            await run()
    events = await run()
    assert [type(event) for event in events] == [Admitted, TextDelta, Finished]
    assert events[0] is admitted


def test_a_client_that_gave_up_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0, 100, 550, 600, 740, 760, 780])
    monkeypatch.setattr("impetus.api.loops.time", SimpleNamespace(monotonic=lambda: next(times)))
    loops = Loops()
    assert [loops.waits_on("QwenCode", "m") for _ in range(7)] == [False] * 5 + [True] * 2
