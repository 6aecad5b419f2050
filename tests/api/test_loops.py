"""An agent that shortens in vain is told so in words; whoever else asks too much is told by errors for ever."""

from __future__ import annotations

from typing import Any

from impetus.api.loops import Loops
from impetus.runtime.errors import ContextOverflow

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
